package policy

import "encoding/json"

// Finding is what a kind found in the target when access was asked for: what
// the names of the scope stand for there, and what the grant would really
// allow. It is shown to who asks and who approves, a vote is bound to it, and
// the connector gets it back.
type Finding struct {
	// Target is canonical JSON (RFC 8785), an object; nil when there is nothing
	// to say.
	Target json.RawMessage
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
