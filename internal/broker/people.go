package broker

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// This file is who people are beside what the catalog says of them: what an
// identity provider said at their last login. It holds for a while (Remember),
// and only of providers that are configured. What has run out counts no more
// from that instant on; the grants that rested on it end in the same commit in
// which that is noticed.

// people are what logins have made known.
type people struct {
	all []sqlstore.Identity // as the store has them
	// joined are the groups that a principal has by logins, and since when.
	joined map[string]map[string]time.Time
	holds  map[policy.Subject]string // whom an identity stands for now
	lapses time.Time                 // when the first of them runs out; zero: never
}

// settle works out the catalog in force from the base and from what logins say.
func (st *state) settle(all []sqlstore.Identity, l Logins, now time.Time) {
	p := people{all: all, joined: map[string]map[string]time.Time{}, holds: map[policy.Subject]string{}}
	known := map[string]*policy.Known{}
	for _, i := range all {
		who := policy.Subject{Issuer: i.Issuer, Subject: i.Subject}
		principal, linked := st.base.SubjectOf(who)
		if !linked {
			// A name that the catalog now uses is the catalog's, not theirs; and
			// where newcomers are let in no longer, there are none.
			if _, taken := st.base.Principal(i.Principal); taken || !l.provisions(i.Issuer) {
				continue
			}
			principal = i.Principal
		}
		if !l.knows(i.Issuer) || !now.Before(i.KnownUntil) {
			continue
		}
		if p.lapses.IsZero() || i.KnownUntil.Before(p.lapses) {
			p.lapses = i.KnownUntil
		}
		p.holds[who] = principal
		k := known[principal]
		if k == nil {
			k = &policy.Known{ID: principal}
			known[principal] = k
		}
		k.Admin = k.Admin || i.Admin && !linked
		for g, since := range i.Groups {
			if p.joined[principal] == nil {
				p.joined[principal] = map[string]time.Time{}
			}
			if have, ok := p.joined[principal][g]; !ok || since.Before(have) {
				p.joined[principal][g] = since
			}
			k.Groups = append(k.Groups, g)
		}
	}
	list := make([]policy.Known, 0, len(known))
	for _, k := range known {
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b policy.Known) int { return strings.Compare(a.ID, b.ID) })
	st.people, st.catalog = p, st.base.With(list)
}

// loadPeople reads what logins have made known.
func (b *Broker) loadPeople(tx *sqlstore.Tx, st *state) error {
	all, err := tx.Identities()
	if err != nil {
		return err
	}
	// As it was at the last commit: what has run out since is noticed, with
	// what follows from it, before anything is decided.
	mark, err := tx.ClockMark()
	if err != nil {
		return err
	}
	st.settle(all, b.cfg.Logins, mark.At)
	return nil
}

// stands returns whom a login stands for now; "" for nobody.
func (st *state) stands(l *sqlstore.Login) string {
	who := policy.Subject{Issuer: l.Issuer, Subject: l.Subject}
	if principal := st.people.holds[who]; principal != l.Principal || !enabled(st.catalog, principal) {
		return ""
	}
	return l.Principal
}

// forget lets time act on what logins have made known: what has run out is
// forgotten before anything else is decided.
func (b *Broker) forget(ctx context.Context) error {
	if due := b.state.Load().people.lapses; due.IsZero() || b.now().Before(due) {
		return nil
	}
	b.gate.Lock()
	defer b.gate.Unlock()
	return b.update(ctx, identity.System("login"), sqlstore.Ends, func(u *unit) error {
		if due := u.state.people.lapses; due.IsZero() || u.now.Before(due) {
			return nil // somebody else was faster
		}
		next := *u.state
		next.settle(u.state.people.all, u.b.cfg.Logins, u.now)
		lost := []string{}
		for who, principal := range u.state.people.holds {
			if _, still := next.people.holds[who]; !still && !slices.Contains(lost, principal) {
				lost = append(lost, principal)
			}
		}
		slices.Sort(lost)
		u.state = &next
		for _, principal := range lost {
			if err := u.endUncovered(principal); err != nil {
				return err
			}
		}
		if err := u.endGoneLogins(); err != nil {
			return err
		}
		u.tx.AfterCommit(func() { b.state.Store(&next) })
		return nil
	})
}

// unlearn forgets what logins made known of some, until they log in again.
func (u *unit) unlearn(all []sqlstore.Identity, whom func(sqlstore.Identity) bool) ([]sqlstore.Identity, error) {
	out := slices.Clone(all)
	for n, i := range out {
		if !u.now.Before(i.KnownUntil) || !whom(i) {
			continue
		}
		// Before whatever the clock's mark is after a restart.
		out[n].KnownUntil = i.LoggedInAt
		if err := u.tx.PutIdentity(out[n]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// displaced are names that newcomers had and that a catalog now uses, for
// somebody else as far as anybody can tell: it does not link them. Nothing that
// the newcomers had is theirs.
func displaced(before, next *state) map[string]bool {
	out := map[string]bool{}
	for _, i := range before.people.all {
		_, was := before.base.Principal(i.Principal)
		_, is := next.base.Principal(i.Principal)
		if to, linked := next.base.SubjectOf(policy.Subject{Issuer: i.Issuer, Subject: i.Subject}); is && !was && !(linked && to == i.Principal) {
			out[i.Principal] = true
		}
	}
	return out
}

// relinked reports whether a catalog changes whom an identity stands for, other
// than by listing a newcomer.
func relinked(before, next *state, i sqlstore.Identity) bool {
	who := policy.Subject{Issuer: i.Issuer, Subject: i.Subject}
	was, linked := before.base.SubjectOf(who)
	is, still := next.base.SubjectOf(who)
	return linked && (!still || is != was) || !linked && still && is != i.Principal
}

// disown ends, at a start, what rests on the word of providers that are not in
// the configuration any more, or bring no newcomers.
func (b *Broker) disown(ctx context.Context) error {
	st := b.state.Load()
	disowned := func(i sqlstore.Identity) bool {
		_, linked := st.base.SubjectOf(policy.Subject{Issuer: i.Issuer, Subject: i.Subject})
		return !b.cfg.Logins.knows(i.Issuer) || !linked && !b.cfg.Logins.provisions(i.Issuer)
	}
	if b.quarantine.Load() != nil || !slices.ContainsFunc(st.people.all, disowned) {
		return nil
	}
	return b.alone(ctx, identity.System("login"), sqlstore.Ends, func(u *unit) error {
		if err := u.endUncovered(""); err != nil {
			return err
		}
		return u.endGoneLogins()
	})
}

// endGoneLogins ends the logins that stand for nobody any more: whoever comes
// back logs in anew.
func (u *unit) endGoneLogins() error {
	all, err := u.tx.Logins()
	if err != nil {
		return err
	}
	for _, l := range all {
		if u.state.stands(&l) != "" {
			continue
		}
		if err := u.dropLogin(l, "the person was removed or disabled, or is not known any more"); err != nil {
			return err
		}
	}
	return nil
}

// dropLogin ends one login.
func (u *unit) dropLogin(l sqlstore.Login, why string) error {
	if err := u.tx.DeleteLogin(l.ID); err != nil {
		return err
	}
	e := entry(audit.AuthEnded, "", map[string]any{"login": l.ID, "kind": l.Kind, "for": l.Principal, "why": why})
	e.Outcome = audit.Allowed
	u.tx.AfterCommit(func() { u.b.logins.drop(l.Hash) })
	return u.append(e, l.Principal)
}
