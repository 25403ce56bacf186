package broker

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// The first admin of a new server. Nobody has a token, nobody can log in: who
// reads the server's own output may come in once, and put a catalog in force.

const (
	setupIssuer  = "urn:daypass:setup"
	setupUser    = "user:setup"
	setupFor     = 10 * time.Minute // how long the link is good
	setupLogin   = time.Hour        // how long who used it is an admin
	settingSetup = "setup_link"
)

// setupLink is what the store keeps of the link.
type setupLink struct {
	Hash    string   `json:"hash"`
	Expires api.Time `json:"expires_at"`
}

// SetupLink makes the one link by which a new server is set up, in place of an
// earlier one; "" where there is another way in.
func (b *Broker) SetupLink(ctx context.Context) (secret string, expires time.Time, err error) {
	token, hash := credential.NewToken(credential.SetupLink)
	given := false
	err = b.alone(ctx, identity.System("setup"), sqlstore.Normal, func(u *unit) error {
		given = false
		if b.wayIn(u.state, u.now) || b.quarantine.Load() != nil {
			return u.tx.PutSetting(settingSetup, "")
		}
		expires = u.now.Add(setupFor)
		raw, err := json.Marshal(setupLink{Hash: hash.String(), Expires: api.TimeOf(expires)})
		if err != nil {
			return fmt.Errorf("writing the setup link down: %w", err)
		}
		given = true
		e := entry(audit.SetupOffered, "", map[string]any{"expires_at": stamp(expires)})
		e.Outcome = audit.Allowed
		if err := u.append(e, ""); err != nil {
			return err
		}
		return u.tx.PutSetting(settingSetup, string(raw))
	})
	if err != nil || !given {
		return "", time.Time{}, err
	}
	return token.Reveal(), expires, nil
}

// wayIn reports whether anybody could come in: with a token, or by a login.
func (b *Broker) wayIn(st *state, now time.Time) bool {
	if len(b.cfg.Logins.Provisions) > 0 {
		return true
	}
	for _, p := range st.base.Principals() {
		if p.Disabled {
			continue
		}
		if p.TokenSHA256 != "" {
			return true
		}
		for _, s := range p.OIDC {
			if b.cfg.Logins.knows(s.Issuer) {
				return true
			}
		}
	}
	b.tokens.mu.RLock()
	defer b.tokens.mu.RUnlock()
	for _, t := range b.tokens.made {
		if now.Before(t.ExpiresAt) && enabled(st.catalog, t.Principal) {
			return true
		}
	}
	return false
}

// SetUp lets in who has the link: as an admin, for an hour, once.
func (b *Broker) SetUp(ctx context.Context, link, label, ip string) (LoggedIn, error) {
	hash, err := credential.ParseToken(credential.SetupLink, link)
	if err != nil {
		b.recorder.countFailed(ip, "console", "malformed setup link")
		return LoggedIn{}, badLink()
	}
	err = b.alone(ctx, identity.Caller{Principal: "system:setup", IP: ip, Channel: "console"}, sqlstore.Normal, func(u *unit) error {
		raw, err := u.tx.Setting(settingSetup)
		if err != nil {
			return err
		}
		var kept setupLink
		if raw == "" || json.Unmarshal([]byte(raw), &kept) != nil || kept.Hash != hex.EncodeToString(hash[:]) || !u.now.Before(kept.Expires.Time) || b.wayIn(u.state, u.now) {
			return badLink()
		}
		return u.tx.PutSetting(settingSetup, "")
	})
	if err != nil {
		b.recorder.countFailed(ip, "console", "setup link that is not, or no longer, good")
		return LoggedIn{}, err
	}
	return b.LogIn(ctx, Arrival{Issuer: setupIssuer, Subject: "first-admin", Provision: setupUser, Label: label, IP: ip, admin: true})
}

func badLink() error {
	return &Error{Kind: Forbidden, Code: "bad_link", Message: "This link is used, too old, or not one. Restart the server for a new one."}
}
