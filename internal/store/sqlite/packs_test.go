package sqlite

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// packs writes batches of entries of high rate, with an entry of its own before
// and behind each.
func packs(t *testing.T, s *Store, batches int) {
	t.Helper()
	for i := range batches {
		at := time.Date(2026, 11, 28, 3, i, 0, 0, time.UTC)
		var batch []sqlstore.Record
		for n := range 10 {
			at := at.Add(time.Duration(n) * time.Millisecond)
			batch = append(batch, sqlstore.Record{Principal: "user:ana", Entry: &audit.Entry{
				ID: credential.NewIDAt("evt", at), Time: at, Type: audit.SessionQuery, Actor: "user:ana", Request: "req_1", Resource: "orders-db", Outcome: audit.Allowed,
				Source: audit.Source{Channel: "gateway:postgres"}, Statement: &audit.Statement{SQL: "select 1", Rows: int64(n)},
			}})
		}
		if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error {
			if err := tx.Append(entry("before_" + string(rune('a'+i)))); err != nil {
				return err
			}
			return tx.AppendPack(batch)
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever changes a batch, or what it is found by, is found.
//
// Invariant: A31
// Attack: AUD-01
func TestVerifyNoticesAChangedBatch(t *testing.T) {
	for _, c := range []struct {
		name, statement string
		least, most     int64 // where the fault is named
	}{
		{"nothing", "SELECT 1", 0, 0},
		{"other bytes", "UPDATE packs SET body = (SELECT body FROM packs WHERE first_seq = 2) WHERE first_seq = 13", 13, 22},
		{"a damaged value", "UPDATE packs SET body = zeroblob(20) WHERE first_seq = 13", 13, 13},
		{"a cut value", "UPDATE packs SET body = substr(body, 1, length(body) - 1) WHERE first_seq = 13", 13, 13},
		{"a batch removed", "DELETE FROM terms WHERE first_seq = 13; DELETE FROM packs WHERE first_seq = 13", 13, 13},
		{"the last removed", "DELETE FROM terms WHERE first_seq = 24; DELETE FROM packs WHERE first_seq = 24", 24, 24},
		{"a batch of another length", "UPDATE packs SET count = 9 WHERE first_seq = 13", 13, 13},
		{"the times", "UPDATE packs SET until = until + 1 WHERE first_seq = 13", 13, 13},
		{"a term removed", "DELETE FROM terms WHERE first_seq = 13 AND term = 'party user:ana'", 13, 13},
		{"a term added", "INSERT INTO terms VALUES ('party user:eve', 13)", 1, 1},
		{"an entry beside it", "INSERT INTO entries SELECT 14, 1, 0, 'evt_twice', at, type, actor, on_behalf_of, principal, request, grant_id, resource, reason_digest, hash, bytes FROM entries WHERE seq = 12; INSERT INTO parties VALUES ('user:ana', 14)", 12, 14},
		{"a batch twice", "INSERT INTO packs SELECT 14, leaf, count - 1, since, until, body FROM packs WHERE first_seq = 13", 13, 14},
		{"the tree", "UPDATE hashes SET hash = zeroblob(32) WHERE idx = (SELECT MAX(idx) FROM hashes)", 1, 33},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, dir, testKeys(t).options())
			packs(t, s, 3)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			raw(t, dir, "PRAGMA foreign_keys = OFF; "+c.statement)
			ro, err := OpenReadOnly(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ro.Close() }()
			err = ro.View(t.Context(), func(tx *sqlstore.Tx) error {
				report, err := tx.VerifyAudit(audit.VerifierOptions{Keys: []string{testKeys(t).vkey}})
				if err == nil {
					err = tx.VerifyBeside()
				}
				if err == nil && report.Head.Seq != 33 {
					t.Errorf("there are %d entries", report.Head.Seq)
				}
				return err
			})
			fault, ok := errors.AsType[*audit.Fault](err)
			if c.most == 0 {
				if err != nil {
					t.Error(err)
				}
			} else if !ok || fault.Seq < c.least || fault.Seq > c.most {
				t.Errorf("%v, want a fault at entry %d to %d", err, c.least, c.most)
			}
		})
	}
}

// A log whose last batch is missing is not written on.
func TestRefusesALogWithoutItsLastBatch(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, testKeys(t).options())
	packs(t, s, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, dir, "PRAGMA foreign_keys = OFF; DELETE FROM packs WHERE first_seq = 13")
	if s, err := Open(t.Context(), dir, sqlstore.Options{}); err == nil {
		_ = s.Close()
		t.Fatal("it was opened")
	} else if !strings.Contains(err.Error(), "22 entries") {
		t.Errorf("the error does not say what is missing: %v", err)
	}
}

// A batch is one row, and costs what it is found by once.
func TestABatchIsOneRow(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, testKeys(t).options())
	packs(t, s, 3)
	db := rawDB(t, filepath.Join(dir, dataFile))
	for query, want := range map[string]string{
		"SELECT COUNT(*) FROM entries":               "[3]",
		"SELECT COUNT(*), SUM(count) FROM packs":     "[3 30]",
		"SELECT DISTINCT term FROM terms":            "[party user:ana] [request req_1] [resource orders-db] [type session.query]",
		"SELECT COUNT(*) FROM terms":                 "[12]",
		"SELECT MAX(length(body)) < 3000 FROM packs": "[1]",
	} {
		var got []string
		for _, row := range everything(t, db, query) {
			got = append(got, "["+row+"]")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// Batches are found by their terms and by the times that lead the IDs of their
// entries, and not by looking through all of them.
//
// Attack: RES-10
func TestBatchesAreFoundByIndexes(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, sqlstore.Options{})
	db := rawDB(t, filepath.Join(dir, dataFile))
	for statement, index := range map[string]string{
		"SELECT p.body FROM packs AS p JOIN leaves AS l ON l.idx = p.leaf WHERE p.first_seq > 5 AND p.first_seq + p.count - 1 > 1029 ORDER BY p.first_seq LIMIT 1":                                                                                                                                   "INTEGER PRIMARY KEY (rowid>?)",
		"SELECT p.body FROM packs AS p JOIN leaves AS l ON l.idx = p.leaf WHERE p.until >= 5 AND p.until <= 60005 AND p.since <= 5 ORDER BY p.until":                                                                                                                                                 "packs_until",
		"SELECT p.body FROM terms AS t JOIN packs AS p ON p.first_seq = t.first_seq JOIN leaves AS l ON l.idx = p.leaf WHERE t.term = 'request r' AND EXISTS (SELECT 1 FROM terms AS o WHERE o.term = 'type x' AND o.first_seq = t.first_seq) AND t.first_seq < 9 ORDER BY t.first_seq DESC LIMIT 4": "PRIMARY KEY (term=? AND first_seq<?)",
	} {
		steps := plan(t, db, statement)
		if !strings.Contains(steps[0], index) || strings.Contains(strings.Join(steps, " "), "TEMP B-TREE") || strings.Contains(strings.Join(steps, " "), "SCAN") {
			t.Errorf("%s: %q", statement, steps)
		}
	}
}
