package live

import (
	"sync"
	"time"
)

// Tombstones is how many ended grants are remembered, so that a denial can say
// when a grant ended, and so that one that ended is never put back.
const Tombstones = 65_536

// Index is the index. It is safe for concurrent use.
type Index struct {
	now func() time.Time

	mu     sync.RWMutex
	grants table[entry]
	creds  table[credential]
	dead   []*entry // ring of the newest Tombstones ended grants
	next   int      // where the ring goes on
	shared shared
	held   holders

	watchers watchers
}

// New returns an empty index on the effective clock now. Close stops what it
// starts when somebody watches.
func New(now func() time.Time) *Index {
	x := &Index{now: now, shared: newShared()}
	x.grants.key, x.creds.key = (*entry).key, (*credential).key
	x.held.init()
	x.watchers.init(now)
	return x
}

// Put adds a grant. For a grant that is known already it only moves the end,
// as Extend does; one that has ended stays ended.
func (x *Index) Put(g Grant, expiresAt time.Time) {
	x.mu.Lock()
	if e := x.entry(g.ID); e != nil {
		x.mu.Unlock()
		x.move(e, expiresAt)
		return
	}
	defer x.mu.Unlock()
	e := &entry{starts: g.StartsAt.Add(time.Millisecond - 1).UnixMilli()}
	t := terms{resource: g.Resource, incarnation: g.Incarnation, kind: g.Kind, scope: x.shared.scope(g.Scope)}
	e.name, t.id = nameWith(grantPrefix, g.ID)
	e.request, t.request = nameWith(requestPrefix, g.Request)
	e.party, e.terms = share(x.shared.parties, party{g.Principal, g.OnBehalfOf}), x.shared.termsOf(t)
	e.expires.Store(expiresAt.UnixMilli())
	x.grants.insert(e)
	x.held.enter(e)
}

// entry returns the grant of this ID, nil when it is not known.
func (x *Index) entry(id string) *entry {
	n, odd := nameWith(grantPrefix, id)
	if p := x.grants.find(n.key(), func(e *entry) bool { return e.name == n && e.terms.id == odd }); p != nil {
		return *p
	}
	return nil
}

// credential returns the credential of this hash, nil when it is not known. It
// compares whole hashes with ==: they are hashes of 256 random bits, so that
// timing tells nothing of a secret.
func (x *Index) credential(h *Hash) *credential {
	if p := x.creds.find(keyOf(h), func(c *credential) bool { return c.hash == *h }); p != nil {
		return *p
	}
	return nil
}

// Extend moves the end of a grant. Whether that is allowed was decided when
// the extension was committed; a grant that ended early, or that is not known,
// is left alone. One that has expired meanwhile stays over: Extend reports
// false then, and the caller must write down its end.
func (x *Index) Extend(grant string, expiresAt time.Time) bool {
	x.mu.RLock()
	e := x.entry(grant)
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
	e := x.entry(grant)
	if e == nil {
		e = &entry{}
		var t terms
		e.name, t.id = nameWith(grantPrefix, grant)
		e.terms = x.shared.termsOf(t)
		e.expires.Store(at.UnixMilli())
		x.grants.insert(e)
	}
	ended := x.end(e, at, reason)
	x.mu.Unlock()
	if ended {
		x.watchers.fire(e, reason)
	}
}

// end makes e ended, unless it is.
func (x *Index) end(e *entry, at time.Time, reason string) bool {
	if e.ended.Load() != 0 {
		return false
	}
	ms := min(at.UnixMilli(), e.end())
	if ms == 0 {
		ms = 1 // 0 means "not ended"
	}
	e.reason = share(x.shared.reasons, reason)
	e.ended.Store(ms)
	if e.party != nil {
		x.held.leave(e)
	}
	x.bury(e)
	return true
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
	x.grants.remove(old)
	for c := old.creds; c != nil; c = c.sibling {
		x.creds.remove(c)
	}
}

// PutCredential adds a credential of a grant that was put before. Adding one
// twice changes nothing; one of a grant that is not known is dropped.
func (x *Index) PutCredential(c Credential) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entry(c.Grant)
	if e == nil || x.credential(&c.Hash) != nil {
		return
	}
	n := &credential{hash: c.Hash, issued: c.IssuedAt.UnixMilli(), grant: e, sibling: e.creds}
	if !c.ExpiresAt.IsZero() {
		n.expires = c.ExpiresAt.UnixMilli()
	}
	f := form{kind: c.Kind, host: c.Host}
	n.name, f.prefix, f.id = nameOf(c.ID)
	n.form = x.shared.formOf(f)
	x.creds.insert(n)
	e.creds = n
}

// EndCredential ends one credential for good; its grant lives on.
func (x *Index) EndCredential(h Hash) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if c := x.credential(&h); c != nil {
		c.gone.Store(true)
	}
}

// Check says what a credential is worth at this instant. It allocates nothing.
func (x *Index) Check(h Hash) Check {
	x.mu.RLock()
	c := x.credential(&h)
	x.mu.RUnlock()
	if c == nil {
		return Check{}
	}
	now := x.now()
	r := Check{record: c, State: Live}
	if at, reason, over := c.grant.over(now); over {
		r.State, r.EndedAt, r.Reason = Ended, at, reason
		return r
	}
	switch {
	case c.gone.Load():
		r.State, r.EndedAt, r.Reason = Ended, now, ReasonCredentialEnded
	case c.expires != 0 && now.UnixMilli() >= c.expires:
		r.State, r.EndedAt, r.Reason = Ended, time.UnixMilli(c.expires).UTC(), ReasonCredentialExpired
	case !c.grant.started(now):
		r.State = NotYet
	}
	return r
}

// Grant returns a grant by its ID, also one that has ended not long ago.
func (x *Index) Grant(id string) (*Grant, bool) {
	x.mu.RLock()
	e := x.entry(id)
	x.mu.RUnlock()
	if e == nil || e.party == nil { // the end of a grant never put
		return nil, false
	}
	return e.view(), true
}

// LiveAt reports whether g, which came out of this index, gives access at now.
func (x *Index) LiveAt(g *Grant, now time.Time) bool {
	if g == nil || g.entry == nil {
		return false
	}
	_, _, over := g.entry.over(now)
	return !over && g.entry.started(now)
}

// Len returns how many grants are known and have not been ended, and how many
// credentials, those of tombstones included.
func (x *Index) Len() (grants, credentials int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.grants.n - len(x.dead), x.creds.n
}

// Close ends what was started for watchers. They are told nothing any more.
func (x *Index) Close() { x.watchers.close() }
