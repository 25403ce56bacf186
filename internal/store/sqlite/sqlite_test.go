package sqlite

import (
	"context"
	"testing"

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
