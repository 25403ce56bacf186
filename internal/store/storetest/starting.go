package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// starting: what a start reads row by row is what the requests say, as they
// are after every kind of change, and what is forgotten is what has ended.
func (s *suite) starting() {
	s.begin()
	stored := func(n byte, grant string, expires time.Duration) sqlstore.Credential {
		return sqlstore.Credential{Hash: [32]byte{n}, ID: fmt.Sprint("jti", n), Grant: grant, Request: "req", Kind: "token", IssuedAt: at(time.Second), ExpiresAt: at(expires)}
	}
	waits, lives, ended, extension := request("req_1", start), granted(request("req_2", start), "grt_2"), granted(request("req_3", start), "grt_3"), request("req_4", start)
	extension.Content.Extends = "grt_2"
	s.must(s.update(func(tx *sqlstore.Tx) error {
		return errors.Join(tx.PutRequest(waits), tx.PutRequest(lives), tx.PutRequest(ended), tx.PutRequest(extension),
			tx.PutCredential(stored(2, "grt_2", time.Hour)), tx.PutCredential(stored(3, "grt_3", time.Hour)), tx.PutCredential(stored(4, "grt_3", 3*time.Hour)))
	}))
	lives.Grant.ExpiresAt = lives.Grant.ExpiresAt.Add(time.Hour)
	ended.Grant.State, ended.Grant.EndedAt = access.Ended, &ended.Grant.ExpiresAt
	s.must(s.update(func(tx *sqlstore.Tx) error { return errors.Join(tx.PutRequest(lives), tx.PutRequest(ended)) }))
	stale := *lives
	stale.Version--
	s.want(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(&stale) }), sqlstore.ErrConflict)

	read := func() (grants []string) {
		s.Helper()
		s.view(func(tx *sqlstore.Tx) error {
			return tx.EachActiveGrant(sqlstore.Whole, func(g *sqlstore.ActiveGrant) error {
				grants = append(grants, fmt.Sprintf("%s of %s by %s on %s (%s, %s) %s from %d to %d", g.Grant, g.Request, g.Requester, g.Resource, g.Incarnation, g.Kind, g.Scope,
					g.StartsAt.UnixMilli(), g.ExpiresAt.UnixMilli()))
				return nil
			})
		})
		return grants
	}
	c := lives.Content
	want := fmt.Sprintf("grt_2 of req_2 by %s on %s (%s, %s) %s from %d to %d", c.Requester, c.Resource, c.Incarnation, c.Kind, c.Scope, lives.Grant.StartsAt.UnixMilli(), lives.Grant.ExpiresAt.UnixMilli())
	if got := read(); !slices.Equal(got, []string{want}) {
		s.Errorf("active: %q, want %q", got, want)
	}
	waits = granted(waits, "grt_1") // from no grant to one
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(waits) }))
	if got := read(); len(got) != 2 {
		s.Errorf("active: %q", got)
	}
	s.kept("jti2 of grt_2", "jti3 of grt_3", "jti4 of grt_3")
	s.view(func(tx *sqlstore.Tx) error {
		waiting, err := tx.PendingExtensions("grt_2")
		if err == nil && (len(waiting) != 1 || waiting[0].ID != "req_4" || waiting[0].Version == 0) {
			err = fmt.Errorf("extensions: %v", waiting)
		}
		n, also := tx.CountCredentials("grt_3")
		if also == nil && n != 2 {
			also = fmt.Errorf("%d credentials", n)
		}
		return errors.Join(err, also)
	})
	for _, c := range []struct {
		before time.Duration
		pruned int
		left   []string
	}{
		{time.Hour, 0, []string{"jti2 of grt_2", "jti3 of grt_3", "jti4 of grt_3"}},
		{time.Hour + time.Millisecond, 1, []string{"jti2 of grt_2", "jti4 of grt_3"}}, // never one of a live grant
		{9 * time.Hour, 1, []string{"jti2 of grt_2"}},
	} {
		s.must(s.update(func(tx *sqlstore.Tx) error {
			n, err := tx.PruneCredentials(at(c.before), 5)
			if err == nil && n != c.pruned {
				err = fmt.Errorf("%d credentials were forgotten, want %d", n, c.pruned)
			}
			return err
		}))
		s.kept(c.left...)
	}
}

// halves checks that the two halves of what a start reads are the whole, and
// that neither is everything where IDs are as a server makes them.
func (s *suite) halves() {
	s.begin()
	const n = 64
	s.must(s.update(func(tx *sqlstore.Tx) error {
		for i := range byte(n) {
			grant := credential.NewID("grt")
			if err := errors.Join(tx.PutRequest(granted(request(credential.NewID("req"), start), grant)),
				tx.PutCredential(sqlstore.Credential{Hash: [32]byte{i}, ID: credential.NewID("cred"), Grant: grant, Request: "req", Kind: "token", IssuedAt: start, ExpiresAt: start})); err != nil {
				return err
			}
		}
		return tx.PutRequest(granted(request("req_odd", start), "grt_odd"))
	}))
	read := func(part sqlstore.Part) (grants, credentials map[string]bool) {
		grants, credentials = map[string]bool{}, map[string]bool{}
		s.view(func(tx *sqlstore.Tx) error {
			return errors.Join(
				tx.EachActiveGrant(part, func(g *sqlstore.ActiveGrant) error { grants[string(g.Grant)] = true; return nil }),
				tx.EachCredential(part, func(c *sqlstore.StoredCredential) error { credentials[string(c.ID)] = true; return nil }))
		})
		return grants, credentials
	}
	grants, credentials := read(sqlstore.Whole)
	oneGrants, oneCredentials := read(sqlstore.OneHalf)
	otherGrants, otherCredentials := read(sqlstore.OtherHalf)
	for _, c := range []struct{ whole, one, other map[string]bool }{{grants, oneGrants, otherGrants}, {credentials, oneCredentials, otherCredentials}} {
		if len(c.whole) < n || len(c.one) < n/8 || len(c.other) < n/8 || len(c.one)+len(c.other) != len(c.whole) {
			s.Errorf("%d and %d of %d", len(c.one), len(c.other), len(c.whole))
		}
		for id := range c.whole {
			if c.one[id] == c.other[id] {
				s.Errorf("%s is in both halves or in none", id)
			}
		}
	}
	s.view(func(tx *sqlstore.Tx) error {
		g, c, err := tx.CountLive()
		if err == nil && (g != len(grants) || c != len(credentials)) {
			err = fmt.Errorf("counted %d grants and %d credentials", g, c)
		}
		return err
	})
}

// kept compares the credentials that are stored.
func (s *suite) kept(want ...string) {
	s.Helper()
	var got []string
	s.view(func(tx *sqlstore.Tx) error {
		return tx.EachCredential(sqlstore.Whole, func(c *sqlstore.StoredCredential) error {
			if len(c.Host) != 0 || string(c.Kind) != "token" || !c.IssuedAt.Equal(at(time.Second)) {
				return fmt.Errorf("%s: %q %q %v", c.ID, c.Kind, c.Host, c.IssuedAt)
			}
			got = append(got, fmt.Sprintf("%s of %s", c.ID, c.Grant))
			return nil
		})
	})
	slices.Sort(got)
	if !slices.Equal(got, want) {
		s.Errorf("credentials %q, want %q", got, want)
	}
}
