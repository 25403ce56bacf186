package broker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Logins say how people log in.
type Logins struct {
	Issuers    []string      // whose word is taken
	Idle       time.Duration // a browser that is not used for so long is logged out
	Absolute   time.Duration // a login ends after so long, however much it is used
	Remember   time.Duration // what a provider said of somebody holds so long after their login
	TokenTTL   time.Duration // the longest life of an API token that is made in a login
	Provisions []string      // issuers that may bring people whom the catalog does not know
}

// knows reports whether the word of an issuer is taken.
func (l Logins) knows(issuer string) bool {
	return issuer == setupIssuer || slices.Contains(l.Issuers, issuer)
}

// provisions reports whether an issuer may bring people whom the catalog does
// not know.
func (l Logins) provisions(issuer string) bool {
	return issuer == setupIssuer || slices.Contains(l.Provisions, issuer)
}

func (l Logins) tokenTTL() time.Duration {
	if l.TokenTTL <= 0 {
		return maxTokenTTL
	}
	return l.TokenTTL
}

// loginIndex finds a login by the hash of its cookie or token, without SQL.
type loginIndex struct {
	mu  sync.RWMutex
	all map[[32]byte]*heldLogin
}

type heldLogin struct {
	sqlstore.Login
	seen    atomic.Int64 // when it was last used, in milliseconds
	written atomic.Int64 // what the store has of it
}

func (i *loginIndex) load(all []sqlstore.Login) {
	i.mu.Lock()
	i.all = make(map[[32]byte]*heldLogin, len(all))
	i.mu.Unlock()
	for _, l := range all {
		i.put(l)
	}
}

func (i *loginIndex) put(l sqlstore.Login) {
	held := &heldLogin{Login: l}
	held.seen.Store(l.SeenAt.UnixMilli())
	held.written.Store(l.SeenAt.UnixMilli())
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all[l.Hash] = held
}

func (i *loginIndex) drop(hash [32]byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.all, hash)
}

func (i *loginIndex) find(hash [32]byte) *heldLogin {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.all[hash]
}

func (i *loginIndex) byID(id string) *heldLogin {
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, l := range i.all {
		if l.ID == id {
			return l
		}
	}
	return nil
}

// list returns the logins of one principal, or with "" all, newest first.
func (i *loginIndex) list(principal string) []*heldLogin {
	i.mu.RLock()
	defer i.mu.RUnlock()
	var out []*heldLogin
	for _, l := range i.all {
		if principal == "" || l.Principal == principal {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b *heldLogin) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		if a.ID < b.ID {
			return 1
		}
		return -1
	})
	return out
}

// endsAt is when a login ends if it is not used again. A command line has no
// idle end: it is used now and then, and its token lies in a file of one user.
func (l *heldLogin) endsAt(idle time.Duration) time.Time {
	if l.Kind != sqlstore.BrowserLogin || idle <= 0 {
		return l.ExpiresAt
	}
	if end := time.UnixMilli(l.seen.Load()).UTC().Add(idle); end.Before(l.ExpiresAt) {
		return end
	}
	return l.ExpiresAt
}

// live reports whether a login is good at an instant, and its person still
// somebody.
func (b *Broker) live(l *heldLogin, now time.Time) bool {
	st := b.state.Load()
	if due := st.people.lapses; !due.IsZero() && !now.Before(due) {
		// Somebody is known no longer, and that is not written down yet.
		still := *st
		still.settle(st.people.all, b.cfg.Logins, now)
		st = &still
	}
	return now.Before(l.endsAt(b.cfg.Logins.Idle)) && st.stands(&l.Login) != ""
}

// AuthenticateCookie says whose browser this is. Failures are counted per
// source and minute.
func (b *Broker) AuthenticateCookie(cookie, ip, channel string) (identity.Caller, error) {
	return b.authenticateLogin(credential.LoginCookie, cookie, ip, channel)
}

func (b *Broker) authenticateLogin(prefix, secret, ip, channel string) (identity.Caller, error) {
	hash, err := credential.ParseToken(prefix, secret)
	if err != nil {
		b.recorder.countFailed(ip, channel, "malformed login")
		return identity.Caller{}, notLoggedIn()
	}
	now := b.now()
	l := b.logins.find(hash)
	if l == nil || !b.live(l, now) {
		b.recorder.countFailed(ip, channel, "login that has ended, or none")
		return identity.Caller{}, notLoggedIn()
	}
	for was := l.seen.Load(); was < now.UnixMilli(); was = l.seen.Load() {
		if l.seen.CompareAndSwap(was, now.UnixMilli()) {
			break
		}
	}
	return identity.Caller{Principal: l.Principal, Login: l.ID, IP: ip, Channel: channel}, nil
}

func notLoggedIn() error {
	return &Error{Kind: Unauthorized, Code: "unauthorized", Message: "Your login has ended, or is not one: log in again."}
}

// loginHolds reports whether the caller's login is still good. To wait for
// something is not to use it.
func (b *Broker) loginHolds(c identity.Caller) bool {
	l := b.logins.byID(c.Login)
	return l != nil && b.live(l, b.now())
}

func (b *Broker) shownLogin(l *heldLogin, c identity.Caller) api.Login {
	return api.Login{
		ID: l.ID, Principal: l.Principal, Kind: l.Kind, Label: l.Label, IP: l.IP, Issuer: l.Issuer, CreatedAt: api.TimeOf(l.CreatedAt),
		SeenAt: api.TimeOf(time.UnixMilli(l.seen.Load()).UTC()), ExpiresAt: api.TimeOf(l.ExpiresAt), Current: l.ID == c.Login,
	}
}

// shownMeans says by what a caller has shown who they are, and when it ends.
func (b *Broker) shownMeans(c identity.Caller) (login *api.Login, ends *api.Time) {
	if l := b.logins.byID(c.Login); l != nil {
		shown := b.shownLogin(l, c)
		return &shown, &shown.ExpiresAt
	}
	b.tokens.mu.RLock()
	defer b.tokens.mu.RUnlock()
	for _, t := range b.tokens.made {
		if t.ID == c.Token {
			at := api.TimeOf(t.ExpiresAt)
			return nil, &at
		}
	}
	return nil, nil
}

// Logins lists the caller's logins that are good, everybody's for an admin.
func (b *Broker) Logins(_ context.Context, c identity.Caller) ([]api.Login, error) {
	whose := c.Principal
	if b.who(c).admin() {
		whose = ""
	}
	out := []api.Login{}
	now := b.now()
	for _, l := range b.logins.list(whose) {
		if b.live(l, now) {
			out = append(out, b.shownLogin(l, c))
		}
	}
	return out, nil
}

// seenEvery is how often the use of a login is written down. A restart may make
// an idle browser end that much earlier, never later.
const seenEvery = time.Minute

// writeSeen writes down which logins were used.
func (b *Broker) writeSeen(ctx context.Context) error {
	type use struct {
		l  *heldLogin
		at int64
	}
	var used []use
	for _, l := range b.logins.list("") {
		if at := l.seen.Load(); l.Kind == sqlstore.BrowserLogin && at-l.written.Load() >= seenEvery.Milliseconds() {
			used = append(used, use{l, at})
		}
	}
	if len(used) == 0 {
		return nil
	}
	return b.cfg.Store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error {
		for _, one := range used {
			if err := tx.SeenLogin(one.l.ID, time.UnixMilli(one.at)); err != nil {
				return err
			}
			tx.AfterCommit(func() { one.l.written.Store(one.at) })
		}
		return nil
	})
}

// pruneLogins forgets logins that have ended by themselves.
func (b *Broker) pruneLogins(ctx context.Context) error {
	var over []*heldLogin
	for _, l := range b.logins.list("") {
		if !b.now().Before(l.endsAt(b.cfg.Logins.Idle)) {
			over = append(over, l)
		}
	}
	if len(over) == 0 {
		return nil
	}
	return b.do(ctx, systemWorker, sqlstore.Normal, func(u *unit) error {
		for _, l := range over {
			if err := u.tx.DeleteLogin(l.ID); err != nil && !isNotFound(err) {
				return err
			}
			u.tx.AfterCommit(func() { b.logins.drop(l.Hash) })
		}
		return nil
	})
}

// dropRestoredLogins forgets the logins of a backup: any of them may have ended
// in what was lost.
func (u *unit) dropRestoredLogins() error {
	all, err := u.tx.Logins()
	if err != nil {
		return err
	}
	for _, l := range all {
		if u.b.logins.find(l.Hash) != nil {
			continue // made since the restore
		}
		if err := u.dropLogin(l, "the store was restored from a backup"); err != nil {
			return err
		}
	}
	return nil
}

// unlearnRestored forgets what a backup knows of people: groups may have been
// lost in what was lost.
func (u *unit) unlearnRestored() error {
	since := map[policy.Subject]bool{}
	for _, l := range u.b.logins.list("") {
		since[policy.Subject{Issuer: l.Issuer, Subject: l.Subject}] = true
	}
	known, err := u.unlearn(u.state.people.all, func(i sqlstore.Identity) bool {
		return !since[policy.Subject{Issuer: i.Issuer, Subject: i.Subject}]
	})
	if err != nil {
		return err
	}
	next := *u.state
	next.settle(known, u.b.cfg.Logins, u.now)
	u.state = &next
	u.tx.AfterCommit(func() { u.b.state.Store(&next) })
	return nil
}
