package live

import (
	"encoding/json"
	"time"
)

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

	in    *Index
	place place
	until int64 // the end when the view was made
}

// place is where a grant was once. The grant may have been forgotten since, and
// another be there.
type place struct {
	name name
	at   ref
}

// look calls f with the grant in this place, and reports whether it is there
// still.
func (x *Index) look(p place, f func(*entry)) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e := x.in(p)
	if e == nil {
		return false
	}
	f(e)
	return true
}

// in returns the grant in this place, nil when it has been forgotten.
func (x *Index) in(p place) *entry {
	if e := x.entries.get(p.at); e != nil && e.name == p.name {
		return e
	}
	return nil
}

// ExpiresAt returns the end of the grant as it is now: extensions move it. It
// is zero for a Grant that did not come out of an Index.
func (g *Grant) ExpiresAt() time.Time {
	if g.in == nil {
		return time.Time{}
	}
	end := g.until
	g.in.look(g.place, func(e *entry) { end = e.end() })
	return time.UnixMilli(end).UTC()
}

// Used reports whether MarkUsed was called for a grant that came out of an
// Index, since this process started.
func (g *Grant) Used() (used bool) {
	if g.in != nil {
		g.in.look(g.place, func(e *entry) { used = e.asked.Load() })
	}
	return used
}

// MarkUsed notes that the first use of g without a credential is on record.
func (g *Grant) MarkUsed() {
	if g.in != nil {
		g.in.look(g.place, func(e *entry) { e.asked.Store(true) })
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

	in *Index
	at ref
}

// Used reports whether MarkUsed was called for a credential that came out of
// an Index, since this process started.
func (c *Credential) Used() (is bool) {
	c.look(func(r *credential) { is = r.marks.Load()&used != 0 })
	return is
}

// MarkUsed notes that the first use of c is on record.
func (c *Credential) MarkUsed() { c.look(func(r *credential) { r.marks.Or(used) }) }

func (c *Credential) look(f func(*credential)) {
	if c.in != nil {
		c.in.lookAt(c.at, &c.Hash, f)
	}
}

// lookAt calls f with the credential of this hash, which was in this place,
// unless it has been forgotten.
func (x *Index) lookAt(at ref, h *Hash, f func(*credential)) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if c := x.proofs.get(at); c != nil && c.hash == *h {
		f(c)
	}
}

// id is the whole ID of a grant.
func (x *Index) id(e *entry) string { return e.name.id(grantPrefix, x.terms.at(e.terms).id) }

// view is the Grant that is in a place now.
func (x *Index) view(r ref) *Grant {
	e := x.entries.at(r)
	g := &Grant{ID: x.id(e), in: x, place: place{e.name, r}, until: e.end()}
	if e.party == 0 { // only the end is known
		return g
	}
	p, t := x.parties.at(e.party), x.terms.at(e.terms)
	g.Request = e.request.id(requestPrefix, t.request)
	g.Principal, g.OnBehalfOf = p.principal, p.onBehalfOf
	g.Resource, g.Incarnation, g.Kind = t.resource, t.incarnation, t.kind
	g.Scope, g.StartsAt = t.scope, time.UnixMilli(e.starts).UTC()
	return g
}

// credentialView is the Credential that c is.
func (x *Index) credentialView(at ref, c *credential) *Credential {
	f := x.forms.at(c.form)
	v := &Credential{
		Hash: c.hash, ID: c.name.id(f.prefix, f.id), Grant: x.id(x.entries.at(c.grant)), Kind: f.kind, Host: f.host,
		IssuedAt: time.UnixMilli(c.issued).UTC(), in: x, at: at,
	}
	if c.expires != 0 {
		v.ExpiresAt = time.UnixMilli(c.expires).UTC()
	}
	return v
}
