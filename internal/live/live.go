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

// Grant is one grant as checks see it. Its fields do not change; what moves
// (the end) is behind methods.
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
}
