// Package live is the in-memory index of the grants that give access right
// now, and of the hashes of the credentials that prove them. The broker feeds
// it after each commit, in commit order; every check asks it and nothing else,
// so that a check costs no I/O and is exact at the instant of expiry.
//
// It refuses to decide anything but "is this credential good at this instant".
package live

import (
	"encoding/json"
	"time"
)

// Hash is the SHA-256 of a credential.
type Hash [32]byte

// Grant is one grant as checks see it. Out of an Index it is a view, made when
// it is asked for: its fields do not change, and what moves (the end) is behind
// methods. The index keeps times to the millisecond.
type Grant struct {
	ID          string
	Request     string
	Principal   string
	OnBehalfOf  string // the owner of an agent or service, "" otherwise
	Resource    string
	Incarnation string
	Kind        string
	Scope       json.RawMessage // canonical
	StartsAt    time.Time

	entry *entry
}

// ExpiresAt returns the end of the grant as it is now: extensions move it. It
// is zero for a Grant that did not come out of an Index.
func (g *Grant) ExpiresAt() time.Time {
	if g.entry == nil {
		return time.Time{}
	}
	return time.UnixMilli(g.entry.end()).UTC()
}

// Used reports whether MarkUsed was called for a grant that came out of an
// Index, since this process started.
func (g *Grant) Used() bool { return g.entry != nil && g.entry.asked.Load() }

// MarkUsed notes that the first use of g without a credential is on record.
func (g *Grant) MarkUsed() {
	if g.entry != nil {
		g.entry.asked.Store(true)
	}
}

// The kinds of a Credential.
const (
	KindToken  = "token"
	KindCookie = "cookie"
)

// Credential is one thing that proves a grant. Only its hash is known.
type Credential struct {
	Hash      Hash
	ID        string // jti
	Grant     string
	Kind      string // KindToken or KindCookie
	Host      string // a cookie is good for this host alone; "" otherwise
	IssuedAt  time.Time
	ExpiresAt time.Time // zero: as long as its grant, extensions included

	record *credential
}

// Used reports whether MarkUsed was called for a credential that came out of
// an Index, since this process started.
func (c *Credential) Used() bool { return c.record != nil && c.record.used.Load() }

// MarkUsed notes that the first use of c is on record.
func (c *Credential) MarkUsed() {
	if c.record != nil {
		c.record.used.Store(true)
	}
}

// State is what a check says of a credential.
type State uint8

// The states. Everything but Live denies.
const (
	Unknown State = iota // no such credential, or forgotten long ago
	NotYet               // its grant has not started
	Live                 // good at this instant
	Ended                // it, or its grant, is over
)

// String returns the name of s.
func (s State) String() string {
	switch s {
	case NotYet:
		return "not yet"
	case Live:
		return "live"
	case Ended:
		return "ended"
	}
	return "unknown"
}

// The reasons why something is over. The first four are those of CONTRACT §1.
const (
	ReasonExpired           = "expired"
	ReasonReturned          = "returned"
	ReasonRevoked           = "revoked"
	ReasonPolicy            = "policy"
	ReasonCredentialExpired = "credential_expired" // its grant may live on
	ReasonCredentialEnded   = "credential_ended"   // logged out
	ReasonUnknown           = "unknown"            // said to a watcher of a grant that is not known
)

// Check is the answer to one check.
type Check struct {
	State   State
	EndedAt time.Time // of Ended
	Reason  string    // of Ended

	record *credential // nil when the state is Unknown
}

// Grant returns the grant that was checked, nil when the state is Unknown. It
// makes a view each time, which allocates.
func (c Check) Grant() *Grant {
	if c.record == nil {
		return nil
	}
	return c.record.grant.view()
}

// Credential returns the credential that was checked, nil when the state is
// Unknown. It makes a view each time, which allocates.
func (c Check) Credential() *Credential {
	if c.record == nil {
		return nil
	}
	return c.record.view()
}
