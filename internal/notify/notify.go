// Package notify says what a message to a person or a program is, composes it
// from the facts of an event, and makes what users wrote harmless in it.
//
// It refuses to carry a secret, or a link that decides anything: a message
// names a page and a command, and the deciding happens there, under the
// reader's own login. It does not choose who is told: recipients are resolved
// by the caller at the moment of sending. Delivery is at least once; the ID
// tells repetitions.
package notify

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Recipient is somebody to be told.
type Recipient struct {
	Principal string // user:ana
	Email     string // "" where none is known
}

// Message is one notice, ready to be sent over any channel. All its texts are
// neutralised already: one line each in Subject, lines broken by "\n" in Text.
type Message struct {
	ID      string // msg_…, the same in every attempt
	Type    string // request.pending …, the Type constants
	To      []Recipient
	Subject string
	Text    string
	Link    string         // a page, "" without a public URL
	Command string         // what to type instead
	Data    map[string]any // the same for programs: strings, lists of strings and booleans
	At      time.Time      // when it happened, not when it is sent
}

// Notifier sends messages over one channel. It is safe for concurrent use.
type Notifier interface {
	// Name tells channels apart in the audit log and in metrics: "webhook".
	Name() string
	// Send delivers m, or fails. After a plain error it is tried again later;
	// one that IsPermanent is not, and RetryDelay may say when. A message
	// without anybody whom this channel can reach is done, not an error.
	Send(ctx context.Context, m Message) error
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks err as one that trying again cannot mend. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked by
// Permanent.
func IsPermanent(err error) bool { return errors.As(err, new(permanent)) }

// RetryAfter is a failure whose receiver said when to come back.
type RetryAfter struct {
	After time.Duration // from now; at least 0
	Err   error
}

func (r *RetryAfter) Error() string { return fmt.Sprintf("%v (asked to wait %s)", r.Err, r.After) }

func (r *RetryAfter) Unwrap() error { return r.Err }

// RetryDelay returns how long the receiver asked to be left alone.
func RetryDelay(err error) (time.Duration, bool) {
	var r *RetryAfter
	if !errors.As(err, &r) {
		return 0, false
	}
	return r.After, true
}
