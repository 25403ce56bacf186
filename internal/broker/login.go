package broker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Arrival is somebody for whom an identity provider has vouched, in a browser.
type Arrival struct {
	Issuer, Subject string
	// Provision is who somebody becomes whom the catalog does not know; "": they
	// are not let in.
	Provision string
	Groups    []string // typed, as the configuration maps the provider's
	Label, IP string   // of the browser
	Replaces  string   // the cookie that it holds already: that login ends
	admin     bool     // of the one who sets a new server up
}

// LoggedIn is a new login. Its secret is shown this once.
type LoggedIn struct {
	Secret string
	api.Login
}

const (
	loginsKept = 50  // of one principal; the oldest ends
	groupsKept = 500 // of one login: more is refused as a whole
	labelKept  = 120 // bytes
)

// LogIn lets somebody in: a new login with a new secret, whatever the browser
// held before. What the provider says of their groups holds from here on; a
// group that it no longer names is lost at once, and what rested on it ends in
// the same commit.
func (b *Broker) LogIn(ctx context.Context, a Arrival) (LoggedIn, error) {
	secret, hash := credential.NewToken(credential.LoginCookie)
	c := identity.System("login")
	c.IP, c.Channel = a.IP, "console"
	var made sqlstore.Login
	err := b.alone(ctx, c, sqlstore.Normal, func(u *unit) error {
		principal, why := u.arrived(a)
		if why != "" {
			refusal := &Error{Kind: Forbidden, Code: "not_known", Message: "You are not let in here. If you should be, an admin must add you: the record says who you are."}
			if !b.notKnown.room(u.now) {
				kind, _, _ := strings.Cut(why, ":")
				b.recorder.countFailed(a.IP, c.Channel, "login: "+kind)
				return refusal
			}
			return u.refuse(entry(audit.AuthFailed, "", map[string]any{"why": why, "issuer": a.Issuer, "subject": clip(a.Subject)}), "", refusal)
		}
		groups, err := u.learn(a, principal)
		if err != nil {
			return err
		}
		made = sqlstore.Login{
			ID: credential.NewID("lgn"), Hash: hash, Kind: sqlstore.BrowserLogin, Principal: principal, Issuer: a.Issuer, Subject: a.Subject, Label: clipLabel(a.Label), IP: a.IP,
			CreatedAt: u.now, SeenAt: u.now, ExpiresAt: u.now.Add(b.cfg.Logins.absolute(a.admin)),
		}
		if err := u.replace(a.Replaces, made); err != nil {
			return err
		}
		return u.keepLogin(made, map[string]any{"groups": groups})
	})
	if err != nil {
		return LoggedIn{}, err
	}
	return LoggedIn{Secret: secret.Reveal(), Login: b.shownLogin(&heldLogin{Login: made}, identity.Caller{})}, nil
}

func (l Logins) absolute(setup bool) time.Duration {
	if setup {
		return setupLogin
	}
	return l.Absolute
}

// arrived finds out who somebody is here, or why they are nobody.
func (u *unit) arrived(a Arrival) (principal, why string) {
	base, who := u.state.base, policy.Subject{Issuer: a.Issuer, Subject: a.Subject}
	if !u.b.cfg.Logins.knows(a.Issuer) || a.Subject == "" {
		return "", "the issuer is not configured"
	}
	if len(a.Groups) > groupsKept {
		return "", "the provider names too many groups"
	}
	if principal, linked := base.SubjectOf(who); linked {
		if !enabled(base, principal) {
			return "", "the principal is disabled"
		}
		return principal, ""
	}
	for _, i := range u.state.people.all {
		if i.Issuer == a.Issuer && i.Subject == a.Subject {
			// Once given, a name stays: whatever the provider calls them today.
			if a.Provision != "" {
				a.Provision = i.Principal
			}
		} else if i.Principal == a.Provision && a.Provision != "" {
			return "", "the name is already that of somebody else: " + i.Principal
		}
	}
	switch _, taken := base.Principal(a.Provision); {
	case a.Provision == "":
		return "", "no principal of the catalog has this identity"
	case !policy.ValidUser(a.Provision):
		return "", "the name that the provider gives cannot be a principal's"
	case taken:
		return "", "the catalog has a principal of this name, without this identity"
	}
	return a.Provision, ""
}

// learn writes down what the provider says, and puts it in force.
func (u *unit) learn(a Arrival, principal string) (groups []string, err error) {
	now := sqlstore.Identity{
		Issuer: a.Issuer, Subject: a.Subject, Principal: principal, Groups: map[string]time.Time{}, Admin: a.admin,
		LoggedInAt: u.now, KnownUntil: u.now.Add(max(u.b.cfg.Logins.Remember, u.b.cfg.Logins.Absolute)),
	}
	if a.admin {
		now.KnownUntil = u.now.Add(setupLogin)
	}
	all := slices.Clone(u.state.people.all)
	at := slices.IndexFunc(all, func(i sqlstore.Identity) bool { return i.Issuer == a.Issuer && i.Subject == a.Subject })
	before := sqlstore.Identity{}
	if at >= 0 {
		before = all[at]
	}
	groups = []string{}
	for _, g := range a.Groups {
		if !policy.ValidGroup(g) {
			continue
		}
		now.Groups[g] = u.now
		if since, had := before.Groups[g]; had && u.now.Before(before.KnownUntil) {
			now.Groups[g] = since
		}
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	slices.Sort(groups)
	if at >= 0 {
		all[at] = now
	} else {
		all = append(all, now)
	}
	if err := u.tx.PutIdentity(now); err != nil {
		return nil, err
	}
	next := *u.state
	next.settle(all, u.b.cfg.Logins, u.now)
	u.state = &next
	u.tx.AfterCommit(func() { u.b.state.Store(&next) })
	return groups, u.endUncovered(principal)
}

// replace ends the login that the browser held, and the oldest where there are
// too many.
func (u *unit) replace(cookie string, by sqlstore.Login) error {
	if hash, err := credential.ParseToken(credential.LoginCookie, cookie); err == nil {
		if old := u.b.logins.find(hash); old != nil {
			if err := u.dropLogin(old.Login, "replaced by "+by.ID); err != nil && !isNotFound(err) {
				return err
			}
		}
	}
	return u.roomFor(by)
}

func (u *unit) roomFor(by sqlstore.Login) error {
	for i, l := range u.b.logins.list(by.Principal) {
		if i+1 < loginsKept {
			continue
		}
		if err := u.dropLogin(l.Login, "too many: "+by.ID+" came"); err != nil && !isNotFound(err) {
			return err
		}
	}
	return nil
}

// keepLogin writes a new login down. The principal is the actor: the provider,
// or the login in a browser, has proven them.
func (u *unit) keepLogin(l sqlstore.Login, more map[string]any) error {
	if err := u.tx.PutLogin(l); err != nil {
		return err
	}
	more["login"], more["kind"], more["issuer"], more["subject"] = l.ID, l.Kind, l.Issuer, l.Subject
	more["expires_at"], more["label"] = stamp(l.ExpiresAt), l.Label
	e := entry(audit.AuthSucceeded, "", more)
	e.Actor, e.Outcome = l.Principal, audit.Allowed
	u.tx.AfterCommit(func() { u.b.logins.put(l) })
	return u.append(e, l.Principal)
}

// LogInCLI gives a command line a login of its own, for the person whose
// browser asks. It ends when the browser's does at the latest: nobody stays
// logged in for longer than the provider vouched for them.
func (b *Broker) LogInCLI(ctx context.Context, c identity.Caller, label, ip string) (LoggedIn, error) {
	secret, hash := credential.NewToken(credential.LoginToken)
	var made sqlstore.Login
	// Alone: a logout that is being committed is not in the index yet.
	err := b.alone(ctx, c, sqlstore.Normal, func(u *unit) error {
		from := b.logins.byID(c.Login)
		if from == nil || from.Kind != sqlstore.BrowserLogin || !b.live(from, u.now) {
			return notLoggedIn()
		}
		made = sqlstore.Login{
			ID: credential.NewID("lgn"), Hash: hash, Kind: sqlstore.CLILogin, Principal: from.Principal, Issuer: from.Issuer, Subject: from.Subject,
			Label: clipLabel(label), IP: ip, CreatedAt: u.now, SeenAt: u.now, ExpiresAt: from.ExpiresAt,
		}
		if err := u.roomFor(made); err != nil {
			return err
		}
		return u.keepLogin(made, map[string]any{"by": from.ID, "from": ip})
	})
	if err != nil {
		return LoggedIn{}, err
	}
	return LoggedIn{Secret: secret.Reveal(), Login: b.shownLogin(&heldLogin{Login: made}, identity.Caller{})}, nil
}

// EndLogin logs out: one's own login, or any as an admin. "current" is the one
// of the call itself.
func (b *Broker) EndLogin(ctx context.Context, c identity.Caller, id string) error {
	if id == "current" {
		id = c.Login
	}
	l := b.logins.byID(id)
	if l == nil || l.Principal != c.Principal && !b.who(c).admin() {
		return notFound("The login")
	}
	return b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
		if l.Principal != c.Principal && !u.who().admin() {
			return notFound("The login")
		}
		err := u.dropLogin(l.Login, "logged out")
		if isNotFound(err) {
			return notFound("The login")
		}
		return err
	})
}

// EndLogins logs somebody out everywhere: oneself, or as an admin anybody.
func (b *Broker) EndLogins(ctx context.Context, c identity.Caller, principal string) (api.LoginsEnded, error) {
	if principal == "" {
		principal = c.Principal
	}
	var out api.LoginsEnded
	err := b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
		out = api.LoginsEnded{}
		if principal != c.Principal && !u.who().admin() {
			return u.forbid("logging out "+clip(principal), "You log yourself out; an admin logs out anybody.")
		}
		for _, l := range b.logins.list(principal) {
			switch err := u.dropLogin(l.Login, "logged out everywhere"); {
			case isNotFound(err):
			case err != nil:
				return err
			default:
				out.Ended++
			}
		}
		return nil
	})
	return out, err
}

// revokeLogin logs out the command line that holds a token.
func (b *Broker) revokeLogin(ctx context.Context, c identity.Caller, hash [32]byte) error {
	l := b.logins.find(hash)
	if l == nil {
		return nil
	}
	if c.Principal == "" {
		c.Principal = l.Principal // nobody but the token itself says who this is
	}
	return b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
		if err := u.dropLogin(l.Login, "its token was revoked"); !isNotFound(err) {
			return err
		}
		return nil
	})
}

func isNotFound(err error) bool { return errors.Is(err, sqlstore.ErrNotFound) }

func clipLabel(s string) string {
	out := []rune{}
	for _, r := range s {
		if r < ' ' || r == 0x7f || len(string(out)) >= labelKept {
			continue
		}
		out = append(out, r)
	}
	return string(out)
}
