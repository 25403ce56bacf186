package live

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// The prefixes of IDs that the index does not keep.
const (
	grantPrefix   = "grt"
	requestPrefix = "req"
)

// entry is a grant as the index keeps it: 88 bytes without a pointer, and what
// many grants have in common once. Count them when you add a field: there may
// be a million.
type entry struct {
	name, request name
	starts        int64 // Unix milliseconds, rounded up
	party         ref   // in shared.parties; 0: only the end is known
	terms         ref   // in shared.terms

	expires    atomic.Int64 // Unix milliseconds, rounded down; negative once somebody was told that it is over
	ended      atomic.Int64 // Unix milliseconds; 0 while not ended early
	reason     ref          // in shared.reasons; written before ended is set
	creds      ref          // in Index.proofs, the first of its credentials
	prev, next ref          // in Index.entries: the list of its pair (holders)
	asked      atomic.Bool  // a check that named it, without a credential, is on record
}

// credential is a Credential as the index keeps it: 80 bytes without a pointer.
type credential struct {
	hash    Hash
	name    name
	issued  int64         // Unix milliseconds
	expires int64         // Unix milliseconds, rounded down; 0: as long as its grant
	form    ref           // in shared.forms
	grant   ref           // in Index.entries
	sibling ref           // in Index.proofs: the next of the same grant
	marks   atomic.Uint32 // gone and used
}

// The marks of a credential.
const (
	gone uint32 = 1 << iota // logged out
	used                    // its first use is on record
)

func (e *entry) key() uint64 { return e.name.key() }

func (c *credential) key() uint64 { return keyOf(&c.hash) }

func keyOf(h *Hash) uint64 { return mix(binary.LittleEndian.Uint64(h[:8])) }

// started reports whether e has begun: starts is whole, so that this is exact.
func (e *entry) started(now time.Time) bool { return now.UnixMilli() >= e.starts }

// end is when e expires, or expired, in Unix milliseconds.
func (e *entry) end() int64 {
	expires := e.expires.Load()
	return max(expires, -expires)
}

// over returns when and why e ended, as of now. Whoever is told that it has
// expired makes that final: an extension that was decided in time and comes to
// the index late must not revive what a check has denied (A2).
func (x *Index) over(e *entry, now time.Time) (at time.Time, reason string, over bool) {
	for {
		expires := e.expires.Load()
		if ended := e.ended.Load(); ended != 0 {
			return time.UnixMilli(ended).UTC(), *x.reasons.at(e.reason), true
		}
		end := max(expires, -expires)
		if expires > 0 && now.UnixMilli() < end { // both rounded down: exact, as expires is whole
			return time.Time{}, "", false
		}
		if expires <= 0 || e.expires.CompareAndSwap(expires, -expires) {
			return time.UnixMilli(end).UTC(), ReasonExpired, true
		}
	}
}
