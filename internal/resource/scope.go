package resource

import (
	"errors"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"
)

// DecodeScope decodes a scope into a struct, strictly. Its error keeps what is
// wrong and where, and does not speak of Go types.
func DecodeScope(raw []byte, into any) error {
	err := jsonv2.Unmarshal(raw, into, jsonv2.RejectUnknownMembers(true))
	if e, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		switch {
		case errors.Is(e.Err, jsonv2.ErrUnknownName):
			return fmt.Errorf("unknown field at %s", e.JSONPointer)
		case e.JSONPointer != "":
			return fmt.Errorf("wrong type at %s", e.JSONPointer)
		}
		return errors.New("wrong type")
	}
	return err
}
