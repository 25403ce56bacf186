package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Attack: CFG-09
func TestRefusesWhatOthersCanRead(t *testing.T) {
	fresh := t.TempDir()
	if err := os.Chmod(fresh, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), fresh, sqlstore.Options{})
	if err != nil {
		t.Fatalf("a folder made by mkdir: %v", err)
	}
	if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error { return tx.PutSetting("a", "b") }); err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, name := range []string{"", dataFile, dataFile + "-wal", dataFile + "-shm", reserveFile, lockFile} {
		info, err := os.Stat(filepath.Join(fresh, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q was made with mode %v", name, info.Mode())
		}
		files++
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		mode os.FileMode
		want bool // opens
	}{
		{"", 0o750, false}, {"", 0o701, false}, {"", 0o770, false}, {"", 0o700, true},
		{dataFile, 0o640, false}, {dataFile, 0o604, false}, {dataFile, 0o620, false}, {dataFile, 0o600, true},
		{reserveFile, 0o644, false}, {reserveFile, 0o600, true},
	} {
		if err := os.Chmod(filepath.Join(fresh, c.name), c.mode); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), fresh, sqlstore.Options{})
		if (err == nil) != c.want {
			t.Errorf("%q with mode %04o: %v", c.name, c.mode, err)
		}
		if err == nil {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		} else if !strings.Contains(err.Error(), "chmod") {
			t.Errorf("%q with mode %04o: %v does not say what to do", c.name, c.mode, err)
		}
	}

	open := t.TempDir()
	if err := os.Chmod(open, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), open, sqlstore.Options{}); err == nil {
		t.Error("a folder that everybody writes to was taken")
	}
}

// Attack: CFG-08
func TestRefusesANewerSchema(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, sqlstore.Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, dir, "INSERT INTO schema_version (version_id, is_applied) VALUES (9999, 1)")
	if _, err := Open(t.Context(), dir, sqlstore.Options{}); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("opening: %v", err)
	}
	if _, err := OpenReadOnly(t.Context(), dir); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("opening read-only: %v", err)
	}
	raw(t, dir, "DELETE FROM schema_version WHERE version_id = 9999")
	mustOpen(t, dir, sqlstore.Options{})
}

// raw runs a statement behind the store's back.
func raw(t testing.TB, dir, statement string, args ...any) {
	t.Helper()
	db, err := openReader(dsn(filepath.Join(dir, dataFile), "mode=rw"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}

// Invariant: A35
func TestOneServerPerFolder(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, sqlstore.Options{})
	if _, err := Open(t.Context(), dir, sqlstore.Options{}); !errors.Is(err, ErrInUse) {
		t.Fatalf("a second server: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, sqlstore.Options{})
}

// The file name goes through a URL, so its odd characters must survive.
func TestOddFolderName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b#c?d=%41&_pragma=synchronous(0);ü")
	s := mustOpen(t, dir, sqlstore.Options{})
	if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error { return tx.PutSetting("a", "b") }); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(dir, dataFile)) {
		t.Error("the database is somewhere else")
	}
}

// Invariant: A20
func TestRefusesWeakDurability(t *testing.T) {
	for _, c := range []struct{ pragmas, want string }{
		{"_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)", "synchronous"},
		{"_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(0)", "foreign_keys"},
		{"_pragma=journal_mode(MEMORY)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)", "journal_mode"},
		{pragmasWrite, ""},
	} {
		db, err := openReader(dsn(filepath.Join(t.TempDir(), dataFile), c.pragmas))
		if err != nil {
			t.Fatal(err)
		}
		err = check(t.Context(), db)
		if (err == nil) != (c.want == "") || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", c.pragmas, err, c.want)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Invariant: A31
func TestReadOnlyBesideAServer(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, testKeys(t).options())
	count := func() int64 {
		t.Helper()
		ro, err := OpenReadOnly(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defer ro.Close()
		report, err := ro.VerifyAudit(t.Context(), audit.VerifierOptions{Keys: []string{testKeys(t).vkey}})
		if err != nil {
			t.Fatal(err)
		}
		if err := ro.Update(t.Context(), sqlstore.Ends, func(tx *sqlstore.Tx) error { return tx.PutSetting("a", "b") }); !errors.Is(err, sqlstore.ErrReadOnly) {
			t.Fatalf("it writes: %v", err)
		}
		return report.Head.Seq
	}
	for i := range int64(5) {
		if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error { return tx.Append(entry(fmt.Sprint(i))) }); err != nil {
			t.Fatal(err)
		}
		if got := count(); got != i+1 {
			t.Errorf("beside the server: %d entries, want %d", got, i+1)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != 5 {
		t.Errorf("afterwards: %d entries, want 5", got)
	}
	if _, err := OpenReadOnly(t.Context(), t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
}

// The streaming reader for offline verification gives the same as VerifyAudit.
func TestAuditRows(t *testing.T) {
	s := mustOpen(t, t.TempDir(), testKeys(t).options())
	n := 0
	for range 30 {
		if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error {
			var batch []sqlstore.Record
			for range 50 {
				n++
				batch = append(batch, entry(fmt.Sprint(n)))
			}
			return tx.AppendBatch(batch)
		}); err != nil {
			t.Fatal(err)
		}
	}
	v, err := audit.NewVerifier(audit.VerifierOptions{Hashes: s.StoredHashes(t.Context())})
	if err != nil {
		t.Fatal(err)
	}
	err = s.AuditRows(t.Context(), 1, func(seq int64, leaf audit.Leaf, hash [32]byte, bytes []byte) error {
		return v.Add(audit.Row{Seq: seq, Leaf: leaf, LeafHash: hash, Bytes: bytes})
	})
	if err != nil {
		t.Fatal(err)
	}
	report, err := v.Finish()
	if err != nil || report.Head != (audit.Head{Seq: 1500, Leaves: 30}) {
		t.Fatalf("%+v, %v", report, err)
	}
	seen := 0
	stop := errors.New("enough")
	err = s.AuditRows(t.Context(), 1490, func(seq int64, _ audit.Leaf, _ [32]byte, _ []byte) error {
		seen++
		if seq == 1495 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || seen != 6 {
		t.Errorf("from 1490 to 1495: %d rows, %v", seen, err)
	}
}

// Invariant: A30, A31
func TestVerifyNamesTheChangedEntry(t *testing.T) {
	for _, c := range []struct {
		name, statement string
		seq             int64
	}{
		{"a byte", "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), 'user:ana', 'user:eve') AS BLOB) WHERE seq = 4", 4},
		{"an entry removed", "DELETE FROM entries WHERE seq = 3", 3},
		{"the tail removed", "DELETE FROM entries WHERE seq = 6", 6},
		{"a stored hash", "UPDATE hashes SET hash = zeroblob(32) WHERE idx = 3", 3},
		{"the head", "UPDATE head SET seq = 7", 7},
		{"two swapped", "UPDATE entries SET bytes = (SELECT bytes FROM entries AS e WHERE e.seq = 7 - entries.seq) WHERE seq IN (2, 5)", 2},
	} {
		dir := t.TempDir()
		s := mustOpen(t, dir, testKeys(t).options())
		for i := range 6 {
			if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error { return tx.Append(entry(fmt.Sprint(i))) }); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.VerifyAudit(t.Context(), audit.VerifierOptions{Keys: []string{testKeys(t).vkey}}); err != nil {
			t.Fatalf("before: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		raw(t, dir, c.statement)
		ro, err := OpenReadOnly(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ro.VerifyAudit(t.Context(), audit.VerifierOptions{Keys: []string{testKeys(t).vkey}})
		fault, ok := errors.AsType[*audit.Fault](err)
		if !ok || fault.Seq != c.seq {
			t.Errorf("%s: %v, want a fault at entry %d", c.name, err, c.seq)
		}
		if err := ro.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A log that does not end where its head says is not written on.
func TestRefusesALogWithoutItsEnd(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, testKeys(t).options())
	for i := range 3 {
		if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error { return tx.Append(entry(fmt.Sprint(i))) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, dir, "DELETE FROM entries WHERE seq = 3")
	if s, err := Open(context.Background(), dir, sqlstore.Options{}); err == nil {
		_ = s.Close()
		t.Fatal("it was opened")
	} else if !strings.Contains(err.Error(), "3 entries") {
		t.Errorf("the error does not say what is missing: %v", err)
	}
}
