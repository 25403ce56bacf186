package audit

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/daypass/daypass/api"
)

// EventOf returns the wire's form of a stored entry. leaf may be nil; it is
// what an offline check needs. reason is the text that the entry's digest
// refers to, nil when there is none or it was erased.
func EventOf(stored []byte, leaf *Leaf, reason *string) (api.Event, error) {
	e, s, err := decode(stored)
	if err != nil {
		return api.Event{}, err
	}
	return eventOf(stored, e, s, leaf, reason), nil
}

func eventOf(raw []byte, e *Entry, s *stored, leaf *Leaf, reason *string) api.Event {
	ev := api.Event{
		ID: e.ID, Seq: e.Seq, Time: api.TimeOf(e.Time), Type: e.Type, Actor: s.Actor,
		OnBehalfOf: s.OnBehalfOf, Request: s.Request, Grant: s.Grant, Session: s.Session, Resource: s.Resource,
		Scope: s.Scope, Outcome: e.Outcome, Reason: reason,
		Source: api.EventSource{IP: s.Source.IP, Channel: s.Source.Channel}, Details: s.Details,
	}
	if leaf != nil {
		ev.Leaf = &api.EventLeaf{Index: leaf.Index, First: leaf.First, Count: leaf.Count, Bytes: string(raw)}
	}
	return ev
}

// ExportTrailer is the last line of an export.
type ExportTrailer struct {
	Checkpoint string `json:"checkpoint"` // signed note over exactly the exported entries
	Key        string `json:"key"`        // vkey of its signer
}

// ExportEvent returns the line of a stored entry, without the newline. An
// export is these lines from seq 1 on and then the trailer.
func ExportEvent(stored []byte, leaf Leaf, reason *string, salt *[16]byte) ([]byte, error) {
	ev, err := EventOf(stored, &leaf, reason)
	if err != nil {
		return nil, err
	}
	if reason != nil && salt != nil {
		ev.Leaf.ReasonSalt = hex.EncodeToString(salt[:])
	}
	b, err := json.Marshal(ev)
	if err != nil {
		return nil, fmt.Errorf("writing entry %d: %w", ev.Seq, err)
	}
	return b, nil
}

// ExportEnd returns the last line of an export, without the newline.
func ExportEnd(checkpoint []byte, vkey string) ([]byte, error) {
	return json.Marshal(ExportTrailer{Checkpoint: string(checkpoint), Key: vkey})
}
