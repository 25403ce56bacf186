package access

import "time"

// Decide says what a command brings about on r, or why it is refused. r is nil
// for Submit and is never changed.
func Decide(r *Request, cmd Command, f Facts) ([]Event, error) { panic("being written") }

// Apply returns r as it is after events. It never fails and never decides.
func Apply(r *Request, events ...Event) *Request { panic("being written") }

// Deadline is the next instant at which Tick can do something; zero for never.
func (r *Request) Deadline() time.Time { panic("being written") }

// Eligible reports whether account may vote in stage on a request of requester.
func Eligible(dir Directory, account, requester string, stage Stage) bool { panic("being written") }

// Hash is the content hash, "sha256:" and hex: the SHA-256 of the RFC 8785 form.
func (c Content) Hash() string { panic("being written") }
