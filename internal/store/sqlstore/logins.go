package sqlstore

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// Kinds of logins.
const (
	BrowserLogin = "browser" // held as a cookie
	CLILogin     = "cli"     // held as a token
)

// Login is somebody who has logged in.
type Login struct {
	ID        string
	Hash      [32]byte // of the cookie or token
	Kind      string
	Principal string
	Issuer    string
	Subject   string
	Label     string // what the device says of itself
	IP        string // from where it was made
	CreatedAt time.Time
	SeenAt    time.Time // last written; it may have been used since
	ExpiresAt time.Time
}

// Identity is somebody as an identity provider knew them at their last login.
type Identity struct {
	Issuer     string
	Subject    string
	Principal  string
	Groups     map[string]time.Time // typed, and since when without a break
	Admin      bool
	LoggedInAt time.Time
	KnownUntil time.Time // what the provider said holds until then
}

// PutLogin keeps a new login.
func (t *Tx) PutLogin(l Login) error {
	_, err := t.write("keeping a login", func() (int64, error) {
		return t.q.InsertLogin(t.ctx, db.InsertLoginParams{
			ID: l.ID, Hash: l.Hash[:], Kind: l.Kind, Principal: l.Principal, Issuer: l.Issuer, Subject: l.Subject, Label: l.Label, Ip: l.IP,
			CreatedAt: millis(l.CreatedAt), SeenAt: millis(l.SeenAt), ExpiresAt: millis(l.ExpiresAt),
		})
	})
	return err
}

// Logins lists all logins, newest first.
func (t *Tx) Logins() ([]Login, error) {
	const act = "listing logins"
	rows, err := read(t, act, func() ([]db.Login, error) { return t.q.Logins(t.ctx) })
	if err != nil {
		return nil, err
	}
	out := make([]Login, len(rows))
	for i, row := range rows {
		hash, err := hash32(row.Hash)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", act, err)
		}
		out[i] = Login{
			ID: row.ID, Hash: hash, Kind: row.Kind, Principal: row.Principal, Issuer: row.Issuer, Subject: row.Subject, Label: row.Label, IP: row.Ip,
			CreatedAt: instant(row.CreatedAt), SeenAt: instant(row.SeenAt), ExpiresAt: instant(row.ExpiresAt),
		}
	}
	return out, nil
}

// SeenLogin writes down when a login was last used; of one that is gone,
// nothing.
func (t *Tx) SeenLogin(id string, at time.Time) error {
	_, err := t.write("writing down the use of a login", func() (int64, error) { return t.q.SeenLogin(t.ctx, millis(at), id) })
	return err
}

// DeleteLogin forgets a login; ErrNotFound when there is none.
func (t *Tx) DeleteLogin(id string) error {
	const act = "forgetting a login"
	n, err := t.write(act, func() (int64, error) { return t.q.DeleteLogin(t.ctx, id) })
	return one(act, n, err, ErrNotFound)
}

// PutIdentity keeps what a provider says of somebody, in place of what it said
// before.
func (t *Tx) PutIdentity(i Identity) error {
	const act = "keeping an identity"
	groups := map[string]int64{}
	for g, since := range i.Groups {
		groups[g] = millis(since)
	}
	raw, err := json.Marshal(groups)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	admin := int64(0)
	if i.Admin {
		admin = 1
	}
	_, err = t.write(act, func() (int64, error) {
		return t.q.PutIdentity(t.ctx, db.PutIdentityParams{
			Issuer: i.Issuer, Subject: i.Subject, Principal: i.Principal, MemberOf: string(raw), Admin: admin,
			LoggedInAt: millis(i.LoggedInAt), KnownUntil: millis(i.KnownUntil),
		})
	})
	return err
}

// Identities lists everybody who ever logged in through a provider.
func (t *Tx) Identities() ([]Identity, error) {
	const act = "listing identities"
	rows, err := read(t, act, func() ([]db.Identity, error) { return t.q.Identities(t.ctx) })
	if err != nil {
		return nil, err
	}
	out := make([]Identity, len(rows))
	for i, row := range rows {
		var groups map[string]int64
		if err := json.Unmarshal([]byte(row.MemberOf), &groups); err != nil {
			return nil, fmt.Errorf("%s: %w", act, err)
		}
		out[i] = Identity{
			Issuer: row.Issuer, Subject: row.Subject, Principal: row.Principal, Groups: map[string]time.Time{}, Admin: row.Admin == 1,
			LoggedInAt: instant(row.LoggedInAt), KnownUntil: instant(row.KnownUntil),
		}
		for g, since := range groups {
			out[i].Groups[g] = instant(since)
		}
	}
	return out, nil
}
