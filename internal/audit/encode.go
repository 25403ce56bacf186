package audit

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/daypass/daypass/api"
)

// field is one of the fixed text fields that may hold what a stranger sent.
type field struct {
	name  string
	value *string
}

func (e *Entry) fields() [8]field {
	return [8]field{
		{"actor", &e.Actor}, {"grant", &e.Grant}, {"on_behalf_of", &e.OnBehalfOf}, {"request", &e.Request},
		{"resource", &e.Resource}, {"session", &e.Session}, {"source.channel", &e.Source.Channel}, {"source.ip", &e.Source.IP},
	}
}

// Encode returns the entry as RFC 8785 canonical JSON: the bytes that are
// stored and hashed, with the keys of the wire's event, except that reason is
// {"digest":…} or null. A fixed field that is too long or not UTF-8 is left
// empty and given under "$cuts" or "$hex" in the details instead. Errors are of
// type *EntryError and mean that the caller built an entry that is none: hostile
// content alone never causes one, whatever its bytes or length.
func (e *Entry) Encode() ([]byte, error) {
	return e.appendTo(make([]byte, 0, 768+len(e.Scope)))
}

// appendTo is Encode behind what b holds.
func (e *Entry) appendTo(b []byte) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	cuts, hexes := maps.Clone(e.Cuts), map[string]string(nil)
	fields := e.fields()
	var text [len(fields)]string // what stands in the fields themselves
	for i, f := range fields {
		switch s := *f.value; {
		case !utf8.ValidString(s) && 2*len(s) <= MaxField:
			if hexes == nil {
				hexes = map[string]string{}
			}
			hexes[f.name] = hex.EncodeToString([]byte(s))
		case !utf8.ValidString(s) || stringSize(s) > MaxField:
			cuts = cutInto(cuts, f.name, s)
		default:
			text[i] = s
		}
	}
	actor, grant, onBehalfOf, request, resource, session, channel, ip := text[0], text[1], text[2], text[3], text[4], text[5], text[6], text[7]
	scope := none
	if len(e.Scope) > 0 {
		var err error
		if scope, err = canonicalJSON(e.Scope); err != nil {
			return nil, bad("scope", "%v", err)
		}
		if len(scope) > MaxValue {
			cuts = cutInto(cuts, "scope", string(scope))
			scope = none
		}
	}
	b = appendString(append(b, `{"actor":`...), actor)
	b, err := e.appendDetails(append(b, `,"details":`...), cuts, hexes)
	if err != nil {
		return nil, err
	}
	b = appendNullable(b, `,"grant":`, grant)
	b = appendString(append(b, `,"id":`...), e.ID)
	b = appendNullable(b, `,"on_behalf_of":`, onBehalfOf)
	b = appendString(append(b, `,"outcome":`...), e.Outcome)
	if e.Reason.Digest == "" {
		b = append(b, `,"reason":null`...)
	} else {
		b = append(appendString(append(b, `,"reason":{"digest":`...), e.Reason.Digest), '}')
	}
	b = appendNullable(b, `,"request":`, request)
	b = appendNullable(b, `,"resource":`, resource)
	b = append(append(b, `,"scope":`...), scope...)
	b = strconv.AppendInt(append(b, `,"seq":`...), e.Seq, 10)
	b = appendNullable(b, `,"session":`, session)
	b = appendString(append(b, `,"source":{"channel":`...), channel)
	b = appendString(append(b, `,"ip":`...), ip)
	b = appendString(append(b, `},"time":`...), api.TimeOf(e.Time).String())
	b = appendString(append(b, `,"type":`...), e.Type)
	return append(b, '}'), nil
}

// none is what stands in place of a scope that there is not. It is only read.
var none = []byte("null")

func appendNullable(b []byte, key, text string) []byte {
	b = append(b, key...)
	if text == "" {
		return append(b, "null"...)
	}
	return appendString(b, text)
}

// cutInto notes in cuts, which may be nil, what was cut.
func cutInto(cuts map[string]Cut, name, text string) map[string]Cut {
	if cuts == nil {
		cuts = map[string]Cut{}
	}
	cuts[name] = cutText(text, fieldHead)
	return cuts
}

// appendDetails appends the encoded Details, with what was cut or is not UTF-8.
func (e *Entry) appendDetails(b []byte, cuts map[string]Cut, hexes map[string]string) ([]byte, error) {
	var err error
	details, from := e.Details, len(b)
	if e.Statement != nil {
		if b, err = e.Statement.appendTo(b); err != nil {
			return nil, bad("details", "%v", err)
		}
		if len(cuts) == 0 && len(hexes) == 0 && len(b)-from <= MaxDetails {
			return b, nil
		}
		details, b = e.Statement.Details(), b[:from]
	}
	empty := len(details) == 0
	if !empty {
		if b, err = appendValue(b, details, 0); err != nil {
			return nil, bad("details", "%v", err)
		}
		if empty = len(b)-from > MaxDetails; empty {
			cuts = cutInto(cuts, "details", string(b[from:]))
			b = b[:from]
		}
	}
	if len(cuts) == 0 && len(hexes) == 0 {
		if empty {
			b = append(b, "{}"...)
		}
		return b, nil
	}
	b = b[:from]
	// Both keys sort by their place among the escaped keys of the caller: a
	// second pass over the members keeps the order canonical.
	members := make([]member, 0, len(details)+2)
	if !empty {
		for k, v := range details {
			key, _ := escapeKey(k) // did not fail above
			members = append(members, member{key, v})
		}
	}
	if len(cuts) > 0 {
		members = append(members, member{cutsKey, cuts})
	}
	if len(hexes) > 0 {
		members = append(members, member{hexKey, hexes})
	}
	slices.SortFunc(members, func(x, y member) int { return compareUTF16(x.key, y.key) })
	b = append(b, '{')
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, m.key), ':')
		switch v := m.value.(type) {
		case map[string]Cut:
			if m.key == cutsKey {
				b = appendCuts(b, v)
				continue
			}
		case map[string]string:
			if m.key == hexKey {
				b = appendHexes(b, v)
				continue
			}
		}
		if b, err = appendValue(b, m.value, 1); err != nil {
			return nil, bad("details", "%v", err)
		}
	}
	return append(b, '}'), nil
}

func appendCuts(b []byte, cuts map[string]Cut) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(cuts)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = appendCutBody(b, cuts[name])
	}
	return append(b, '}')
}

func appendHexes(b []byte, hexes map[string]string) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(hexes)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = appendString(b, hexes[name])
	}
	return append(b, '}')
}

// check refuses what only a mistake of ours can put into an entry.
func (e *Entry) check() error {
	_, actorCut := e.Cuts["actor"]
	switch {
	case e.ID == "" || len(e.ID) > 64 || !only(e.ID, "_"):
		return bad("id", "%q is not an ID", clip(e.ID))
	case e.Seq < 1 || e.Seq > maxSeq:
		return bad("seq", "%d is out of range", e.Seq)
	case e.Time.IsZero() || e.Time.UTC().Year() < 1 || e.Time.UTC().Year() > 9999:
		return bad("time", "is not set or out of range")
	case e.Type == "" || len(e.Type) > 64 || !only(e.Type, "_."):
		return bad("type", "%q is not a type", clip(e.Type))
	case e.Actor == "" && !actorCut:
		return bad("actor", "is missing")
	case e.Outcome != Allowed && e.Outcome != Denied && e.Outcome != Failed:
		return bad("outcome", "%q is not allowed, denied or failed", clip(e.Outcome))
	case e.Statement != nil && len(e.Details) > 0:
		return bad("details", "are given twice: as a statement, and as a map")
	case e.Reason.Digest != "" && (!strings.HasPrefix(e.Reason.Digest, "sha256:") || !isHex(e.Reason.Digest[7:], 64)):
		return bad("reason", "is not a digest: personal text does not belong into the log")
	}
	for name, c := range e.Cuts {
		empty := false
		switch name {
		case "scope":
			empty = len(e.Scope) == 0 || string(e.Scope) == "null"
		case "details":
			empty = len(e.Details) == 0 && e.Statement == nil
		default:
			for _, f := range e.fields() {
				empty = empty || f.name == name && *f.value == ""
			}
		}
		if err := c.check(); err != nil || !empty {
			return bad("cuts", "%q is not a field that is cut", clip(name))
		}
	}
	return nil
}

// only reports whether s has nothing but small letters, digits and bytes of more.
func only(s, more string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}
