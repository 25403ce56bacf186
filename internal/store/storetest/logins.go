package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/daypass/daypass/internal/store/sqlstore"
)

func (s *suite) logins() {
	s.begin()
	login := func(n byte, kind string) sqlstore.Login {
		return sqlstore.Login{
			ID: fmt.Sprint("lgn_", n), Hash: [32]byte{n}, Kind: kind, Principal: "user:ana", Issuer: "https://id.example", Subject: "00u1", Label: "laptop", IP: "192.0.2.1",
			CreatedAt: at(time.Duration(n) * time.Second), SeenAt: at(time.Duration(n) * time.Second), ExpiresAt: at(time.Hour),
		}
	}
	one, two := login(1, sqlstore.BrowserLogin), login(2, sqlstore.CLILogin)
	s.must(s.update(func(tx *sqlstore.Tx) error { return errors.Join(tx.PutLogin(one), tx.PutLogin(two)) }))
	if err := s.update(func(tx *sqlstore.Tx) error { return tx.PutLogin(one) }); err == nil {
		s.Error("one login was stored twice")
	}
	two.SeenAt = at(time.Minute)
	s.must(s.update(func(tx *sqlstore.Tx) error {
		return errors.Join(tx.SeenLogin(two.ID, two.SeenAt), tx.SeenLogin("lgn_none", two.SeenAt))
	}))
	s.restart()
	s.sameLogins(two, one)
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.DeleteLogin(one.ID) }))
	s.want(s.update(func(tx *sqlstore.Tx) error { return tx.DeleteLogin(one.ID) }), sqlstore.ErrNotFound)
	s.sameLogins(two)
}

func (s *suite) sameLogins(want ...sqlstore.Login) {
	s.Helper()
	s.view(func(tx *sqlstore.Tx) error {
		got, err := tx.Logins()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			return fmt.Errorf("logins: %w (-want +got):\n%s", err, diff)
		}
		return nil
	})
}

func (s *suite) identities() {
	s.begin()
	ana := sqlstore.Identity{
		Issuer: "https://id.example", Subject: "00u1", Principal: "user:ana", Groups: map[string]time.Time{"group:dba": at(0)},
		LoggedInAt: at(time.Second), KnownUntil: at(time.Hour),
	}
	bo := sqlstore.Identity{Issuer: "https://id.example", Subject: "00u2", Principal: "user:bo", Groups: map[string]time.Time{}, Admin: true, LoggedInAt: at(0), KnownUntil: at(0)}
	s.must(s.update(func(tx *sqlstore.Tx) error { return errors.Join(tx.PutIdentity(bo), tx.PutIdentity(ana)) }))
	ana.Groups, ana.KnownUntil = map[string]time.Time{"group:dba": at(0), "group:dev": at(time.Minute)}, at(2*time.Hour)
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutIdentity(ana) }))
	s.restart()
	s.view(func(tx *sqlstore.Tx) error {
		got, err := tx.Identities()
		if diff := cmp.Diff([]sqlstore.Identity{ana, bo}, got); diff != "" || err != nil {
			return fmt.Errorf("identities: %w (-want +got):\n%s", err, diff)
		}
		return nil
	})
}
