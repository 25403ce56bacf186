package sqlite

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/store/sqlstore"
	"github.com/daypass/daypass/internal/store/storetest"
)

// mustOpen opens a store that is closed at the end of the test.
func mustOpen(t testing.TB, dir string, opts sqlstore.Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// Invariant: A12, A20, A23, A30, A33
func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, opts sqlstore.Options) (sqlstore.Store, func() sqlstore.Store) {
		dir := t.TempDir()
		s := mustOpen(t, dir, opts)
		return s, func() sqlstore.Store {
			t.Helper()
			if err := s.Close(); err != nil {
				t.Fatalf("closing the store: %v", err)
			}
			s = mustOpen(t, dir, opts)
			return s
		}
	})
}

// keys sign the heads of the logs of all tests.
type keys struct{ skey, vkey string }

var newKeys = sync.OnceValues(func() (keys, error) {
	skey, vkey, err := audit.NewSigner("log.example", rand.Reader)
	return keys{skey, vkey}, err
})

func testKeys(t testing.TB) keys {
	t.Helper()
	k, err := newKeys()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// options sign with the key.
func (k keys) options() sqlstore.Options {
	signer, err := audit.ParseSigner(k.skey)
	return sqlstore.Options{SignHead: func(h audit.Head, root [32]byte, now time.Time) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		return audit.SignCheckpoint("log.example", h, root, signer, now)
	}}
}

func entry(id string) sqlstore.Record {
	return sqlstore.Record{Entry: &audit.Entry{
		ID: "evt_" + id, Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Type: audit.RequestCreated,
		Actor: "user:ana", Outcome: audit.Allowed, Source: audit.Source{Channel: "api"},
	}}
}
