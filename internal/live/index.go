package live

import (
	"encoding/binary"
	"encoding/json"
	"sync"
	"time"
)

// Tombstones is how many ended grants are remembered, so that a denial can say
// when a grant ended, and so that one that ended is never put back.
const Tombstones = 65_536

// internMax bounds the table of shared strings. It is emptied when full, which
// costs sharing and nothing else.
const internMax = 65_536

// Index is the index. It is safe for concurrent use.
type Index struct {
	now func() time.Time

	mu     sync.RWMutex
	grants map[string]*entry
	creds  map[uint64]*credential // by the first 8 bytes of the hash; buckets hold the few that collide
	dead   []*entry               // ring of the newest Tombstones ended grants
	next   int                    // where the ring goes on
	shared map[string]string
	scopes map[string]json.RawMessage // scopes repeat even more than names
	held   holders

	watchers watchers
}

// New returns an empty index on the effective clock now. Close stops what it
// starts when somebody watches.
func New(now func() time.Time) *Index {
	x := &Index{
		now:    now,
		grants: make(map[string]*entry),
		creds:  make(map[uint64]*credential),
		shared: make(map[string]string),
		scopes: make(map[string]json.RawMessage),
		held:   newHolders(),
	}
	x.watchers.init(now)
	return x
}

// Put adds a grant. For a grant that is known already it only moves the end,
// as Extend does; one that has ended stays ended.
func (x *Index) Put(g Grant, expiresAt time.Time) {
	x.mu.Lock()
	if e, ok := x.grants[g.ID]; ok {
		x.mu.Unlock()
		x.move(e, expiresAt)
		return
	}
	defer x.mu.Unlock()
	e := &entry{Grant: g}
	e.entry = e
	e.Principal, e.OnBehalfOf = x.share(g.Principal), x.share(g.OnBehalfOf)
	e.Resource, e.Incarnation, e.Kind = x.share(g.Resource), x.share(g.Incarnation), x.share(g.Kind)
	e.Scope = x.shareScope(g.Scope)
	e.expires.Store(expiresAt.UnixMilli())
	x.grants[g.ID] = e
	x.held.enter(e)
}

// Extend moves the end of a grant. Whether that is allowed was decided when
// the extension was committed; a grant that ended early, or that is not known,
// is left alone. One that has expired meanwhile stays over: Extend reports
// false then, and the caller must write down its end.
func (x *Index) Extend(grant string, expiresAt time.Time) bool {
	x.mu.RLock()
	e := x.grants[grant]
	x.mu.RUnlock()
	return e == nil || x.move(e, expiresAt)
}

func (x *Index) move(e *entry, expiresAt time.Time) bool {
	for {
		was := e.expires.Load()
		if _, reason, over := e.over(x.now()); over {
			return reason != ReasonExpired
		}
		if e.expires.CompareAndSwap(was, expiresAt.UnixMilli()) {
			break
		}
	}
	x.watchers.moved(e)
	return true
}

// End ends a grant for good: from the return of End no check finds it live,
// and its watchers are being told. A second End changes nothing. The end of a
// grant that is not known is remembered, so that it cannot be put later.
func (x *Index) End(grant string, at time.Time, reason string) {
	x.mu.Lock()
	e, ok := x.grants[grant]
	if !ok {
		e = &entry{Grant: Grant{ID: grant}}
		e.entry = e
		e.expires.Store(at.UnixMilli())
		x.grants[grant] = e
	}
	if e.ended.Load() != 0 {
		x.mu.Unlock()
		return
	}
	ms := min(at.UnixMilli(), e.end())
	if ms == 0 {
		ms = 1 // 0 means "not ended"
	}
	e.reason = x.share(reason)
	e.ended.Store(ms)
	x.held.leave(e)
	x.bury(e)
	x.mu.Unlock()
	x.watchers.fire(e, reason)
}

// bury puts e among the tombstones and forgets the oldest one when full.
func (x *Index) bury(e *entry) {
	if len(x.dead) < Tombstones {
		x.dead = append(x.dead, e)
		return
	}
	old := x.dead[x.next]
	x.dead[x.next] = e
	x.next = (x.next + 1) % Tombstones
	delete(x.grants, old.ID)
	for c := old.creds; c != nil; c = c.sibling {
		x.unlink(c)
	}
}

// PutCredential adds a credential of a grant that was put before. Adding one
// twice changes nothing; one of a grant that is not known is dropped.
func (x *Index) PutCredential(c Credential) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.grants[c.Grant]
	if !ok {
		return
	}
	key := keyOf(&c.Hash)
	if find(x.creds[key], &c.Hash) != nil {
		return
	}
	c.Grant, c.Kind, c.Host = e.ID, x.share(c.Kind), x.share(c.Host)
	n := &credential{Credential: c, grant: e, bucket: x.creds[key], sibling: e.creds}
	n.used = &n.first
	x.creds[key], e.creds = n, n
}

// EndCredential ends one credential for good; its grant lives on.
func (x *Index) EndCredential(h Hash) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if c := find(x.creds[keyOf(&h)], &h); c != nil {
		c.gone.Store(true)
	}
}

func (x *Index) unlink(c *credential) {
	key := keyOf(&c.Hash)
	head := x.creds[key]
	if head == c {
		if c.bucket == nil {
			delete(x.creds, key)
		} else {
			x.creds[key] = c.bucket
		}
		return
	}
	for p := head; p != nil; p = p.bucket {
		if p.bucket == c {
			p.bucket = c.bucket
			return
		}
	}
}

func keyOf(h *Hash) uint64 { return binary.LittleEndian.Uint64(h[:8]) }

// find compares whole hashes with ==: they are hashes of 256 random bits, so
// that timing tells nothing of a secret.
func find(c *credential, h *Hash) *credential {
	for ; c != nil; c = c.bucket {
		if c.Hash == *h {
			return c
		}
	}
	return nil
}

func (x *Index) share(s string) string {
	if s == "" {
		return ""
	}
	if v, ok := x.shared[s]; ok {
		return v
	}
	if len(x.shared) >= internMax {
		clear(x.shared)
	}
	x.shared[s] = s
	return s
}

func (x *Index) shareScope(s json.RawMessage) json.RawMessage {
	if len(s) == 0 {
		return nil
	}
	if v, ok := x.scopes[string(s)]; ok {
		return v
	}
	if len(x.scopes) >= internMax {
		clear(x.scopes)
	}
	v := append(json.RawMessage(nil), s...)
	x.scopes[string(v)] = v
	return v
}

// Check says what a credential is worth at this instant. It allocates nothing.
func (x *Index) Check(h Hash) Check {
	x.mu.RLock()
	c := find(x.creds[keyOf(&h)], &h)
	x.mu.RUnlock()
	if c == nil {
		return Check{}
	}
	now := x.now()
	r := Check{Grant: &c.grant.Grant, Credential: &c.Credential, State: Live}
	if at, reason, over := c.grant.over(now); over {
		r.State, r.EndedAt, r.Reason = Ended, at, reason
		return r
	}
	switch {
	case c.gone.Load():
		r.State, r.EndedAt, r.Reason = Ended, now, ReasonCredentialEnded
	case !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt):
		r.State, r.EndedAt, r.Reason = Ended, c.ExpiresAt, ReasonCredentialExpired
	case now.Before(c.grant.StartsAt):
		r.State = NotYet
	}
	return r
}

// Grant returns a grant by its ID, also one that has ended not long ago.
func (x *Index) Grant(id string) (*Grant, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e, ok := x.grants[id]
	if !ok || e.StartsAt.IsZero() && e.Resource == "" { // the end of a grant never put
		return nil, false
	}
	return &e.Grant, true
}

// LiveAt reports whether g, which came out of this index, gives access at now.
func (x *Index) LiveAt(g *Grant, now time.Time) bool {
	if g == nil || g.entry == nil {
		return false
	}
	_, _, over := g.entry.over(now)
	return !over && !now.Before(g.StartsAt)
}

// Len returns how many grants are known and have not been ended, and how many
// credentials, those of tombstones included.
func (x *Index) Len() (grants, credentials int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.grants) - len(x.dead), len(x.creds)
}

// Close ends what was started for watchers. They are told nothing any more.
func (x *Index) Close() { x.watchers.close() }
