package live

import (
	"encoding/binary"
	"encoding/json"
	"sync/atomic"
	"time"
)

// The prefixes of IDs that the index does not keep.
const (
	grantPrefix   = "grt"
	requestPrefix = "req"
)

// entry is a grant as the index keeps it: 112 bytes, and what many grants have
// in common once. Count them when you add a field: there may be a million.
type entry struct {
	name, request name
	party         *party // nil: only the end is known
	terms         *terms
	starts        int64        // Unix milliseconds, rounded up
	expires       atomic.Int64 // Unix milliseconds, rounded down; negative once somebody was told that it is over
	ended         atomic.Int64 // Unix milliseconds; 0 while not ended early
	reason        *string      // written before ended is set
	creds         *credential  // guarded by Index.mu
	prev, next    *entry       // in the list of its pair (holders); guarded by Index.mu
	asked         atomic.Bool  // a check that named it, without a credential, is on record
}

// party is whose grants are.
type party struct{ principal, onBehalfOf string }

// terms are what grants give.
type terms struct {
	resource, incarnation, kind string
	scope                       *json.RawMessage
	id, request                 string // of the one grant with IDs of another shape; "" otherwise
}

// credential is a Credential as the index keeps it: 96 bytes.
type credential struct {
	hash    Hash
	name    name
	form    *form
	issued  int64       // Unix milliseconds
	expires int64       // Unix milliseconds, rounded down; 0: as long as its grant
	grant   *entry      // does not change
	sibling *credential // next of the same grant; guarded by Index.mu
	gone    atomic.Bool // logged out
	used    atomic.Bool // its first use is on record
}

// form is what many credentials have in common.
type form struct {
	kind, host, prefix string
	id                 string // of the one credential with an ID of another shape; "" otherwise
}

func (e *entry) id() string { return e.name.id(grantPrefix, e.terms.id) }

func (e *entry) key() uint64 { return e.name.key() }

func (c *credential) key() uint64 { return keyOf(&c.hash) }

func keyOf(h *Hash) uint64 { return mix(binary.LittleEndian.Uint64(h[:8])) }

// view is the Grant that e stands for.
func (e *entry) view() *Grant {
	g := &Grant{ID: e.id(), entry: e}
	if e.party == nil {
		return g
	}
	g.Request = e.request.id(requestPrefix, e.terms.request)
	g.Principal, g.OnBehalfOf = e.party.principal, e.party.onBehalfOf
	g.Resource, g.Incarnation, g.Kind = e.terms.resource, e.terms.incarnation, e.terms.kind
	g.Scope, g.StartsAt = *e.terms.scope, time.UnixMilli(e.starts).UTC()
	return g
}

// view is the Credential that c stands for.
func (c *credential) view() *Credential {
	v := &Credential{
		Hash: c.hash, ID: c.name.id(c.form.prefix, c.form.id), Grant: c.grant.id(), Kind: c.form.kind, Host: c.form.host,
		IssuedAt: time.UnixMilli(c.issued).UTC(), record: c,
	}
	if c.expires != 0 {
		v.ExpiresAt = time.UnixMilli(c.expires).UTC()
	}
	return v
}

// over returns when and why e ended, as of now. Whoever is told that it has
// expired makes that final: an extension that was decided in time and comes to
// the index late must not revive what a check has denied (A2).
func (e *entry) over(now time.Time) (at time.Time, reason string, over bool) {
	for {
		expires := e.expires.Load()
		if ended := e.ended.Load(); ended != 0 {
			return time.UnixMilli(ended).UTC(), *e.reason, true
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

// started reports whether e has begun: starts is whole, so that this is exact.
func (e *entry) started(now time.Time) bool { return now.UnixMilli() >= e.starts }

// end is when e expires, or expired, in Unix milliseconds.
func (e *entry) end() int64 {
	expires := e.expires.Load()
	return max(expires, -expires)
}

// shared keeps what many records have in common once.
type shared struct {
	parties map[party]*party
	terms   map[terms]*terms
	scopes  map[string]*json.RawMessage
	forms   map[form]*form
	reasons map[string]*string
}

// sharedMax bounds each of these tables. One is emptied when full, which costs
// sharing and nothing else.
const sharedMax = 65_536

func newShared() shared {
	return shared{
		parties: make(map[party]*party), terms: make(map[terms]*terms), scopes: make(map[string]*json.RawMessage),
		forms: make(map[form]*form), reasons: make(map[string]*string),
	}
}

func share[T comparable](all map[T]*T, v T) *T {
	if p, ok := all[v]; ok {
		return p
	}
	if len(all) >= sharedMax {
		clear(all)
	}
	all[v] = &v
	return &v
}

func (s *shared) scope(scope json.RawMessage) *json.RawMessage {
	if p, ok := s.scopes[string(scope)]; ok {
		return p
	}
	if len(s.scopes) >= sharedMax {
		clear(s.scopes)
	}
	v := append(json.RawMessage(nil), scope...)
	s.scopes[string(v)] = &v
	return &v
}

func (s *shared) termsOf(t terms) *terms {
	if t.id != "" || t.request != "" {
		return &t
	}
	return share(s.terms, t)
}

func (s *shared) formOf(f form) *form {
	if f.id != "" {
		return &f
	}
	return share(s.forms, f)
}
