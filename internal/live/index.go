package live

import (
	"hash/maphash"
	"sync"
	"time"
)

// Tombstones is how many ended grants are remembered, so that a denial can say
// when a grant ended, and so that one that ended is never put back.
const Tombstones = 65_536

// Index is the index. It is safe for concurrent use.
type Index struct {
	now func() time.Time

	mu      sync.RWMutex
	entries slab[entry]
	proofs  slab[credential]
	grants  table // of entries, by name
	creds   table // of proofs, by hash
	dead    []ref // ring of the newest Tombstones ended grants
	next    int   // where the ring goes on
	held    holders
	shared

	watchers watchers
}

// New returns an empty index on the effective clock now. Close stops what it
// starts when somebody watches.
func New(now func() time.Time) *Index {
	x := &Index{now: now, shared: shared{seed: maphash.MakeSeed()}}
	x.held.init(x)
	x.watchers.init(x)
	return x
}

func (x *Index) grantKey(r ref) uint64 { return x.entries.at(r).key() }

func (x *Index) proofKey(r ref) uint64 { return x.proofs.at(r).key() }

// Expect makes room for so many grants and credentials at once, where it is
// known that they will come.
func (x *Index) Expect(grants, credentials int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.grants.expect(grants, x.grantKey)
	x.creds.expect(credentials, x.proofKey)
}

// Put adds a grant. For a grant that is known already it only moves the end,
// as Extend does; one that has ended stays ended.
func (x *Index) Put(g Grant, expiresAt time.Time) {
	n, odd := nameWith(grantPrefix, g.ID)
	request, oddRequest := nameWith(requestPrefix, g.Request)
	x.mu.Lock()
	if r := x.named(n, odd); r != 0 {
		x.move(x.entries.at(r), expiresAt)
		x.mu.Unlock()
		x.watchers.moved(place{n, r})
		return
	}
	defer x.mu.Unlock()
	r, e := x.entries.take()
	e.name, e.request, e.starts = n, request, g.StartsAt.Add(time.Millisecond-1).UnixMilli()
	e.party = x.takeParty(party{g.Principal, g.OnBehalfOf})
	e.terms = x.takeTerms(terms{resource: g.Resource, incarnation: g.Incarnation, kind: g.Kind, scope: g.Scope, id: odd, request: oddRequest})
	e.expires.Store(expiresAt.UnixMilli())
	x.grants.insert(r, e.key(), x.grantKey)
	x.held.enter(r, e)
}

// named returns the grant of this name, 0 when it is not known.
func (x *Index) named(n name, odd string) ref {
	p := x.grants.find(n.key(), func(r ref) bool {
		e := x.entries.at(r)
		return e.name == n && x.terms.at(e.terms).id == odd
	})
	if p == nil {
		return 0
	}
	return *p
}

// entry returns the grant of this ID, nil when it is not known.
func (x *Index) entry(id string) (ref, *entry) {
	r := x.named(nameWith(grantPrefix, id))
	if r == 0 {
		return 0, nil
	}
	return r, x.entries.at(r)
}

// credential returns the credential of this hash, nil when it is not known. It
// compares whole hashes with ==: they are hashes of 256 random bits, so that
// timing tells nothing of a secret.
func (x *Index) credential(h *Hash) (ref, *credential) {
	p := x.creds.find(keyOf(h), func(r ref) bool { return x.proofs.at(r).hash == *h })
	if p == nil {
		return 0, nil
	}
	return *p, x.proofs.at(*p)
}

// Extend moves the end of a grant. Whether that is allowed was decided when
// the extension was committed; a grant that ended early, or that is not known,
// is left alone. One that has expired meanwhile stays over: Extend reports
// false then, and the caller must write down its end.
func (x *Index) Extend(grant string, expiresAt time.Time) bool {
	x.mu.RLock()
	r, e := x.entry(grant)
	if e == nil {
		x.mu.RUnlock()
		return true
	}
	p := place{e.name, r}
	done := x.move(e, expiresAt)
	x.mu.RUnlock()
	x.watchers.moved(p)
	return done
}

func (x *Index) move(e *entry, expiresAt time.Time) bool {
	for {
		was := e.expires.Load()
		if _, reason, over := x.over(e, x.now()); over {
			return reason != ReasonExpired
		}
		if e.expires.CompareAndSwap(was, expiresAt.UnixMilli()) {
			return true
		}
	}
}

// End ends a grant for good: from the return of End no check finds it live,
// and its watchers are being told. A second End changes nothing. The end of a
// grant that is not known is remembered, so that it cannot be put later.
func (x *Index) End(grant string, at time.Time, reason string) {
	x.mu.Lock()
	r, e := x.entry(grant)
	if e == nil {
		r, e = x.entries.take()
		var t terms
		e.name, t.id = nameWith(grantPrefix, grant)
		e.terms = x.takeTerms(t)
		e.expires.Store(at.UnixMilli())
		x.grants.insert(r, e.key(), x.grantKey)
	}
	p := place{e.name, r}
	ended := x.end(r, e, at, reason)
	x.mu.Unlock()
	if ended {
		x.watchers.fire(p, reason)
	}
}

// end makes e ended, unless it is.
func (x *Index) end(r ref, e *entry, at time.Time, reason string) bool {
	if e.ended.Load() != 0 {
		return false
	}
	x.mark(e, at, reason)
	x.settle(r, e)
	return true
}

// mark has e, which has not ended, give no access from here on.
func (x *Index) mark(e *entry, at time.Time, reason string) {
	ms := min(at.UnixMilli(), e.end())
	if ms == 0 {
		ms = 1 // 0 means "not ended"
	}
	e.reason = x.takeReason(reason)
	e.ended.Store(ms)
}

// settle puts e, which was marked, where ended grants are. It is not forgotten
// before that.
func (x *Index) settle(r ref, e *entry) {
	if e.party != 0 {
		x.held.leave(r, e)
	}
	x.bury(r)
}

// bury puts a grant among the tombstones and forgets the oldest one when full.
func (x *Index) bury(r ref) {
	if len(x.dead) < Tombstones {
		x.dead = append(x.dead, r)
		return
	}
	old := x.dead[x.next]
	x.dead[x.next] = r
	x.next = (x.next + 1) % Tombstones
	x.forget(old)
}

// forget takes out a grant that has ended, and its credentials.
func (x *Index) forget(r ref) {
	e := x.entries.at(r)
	for at := e.creds; at != 0; {
		c := x.proofs.at(at)
		next := c.sibling
		x.creds.remove(at, c.key(), x.proofKey)
		x.forms.drop(c.form)
		x.proofs.give(at)
		at = next
	}
	x.grants.remove(r, e.key(), x.grantKey)
	if e.party != 0 {
		x.parties.drop(e.party)
	}
	x.terms.drop(e.terms)
	x.reasons.drop(e.reason)
	x.entries.give(r)
}

// PutCredential adds a credential of a grant that was put before. Adding one
// twice changes nothing; one of a grant that is not known is dropped.
func (x *Index) PutCredential(c Credential) {
	f := form{kind: c.Kind, host: c.Host}
	var n name
	n, f.prefix, f.id = nameOf(c.ID)
	grant, odd := nameWith(grantPrefix, c.Grant)
	x.mu.Lock()
	defer x.mu.Unlock()
	g := x.named(grant, odd)
	if known, _ := x.credential(&c.Hash); g == 0 || known != 0 {
		return
	}
	e := x.entries.at(g)
	r, p := x.proofs.take()
	p.hash, p.name, p.issued, p.form, p.grant = c.Hash, n, c.IssuedAt.UnixMilli(), x.takeForm(f), g
	if !c.ExpiresAt.IsZero() {
		p.expires = c.ExpiresAt.UnixMilli()
	}
	p.sibling, e.creds = e.creds, r
	x.creds.insert(r, p.key(), x.proofKey)
}

// EndCredential ends one credential for good; its grant lives on.
func (x *Index) EndCredential(h Hash) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if _, c := x.credential(&h); c != nil {
		c.marks.Or(gone)
	}
}

// Check says what a credential is worth at this instant. It allocates nothing.
func (x *Index) Check(h Hash) (r Check) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	at, c := x.credential(&h)
	if c == nil {
		return r
	}
	e := x.entries.at(c.grant)
	r.State, r.in, r.at, r.hash = Live, x, at, h
	now := x.now()
	if at, reason, over := x.over(e, now); over {
		r.State, r.EndedAt, r.Reason = Ended, at, reason
		return r
	}
	switch {
	case c.marks.Load()&gone != 0:
		r.State, r.EndedAt, r.Reason = Ended, now, ReasonCredentialEnded
	case c.expires != 0 && now.UnixMilli() >= c.expires:
		r.State, r.EndedAt, r.Reason = Ended, time.UnixMilli(c.expires).UTC(), ReasonCredentialExpired
	case !e.started(now):
		r.State = NotYet
	}
	return r
}

// Grant returns a grant by its ID, also one that has ended not long ago.
func (x *Index) Grant(id string) (*Grant, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	r, e := x.entry(id)
	if e == nil || e.party == 0 { // the end of a grant never put
		return nil, false
	}
	return x.view(r), true
}

// LiveAt reports whether g, which came out of this index, gives access at now.
func (x *Index) LiveAt(g *Grant, now time.Time) bool {
	if g == nil || g.in != x {
		return false
	}
	live := false
	x.look(g.place, func(e *entry) {
		_, _, over := x.over(e, now)
		live = !over && e.started(now)
	})
	return live
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
