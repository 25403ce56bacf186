package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// texts: an erased text is gone with its salt, and the log is as whole as before.
func (s *suite) texts() {
	s.begin()
	salt := [16]byte{1, 2, 3}
	digest := audit.NewText(salt, "my mother is ill").Digest
	other := audit.NewText(salt, "another").Digest
	s.must(s.update(func(tx *sqlstore.Tx) error {
		r := record("1")
		r.Entry.Reason.Digest = digest
		return errors.Join(
			tx.PutText(digest, salt, "my mother is ill", "user:ana"),
			tx.PutText(digest, salt, "my mother is ill", "user:ana"), // the same text may be referred to twice
			tx.PutText(other, salt, "another", "user:bo"),
			tx.Append(r, record("2")))
	}))
	look := func(want string, wantSalt [16]byte) {
		s.Helper()
		s.view(func(tx *sqlstore.Tx) error {
			e, err := tx.Event("evt_1")
			if err != nil {
				return err
			}
			text, salt, err := tx.SaltedText(digest)
			if err != nil {
				return err
			}
			if e.Reason != want || e.Salt != wantSalt || text != want || salt != wantSalt {
				return fmt.Errorf("got %q with %x and %q with %x, want %q with %x", e.Reason, e.Salt, text, salt, want, wantSalt)
			}
			return nil
		})
	}
	look("my mother is ill", salt)
	s.must(s.update(func(tx *sqlstore.Tx) error {
		if n, err := tx.EraseTextsOf("user:ana"); err != nil || n != 1 {
			return fmt.Errorf("erased %d texts: %w", n, err)
		}
		return nil
	}))
	look("", [16]byte{})
	s.view(func(tx *sqlstore.Tx) error {
		if got, err := tx.Text(other); err != nil || got != "another" {
			return fmt.Errorf("somebody else's text is %q: %w", got, err)
		}
		return nil
	})
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.EraseText(other) }))
	s.view(func(tx *sqlstore.Tx) error {
		for _, d := range []string{other, "sha256:unknown", ""} {
			if got, err := tx.Text(d); err != nil || got != "" {
				return fmt.Errorf("the text of %q is %q: %w", d, got, err)
			}
		}
		e, err := tx.Event("evt_2")
		if err == nil && e.Reason != "" {
			err = fmt.Errorf("an entry without a reason has %q", e.Reason)
		}
		return err
	})
}

func (s *suite) credentials() {
	s.begin()
	credential := func(n byte, grant string) sqlstore.Credential {
		return sqlstore.Credential{
			Hash: [32]byte{n}, ID: fmt.Sprint("jti", n), Grant: grant, Request: "req_" + grant, Kind: "token", Host: "h",
			IssuedAt: at(time.Duration(n) * time.Second), ExpiresAt: at(time.Hour),
		}
	}
	list := func(grant string) (got []sqlstore.Credential) {
		s.Helper()
		s.view(func(tx *sqlstore.Tx) (err error) {
			got, err = tx.Credentials(grant)
			return err
		})
		return got
	}
	live, ended := granted(request("req_1", start), "grt_1"), granted(request("req_2", start), "grt_2")
	ended.Grant.State = access.Ended
	one, two, three := credential(1, "grt_1"), credential(2, "grt_1"), credential(3, "grt_2")
	s.must(s.update(func(tx *sqlstore.Tx) error {
		return errors.Join(tx.PutRequest(live), tx.PutRequest(ended), tx.PutCredential(two), tx.PutCredential(one), tx.PutCredential(three))
	}))
	if diff := cmp.Diff([]sqlstore.Credential{one, two}, list("")); diff != "" {
		s.Errorf("of live grants (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]sqlstore.Credential{three}, list("grt_2")); diff != "" {
		s.Errorf("of grt_2 (-want +got):\n%s", diff)
	}
	if err := s.update(func(tx *sqlstore.Tx) error { return tx.PutCredential(credential(4, "grt_none")) }); err == nil {
		s.Error("a credential of no grant was stored")
	}
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.DeleteCredential(two.Hash) }))
	s.want(s.update(func(tx *sqlstore.Tx) error { return tx.DeleteCredential(two.Hash) }), sqlstore.ErrNotFound)
	s.restart()
	if diff := cmp.Diff([]sqlstore.Credential{one}, list("grt_1")); diff != "" {
		s.Errorf("of grt_1 (-want +got):\n%s", diff)
	}
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.DeleteCredentials("grt_1") }))
	if got := list(""); len(got) != 0 {
		s.Errorf("left: %v", got)
	}
}

func (s *suite) tokens() {
	s.begin()
	token := func(n byte, of string) sqlstore.Token {
		return sqlstore.Token{ID: fmt.Sprint("tok_", n), Hash: [32]byte{n}, Principal: of, Name: "laptop", CreatedBy: "user:ana", CreatedAt: at(time.Duration(n) * time.Second), ExpiresAt: at(time.Hour)}
	}
	one, two, three := token(1, "user:ana"), token(2, "service:ci"), token(3, "user:ana")
	three.ExpiresAt = time.Time{}
	s.must(s.update(func(tx *sqlstore.Tx) error {
		return errors.Join(tx.PutToken(one), tx.PutToken(two), tx.PutToken(three))
	}))
	s.view(func(tx *sqlstore.Tx) error {
		for of, want := range map[string][]sqlstore.Token{"": {three, two, one}, "user:ana": {three, one}, "user:nobody": {}} {
			got, err := tx.Tokens(of)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
				return fmt.Errorf("tokens of %q: %w (-want +got):\n%s", of, err, diff)
			}
		}
		got, err := tx.Token("tok_3")
		if diff := cmp.Diff(&three, got); diff != "" || err != nil {
			return fmt.Errorf("tok_3: %w (-want +got):\n%s", err, diff)
		}
		return nil
	})
	if err := s.update(func(tx *sqlstore.Tx) error { return tx.PutToken(one) }); err == nil {
		s.Error("one token was stored twice")
	}
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.DeleteToken("tok_1") }))
	s.want(s.update(func(tx *sqlstore.Tx) error { return tx.DeleteToken("tok_1") }), sqlstore.ErrNotFound)
	s.view(func(tx *sqlstore.Tx) error {
		_, err := tx.Token("tok_1")
		s.want(err, sqlstore.ErrNotFound)
		return nil
	})
}

// jobTokens checks that tokens of jobs are forgotten after their end, and
// others never, and that what was used is used.
func (s *suite) jobTokens() {
	s.begin()
	token := func(n byte, ends time.Duration, workload string) sqlstore.Token {
		return sqlstore.Token{ID: fmt.Sprint("tok_", n), Hash: [32]byte{n}, Principal: "service:ci", CreatedAt: at(time.Duration(n) * time.Second), ExpiresAt: at(ends), Workload: workload}
	}
	of, over, made := token(1, time.Hour, `{"issuer":"i"}`), token(2, time.Minute, `{"issuer":"i"}`), token(3, time.Minute, "")
	use := func(n byte, ends time.Duration, want bool) {
		s.Helper()
		s.must(s.update(func(tx *sqlstore.Tx) error {
			first, err := tx.PutAssertion([32]byte{n}, at(ends))
			if err == nil && first != want {
				err = fmt.Errorf("assertion %d: first is %t", n, first)
			}
			return err
		}))
	}
	s.must(s.update(func(tx *sqlstore.Tx) error { return errors.Join(tx.PutToken(of), tx.PutToken(over), tx.PutToken(made)) }))
	use(1, time.Hour, true)
	use(2, time.Minute, true)
	use(1, 2*time.Hour, false)
	s.must(s.update(func(tx *sqlstore.Tx) error {
		return errors.Join(tx.PruneTokens(at(time.Minute)), tx.PruneAssertions(at(time.Minute))) // not at its end yet
	}))
	use(2, time.Minute, false)
	s.must(s.update(func(tx *sqlstore.Tx) error {
		return errors.Join(tx.PruneTokens(at(time.Minute+time.Millisecond)), tx.PruneAssertions(at(time.Minute+time.Millisecond)))
	}))
	use(1, time.Hour, false)
	use(2, time.Minute, true)
	s.view(func(tx *sqlstore.Tx) error {
		got, err := tx.Tokens("")
		if diff := cmp.Diff([]sqlstore.Token{made, of}, got); diff != "" || err != nil {
			return fmt.Errorf("left: %w (-want +got):\n%s", err, diff)
		}
		return nil
	})
}

func (s *suite) catalogs() {
	s.begin()
	s.view(func(tx *sqlstore.Tx) error {
		_, err := tx.Catalog()
		s.want(err, sqlstore.ErrNotFound)
		_, err = tx.CatalogVersion("sha256:1")
		s.want(err, sqlstore.ErrNotFound)
		return nil
	})
	one := sqlstore.Catalog{Version: "sha256:1", Canonical: []byte("{}"), Source: []byte("# one\x00\xff"), Incarnations: map[string]string{"orders": "i1"}, AppliedAt: start, AppliedBy: "system:config"}
	two := sqlstore.Catalog{Version: "sha256:2", Canonical: []byte("[]"), Source: []byte{}, Incarnations: map[string]string{}, AppliedAt: at(time.Second), AppliedBy: "user:ana"}
	back := one
	back.AppliedAt, back.Incarnations = at(2*time.Second), map[string]string{"orders": "i2"}
	for _, c := range []sqlstore.Catalog{one, two, back} {
		s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutCatalog(c) }))
	}
	s.restart()
	s.view(func(tx *sqlstore.Tx) error {
		got, err := tx.Catalog()
		if diff := cmp.Diff(&back, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			return fmt.Errorf("in force: %w (-want +got):\n%s", err, diff)
		}
		for version, want := range map[string]*sqlstore.Catalog{"sha256:1": &back, "sha256:2": &two} {
			got, err := tx.CatalogVersion(version)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
				return fmt.Errorf("%s: %w (-want +got):\n%s", version, err, diff)
			}
		}
		return nil
	})
}

func (s *suite) settingsAndReplies() {
	s.begin()
	first := sqlstore.Reply{BodyHash: [32]byte{1}, Status: 201, Location: "/v1/requests/req_1", Body: []byte(`{"id":"req_1"}`), At: start}
	second := sqlstore.Reply{BodyHash: [32]byte{2}, Status: 204, Body: []byte{}, At: at(time.Hour)}
	s.must(s.update(func(tx *sqlstore.Tx) error {
		return errors.Join(
			tx.PutSetting("issuing", "off"), tx.PutSetting("issuing", "on"), tx.PutSetting("empty", ""),
			tx.PutReply("user:ana", "POST /v1/requests", "k", second), tx.PutReply("user:ana", "POST /v1/requests", "k", first),
			tx.PutReply("user:bo", "POST /v1/requests", "k", second))
	}))
	s.restart()
	look := func(tx *sqlstore.Tx, who string, want *sqlstore.Reply) error {
		got, err := tx.Reply(who, "POST /v1/requests", "k")
		if want == nil {
			s.want(err, sqlstore.ErrNotFound)
			return nil
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			return fmt.Errorf("reply of %s: %w (-want +got):\n%s", who, err, diff)
		}
		return nil
	}
	s.view(func(tx *sqlstore.Tx) error {
		for name, want := range map[string]string{"issuing": "on", "empty": "", "unknown": ""} {
			if got, err := tx.Setting(name); err != nil || got != want {
				return fmt.Errorf("%s is %q, want %q: %w", name, got, want, err)
			}
		}
		return errors.Join(look(tx, "user:ana", &first), look(tx, "user:bo", &second), look(tx, "user:cy", nil))
	})
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.DeleteReplies(at(time.Hour)) }))
	s.view(func(tx *sqlstore.Tx) error {
		return errors.Join(look(tx, "user:ana", nil), look(tx, "user:bo", &second))
	})
}

// clockMark: every commit carries the mark, and no commit takes it back.
func (s *suite) clockMark() {
	s.begin()
	get := func() (m clock.Mark) {
		s.Helper()
		s.view(func(tx *sqlstore.Tx) (err error) {
			m, err = tx.ClockMark()
			return err
		})
		return m
	}
	if got := get(); got != (clock.Mark{}) {
		s.Fatalf("a new store has the mark %+v", got)
	}
	n := 0
	commit := func(m clock.Mark) {
		s.Helper()
		s.mu.Lock()
		s.mark = m
		s.mu.Unlock()
		n++
		s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutSetting("n", fmt.Sprint(n)) }))
	}
	high := clock.Mark{At: at(time.Hour + 123*time.Microsecond), Boot: "b2", Up: 5 * time.Minute}
	commit(clock.Mark{At: start, Boot: "b1", Up: time.Minute})
	commit(high)
	commit(clock.Mark{At: at(time.Minute), Boot: "b3", Up: time.Second})
	s.restart()
	if got := get(); got != high {
		s.Errorf("the mark is %+v, want the highest, %+v", got, high)
	}
	far := clock.Mark{At: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), Boot: "b4"}
	commit(far)
	if got := get(); got != far {
		s.Errorf("the mark is %+v, want %+v", got, far)
	}
}
