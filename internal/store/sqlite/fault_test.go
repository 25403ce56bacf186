package sqlite

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// openWith opens a store with another judgement of errors.
func openWith(t *testing.T, opts sqlstore.Options, judge func(error) sqlstore.Fault) *sqlstore.DB {
	t.Helper()
	file := filepath.Join(t.TempDir(), dataFile)
	writer, err := openReader(dsn(file, pragmasWrite))
	if err != nil {
		t.Fatal(err)
	}
	writer.SetMaxOpenConns(1)
	if err := migrate(t.Context(), writer); err != nil {
		t.Fatal(err)
	}
	conn, err := writer.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := openReader(dsn(file, pragmasRead))
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqlstore.New(t.Context(), sqlstore.Dialect{Write: conn, WriteDB: writer, Begin: "BEGIN IMMEDIATE", Read: reader, Fault: judge}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A refused row stands for an I/O error: whether or not the update passes the
// error on, the store is at its end, for its whole group and all who come.
//
// Invariant: A20
func TestAFatalErrorEndsTheStore(t *testing.T) {
	for _, passOn := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var failed atomic.Int64
			s := openWith(t, sqlstore.Options{Failed: func(error) { failed.Add(1) }}, func(err error) sqlstore.Fault {
				if strings.Contains(err.Error(), "CHECK constraint") {
					return sqlstore.Fatal
				}
				return sqlstore.Ordinary
			})
			release := make(chan struct{})
			before, answers := make(chan error, 1), make(chan error, 3)
			go func() {
				before <- s.Update(t.Context(), sqlstore.Ends, func(*sqlstore.Tx) error { <-release; return nil })
			}()
			synctest.Wait()
			update := func(fn func(*sqlstore.Tx) error) {
				go func() { answers <- s.Update(t.Context(), sqlstore.Ends, fn) }()
				synctest.Wait()
			}
			update(func(tx *sqlstore.Tx) error { return tx.PutSetting("a", "1") })
			update(func(tx *sqlstore.Tx) error {
				err := tx.PutRequest(&access.Request{ID: "req_1", State: "no such state"})
				if !passOn {
					err = nil
				}
				if again := tx.PutSetting("b", "1"); again == nil {
					t.Error("the transaction goes on after the fault")
				}
				return err
			})
			update(func(tx *sqlstore.Tx) error { return tx.PutSetting("c", "1") })
			close(release)
			if err := <-before; err != nil {
				t.Errorf("the commit before: %v", err)
			}
			for range 3 {
				if err := <-answers; !errors.Is(err, sqlstore.ErrFailed) || !strings.Contains(err.Error(), "CHECK") {
					t.Errorf("of the group: %v", err)
				}
			}
			if err := s.Update(t.Context(), sqlstore.Ends, func(*sqlstore.Tx) error { t.Error("it was run"); return nil }); !errors.Is(err, sqlstore.ErrFailed) {
				t.Errorf("an update afterwards: %v", err)
			}
			if err := s.View(t.Context(), func(*sqlstore.Tx) error { t.Error("it was run"); return nil }); !errors.Is(err, sqlstore.ErrFailed) {
				t.Errorf("a view afterwards: %v", err)
			}
			synctest.Wait()
			if failed.Load() != 1 {
				t.Errorf("Failed was called %d times", failed.Load())
			}
		})
	}
}

// Invariant: A31
func TestADamagedFileEndsTheStore(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, sqlstore.Options{})
	if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error {
		return tx.PutSetting("long", strings.Repeat("MARK", 20_000))
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, dataFile)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for at := 0; at+4096 <= len(b); at += 4096 {
		if page := b[at : at+4096]; bytes.Count(page, []byte("MARK")) > 1000 {
			copy(page, "\xff\xff\xff\xff") // where the next page of the chain is
			damaged++
		}
	}
	if damaged < 10 {
		t.Fatalf("only %d pages hold the text", damaged)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 2)
	s = mustOpen(t, dir, sqlstore.Options{Failed: func(err error) { failed <- err }})
	err = s.View(t.Context(), func(tx *sqlstore.Tx) error {
		_, err := tx.Setting("long")
		return err
	})
	if !errors.Is(err, sqlstore.ErrFailed) {
		t.Fatalf("reading a damaged file: %v", err)
	}
	if err := s.Update(t.Context(), sqlstore.Ends, func(tx *sqlstore.Tx) error { return nil }); !errors.Is(err, sqlstore.ErrFailed) {
		t.Errorf("then: %v", err)
	}
	<-failed
}
