// Package live is the in-memory index of the grants that give access right
// now, and of the hashes of the credentials that prove them. The broker feeds
// it after each commit, in commit order; every check asks it and nothing else,
// so that a check costs no I/O and is exact at the instant of expiry.
//
// It refuses to decide anything but "is this credential good at this instant".
package live

import "time"

// Hash is the SHA-256 of a credential.
type Hash [32]byte

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

	in   *Index // nil when the state is Unknown
	at   ref
	hash Hash
}

// Grant returns the grant that was checked; nil when the state is Unknown, and
// when the credential has been forgotten since. It makes a view each time,
// which allocates.
func (c Check) Grant() (g *Grant) {
	c.look(func(r *credential) { g = c.in.view(r.grant) })
	return g
}

// Credential returns the credential that was checked; nil when the state is
// Unknown, and when the credential has been forgotten since. It makes a view
// each time, which allocates.
func (c Check) Credential() (v *Credential) {
	c.look(func(r *credential) { v = c.in.credentialView(c.at, r) })
	return v
}

func (c Check) look(f func(*credential)) {
	if c.in != nil {
		c.in.lookAt(c.at, &c.hash, f)
	}
}
