package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Issuing says whether anything is approved and issued.
func (b *Broker) Issuing(context.Context, identity.Caller) (api.Issuing, error) {
	return api.Issuing{Enabled: b.issuing.Load()}, nil
}

// SetIssuing switches approvals and credentials off or on. Ends go on.
func (b *Broker) SetIssuing(ctx context.Context, c identity.Caller, enabled bool) (api.Issuing, error) {
	if !b.who(c).admin() {
		return api.Issuing{}, b.forbid(ctx, c, "switching issuing", "Only admins switch issuing off and on.")
	}
	class := sqlstore.Ends // switching off must work on a full disk
	if enabled {
		class = sqlstore.Normal
	}
	err := b.alone(ctx, c, class, func(u *unit) error {
		if !u.who().admin() {
			return u.forbid("switching issuing", "Only admins switch issuing off and on.")
		}
		if b.issuing.Load() == enabled {
			return nil
		}
		value := "off"
		if enabled {
			value = "on"
		}
		if err := u.tx.PutSetting(settingIssuing, value); err != nil {
			return fmt.Errorf("switching issuing %s: %w", value, err)
		}
		failpoint.Hit("broker.issuing.before")
		u.tx.AfterCommit(func() { b.issuing.Store(enabled) })
		e := entry(audit.IssuingChanged, "", map[string]any{"enabled": enabled})
		e.Outcome = audit.Allowed
		return u.append(e, "")
	})
	return api.Issuing{Enabled: b.issuing.Load()}, err
}

// RotateKeys makes new signing keys; what the old ones signed stays good to
// its end. The intent is on record before the keys change.
func (b *Broker) RotateKeys(ctx context.Context, c identity.Caller) (api.Keys, error) {
	if !b.who(c).admin() {
		return api.Keys{}, b.forbid(ctx, c, "rotating keys", "Only admins rotate the signing keys.")
	}
	err := b.do(ctx, c, sqlstore.Normal, func(u *unit) error {
		if !u.who().admin() {
			return u.forbid("rotating keys", "Only admins rotate the signing keys.")
		}
		e := entry(audit.KeysRotated, "", map[string]any{"keys": "jwt"})
		e.Outcome = audit.Allowed
		return u.append(e, "")
	})
	if err != nil {
		return api.Keys{}, err
	}
	failpoint.Hit("broker.rotate.recorded")
	if _, err := b.cfg.Keys.Rotate(b.now()); err != nil {
		return api.Keys{}, fmt.Errorf("rotating the signing keys: %w", err)
	}
	out := api.Keys{Kids: []string{}}
	for _, k := range b.cfg.Keys.Keys(b.now()) {
		out.Kids = append(out.Kids, k.KID)
	}
	return out, nil
}

// JWKS returns the public keys that verify Daypass's JWTs.
func (b *Broker) JWKS() ([]byte, error) { return b.cfg.Keys.JWKS(b.now()) }

// Sessions lists the live connections that the caller may see, and to those who
// may watch also what each does.
func (b *Broker) Sessions(ctx context.Context, c identity.Caller) ([]api.Session, error) {
	out := []api.Session{}
	if b.sessions == nil {
		return out, nil
	}
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		w := b.who(c).in(tx)
		for _, s := range b.sessions.Sessions() {
			r, err := tx.Request(s.Request)
			if err != nil || !w.sees(r) {
				continue
			}
			if !w.watches(r) {
				s.Doing = ""
			}
			out = append(out, s)
		}
		return nil
	})
	return out, err
}

// Session shows one live connection with its last statements, to those who may
// watch; to all others there is none.
func (b *Broker) Session(ctx context.Context, c identity.Caller, id string) (api.Session, error) {
	var out api.Session
	if b.sessions == nil {
		return out, notFound("The session")
	}
	return out, b.view(ctx, func(tx *sqlstore.Tx) error {
		s, ok := b.sessions.Watch(id)
		if !ok {
			return notFound("The session")
		}
		r, err := tx.Request(s.Request)
		if errors.Is(err, sqlstore.ErrNotFound) || err == nil && !b.who(c).in(tx).watches(r) {
			return notFound("The session")
		}
		out = s
		return err
	})
}

// KillSession ends one live connection; its grant goes on. Who may revoke the
// grant may end its sessions.
func (b *Broker) KillSession(ctx context.Context, c identity.Caller, id string) error {
	sessions, err := b.Sessions(ctx, c)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if s.ID != id {
			continue
		}
		err := b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
			r, err := u.tx.Request(s.Request)
			if err != nil {
				return err
			}
			if !u.who().mayRevoke(r) {
				return u.deny(audit.AccessDenied, r, &Error{Kind: Forbidden, Code: "forbidden", Message: "Only those who may revoke the grant end its sessions."})
			}
			e := entry(audit.SessionKilled, "", map[string]any{"principal": s.Principal})
			e.Request, e.Grant, e.Session, e.Resource, e.Outcome = r.ID, s.Grant, s.ID, s.Resource, audit.Allowed
			return u.append(e, s.Principal)
		})
		if err != nil {
			return err
		}
		failpoint.Hit("broker.kill.recorded")
		b.sessions.Kill(id)
		return nil
	}
	return notFound("The session")
}

// ProtectionOff records that a protection was turned off by a named setting.
func (b *Broker) ProtectionOff(ctx context.Context, what string) error {
	return b.do(ctx, systemConfig, sqlstore.Normal, func(u *unit) error {
		e := entry(audit.ProtectionOff, systemConfig.Principal, map[string]any{"what": what})
		e.Outcome = audit.Allowed
		return u.append(e, "")
	})
}

// Figures are what /metrics tells of the state.
func (b *Broker) Figures(ctx context.Context) (pending, liveGrants, ending int, head int64, storeOK bool) {
	liveGrants, _ = b.cfg.Index.Len()
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		h, _, err := tx.Head()
		if err != nil {
			return err
		}
		head = h.Seq
		if pending, _, err = tx.CountPending("", ""); err != nil {
			return err
		}
		ending, err = tx.CountRequests(sqlstore.RequestFilter{GrantStates: []access.GrantState{access.Ending}})
		return err
	})
	return pending, liveGrants, ending, head, err == nil && b.broken.Load() == nil
}
