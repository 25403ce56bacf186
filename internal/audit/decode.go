package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/daypass/daypass/api"
)

// stored is the shape of an encoded entry.
type stored struct {
	Actor      string          `json:"actor"`
	Details    json.RawMessage `json:"details"`
	Grant      *string         `json:"grant"`
	ID         string          `json:"id"`
	OnBehalfOf *string         `json:"on_behalf_of"`
	Outcome    string          `json:"outcome"`
	Reason     *struct {
		Digest string `json:"digest"`
	} `json:"reason"`
	Request  *string         `json:"request"`
	Resource *string         `json:"resource"`
	Scope    json.RawMessage `json:"scope"`
	Seq      int64           `json:"seq"`
	Session  *string         `json:"session"`
	Source   struct {
		Channel string `json:"channel"`
		IP      string `json:"ip"`
	} `json:"source"`
	Time string `json:"time"`
	Type string `json:"type"`
}

// DecodeEntry is the inverse of Encode. It is strict: it takes exactly the
// bytes that Encode returns for the entry that it returns, so that a changed
// byte is either another entry or an error.
func DecodeEntry(b []byte) (*Entry, error) {
	e, _, err := decode(b)
	return e, err
}

func decode(b []byte) (*Entry, *stored, error) {
	if len(b) > MaxEntry {
		return nil, nil, bad("entry", "is longer than %d bytes", MaxEntry)
	}
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, nil, bad("entry", "is not an encoded entry: %v", err)
	}
	at, err := time.Parse(time.RFC3339Nano, s.Time)
	if err != nil {
		return nil, nil, bad("time", "%q is not a time", clip(s.Time))
	}
	e := &Entry{
		ID: s.ID, Seq: s.Seq, Time: api.TimeOf(at).Time, Type: s.Type, Actor: s.Actor,
		OnBehalfOf: deref(s.OnBehalfOf), Request: deref(s.Request), Grant: deref(s.Grant), Session: deref(s.Session), Resource: deref(s.Resource),
		Outcome: s.Outcome, Source: Source{IP: s.Source.IP, Channel: s.Source.Channel},
	}
	if s.Reason != nil {
		e.Reason.Digest = s.Reason.Digest
	}
	if string(s.Scope) != "null" {
		e.Scope = s.Scope
	}
	if err := e.decodeDetails(s.Details); err != nil {
		return nil, nil, bad("details", "%v", err)
	}
	// The one rule that makes all of the above strict: key order, duplicate
	// and misspelt keys, white space, escapes, numbers, null for "".
	again, err := e.Encode()
	if err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, nil, bad("entry", "is not in the canonical form")
	}
	return e, &s, nil
}

func (e *Entry) decodeDetails(raw json.RawMessage) error {
	if string(raw) == "{}" {
		return nil
	}
	v, err := decodeAny(raw)
	if err != nil {
		return err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return errors.New("is not an object")
	}
	if v, ok := object[cutsKey]; ok {
		delete(object, cutsKey)
		fields, _ := v.(map[string]any)
		e.Cuts = make(map[string]Cut, len(fields))
		for name, v := range fields {
			if e.Cuts[name], err = decodeCut(v); err != nil {
				return err
			}
		}
	}
	if v, ok := object[hexKey]; ok {
		delete(object, hexKey)
		fields, _ := v.(map[string]any)
		for _, f := range e.fields() {
			if v, ok := fields[f.name]; ok {
				if *f.value, err = decodeHex(v); err != nil {
					return err
				}
			}
		}
	}
	if len(object) == 0 {
		return nil
	}
	e.Details, err = unescapeMap(object)
	return err
}

func unescape(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case []any:
		for i := range v {
			if v[i], err = unescape(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if inner, ok := v[cutKey]; ok && len(v) == 1 {
			return decodeCut(inner)
		}
		if inner, ok := v[hexKey]; ok && len(v) == 1 {
			return decodeHex(inner)
		}
		return unescapeMap(v)
	}
	return v, nil
}

func unescapeMap(object map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(object))
	for k, v := range object {
		key, err := unescapeKey(k)
		if err != nil {
			return nil, err
		}
		if out[key], err = unescape(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func decodeCut(v any) (Cut, error) {
	object, _ := v.(map[string]any)
	head, _ := object["head"].(string)
	length, _ := object["length"].(json.Number)
	digest, _ := object["sha256"].(string)
	n, err := length.Int64()
	if err != nil {
		return Cut{}, fmt.Errorf("the length of a cut value is not a number")
	}
	return Cut{Head: head, Length: n, SHA256: digest}, nil
}

func decodeHex(v any) (string, error) {
	s, _ := v.(string)
	raw, err := hex.DecodeString(s)
	return string(raw), err
}

func decodeAny(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return v, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
