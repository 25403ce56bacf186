// Package broker is the only writer. Every command goes the same way: load →
// policy → access.Decide → one commit of rows, audit entries and effects; the
// live index and the waiting faces learn of it after that commit and before
// the caller does.
//
// It refuses to speak any protocol: faces decode and encode, kinds enforce,
// workers carry out effects and report back through it.
package broker

import (
	"fmt"
	"time"

	"github.com/daypass/daypass/api"
)

// Kind classes an error; faces map it to their own codes once.
type Kind int

// The kinds of errors.
const (
	Invalid      Kind = iota // a field's value: 422
	Forbidden                // 403
	NotFound                 // 404; also what the caller may not see
	Conflict                 // 409
	Precondition             // 412
	TooMany                  // 429
	Unavailable              // 503
	Unauthorized             // 401
	Malformed                // 400
)

// Error is a refusal. Its message is a sentence that says what to do next; it
// holds no secret and nothing that the caller may not see.
type Error struct {
	Kind       Kind
	Code       string // the API's problem code
	Field      string // body.duration …, "" for none
	Message    string
	RetryAfter time.Duration
	Hint       *api.AccessHint
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// Once makes a call idempotent: the reply is kept in the same commit as what
// the call did.
type Once struct {
	Route string // "POST /v1/requests"
	Key   string // the caller's Idempotency-Key
	Body  [32]byte
	// Encode turns the outcome into the reply to keep. A Status ≥ 500 is not
	// kept. result is the method's first result without secrets.
	Encode func(result any, err error) Reply
}

// Reply is a kept answer.
type Reply struct {
	Status   int
	Location string
	Body     []byte
}

// Replayed is the error of a call whose Once was answered before.
type Replayed struct{ Reply Reply }

func (*Replayed) Error() string { return "this call was answered before" }

// View is a request as one caller sees it. Version is its ETag.
type View struct {
	api.Request
	Version int64
}

// Page selects a page of a list.
type Page struct {
	Limit  int    // 1–200
	Cursor string // as given by the previous page
}
