package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Finding is what a kind found in the target when access was asked for: what
// the names of the scope stand for there, and what the grant would really
// allow. It is shown to who asks and who approves, a vote is bound to it, and
// the connector gets it back.
type Finding struct {
	// Target is canonical JSON (RFC 8785), an object; nil when there is nothing
	// to say.
	Target json.RawMessage
}

// Previewing is a Kind that finds out, when access is asked for, what it would
// really reach. Conditions on that kind see it as `effective`; where nothing was
// found, they cannot be evaluated.
type Previewing interface {
	Kind
	// EffectiveType is a struct type whose fields CEL sees, by the names of their
	// `cel` tags, which are those of their `json` tags too. The member "effective"
	// of a Finding's Target is one.
	EffectiveType() reflect.Type
}

// Effective is that member of a target; nil when it has none.
func Effective(target json.RawMessage) json.RawMessage {
	var t struct {
		Effective json.RawMessage `json:"effective"`
	}
	if len(target) == 0 || json.Unmarshal(target, &t) != nil || string(t.Effective) == "null" {
		return nil
	}
	return t.Effective
}

// ParseEffective checks that raw, an object, is what kind k finds. What it leaves
// out is 0, false or empty.
func ParseEffective(k Kind, raw json.RawMessage) error {
	_, err := effectiveOf(k, raw, true)
	return err
}

func effectiveOf(k Kind, raw json.RawMessage, strict bool) (any, error) {
	p, ok := k.(Previewing)
	if !ok {
		return nil, fmt.Errorf("the kind %s does not find out what access really reaches", k.Name())
	}
	if raw = bytes.TrimSpace(raw); !bytes.HasPrefix(raw, []byte("{")) {
		return nil, errors.New("must be an object")
	}
	v := reflect.New(p.EffectiveType())
	d := json.NewDecoder(bytes.NewReader(raw))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(v.Interface()); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("%s has a %s", wrong.Field, wrong.Value)
		}
		return nil, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	v = v.Elem()
	for i := range v.NumField() { // an absent list is an empty one
		if f := v.Field(i); f.Kind() == reflect.Slice && f.IsNil() {
			f.Set(reflect.MakeSlice(f.Type(), 0, 0))
		}
	}
	return v.Interface(), nil
}

// Unfit is a scope that names what is not in the target. Its message says what
// is there instead.
type Unfit struct {
	Field   string // of the scope: "tables"; "" for the whole
	Message string // a sentence
}

// Error returns the message.
func (u *Unfit) Error() string { return u.Message }

// Proven is a Kind whose gateway never sees a token: its clients prove that
// they hold one (SCRAM, RFC 5802), so that each token of such a resource is
// kept with its verifier.
type Proven interface {
	Kind
	Proven()
}
