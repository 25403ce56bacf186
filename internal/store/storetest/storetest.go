// Package storetest is the conformance suite that the store of every dialect
// must pass: what the broker relies on, and nothing about how it is done.
//
// It refuses to take a store's word for its log: after each step the whole of
// it is read again and verified against a key that the store does not have.
package storetest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Open opens a new, empty store. reopen closes it and opens it again, as a
// restart does. The store is closed at the end of the test.
type Open func(t *testing.T, opts sqlstore.Options) (store sqlstore.Store, reopen func() sqlstore.Store)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"requests/compare and swap", (*suite).compareAndSwap},
		{"requests/two writers", (*suite).twoWriters},
		{"requests/round trip", (*suite).requestRoundTrip},
		{"requests/filters and cursors", (*suite).filtersAndCursors},
		{"requests/deadlines", (*suite).deadlines},
		{"requests/pending", (*suite).pending},
		{"requests/waiting", (*suite).waiting},
		{"requests/input", (*suite).input},
		{"group/savepoints", (*suite).savepoints},
		{"group/after commit", (*suite).afterCommit},
		{"group/sign failure", (*suite).signFailure},
		{"group/cancelled", (*suite).cancelled},
		{"group/goexit", (*suite).goexit},
		{"group/close", (*suite).closing},
		{"group/slow disk", (*suite).slowDisk},
		{"group/crowd of ends", (*suite).crowdOfEnds},
		{"views/snapshot", (*suite).snapshot},
		{"views/read only", (*suite).readOnly},
		{"jobs/order", (*suite).jobOrder},
		{"jobs/lease and retry", (*suite).jobLease},
		{"jobs/restart", (*suite).jobRestart},
		{"rows/texts", (*suite).texts},
		{"rows/credentials", (*suite).credentials},
		{"rows/start", (*suite).starting},
		{"rows/start/halves", (*suite).halves},
		{"rows/tokens", (*suite).tokens},
		{"rows/jobtokens", (*suite).jobTokens},
		{"rows/logins", (*suite).logins},
		{"rows/identities", (*suite).identities},
		{"rows/catalogs", (*suite).catalogs},
		{"rows/settings and replies", (*suite).settingsAndReplies},
		{"rows/clock mark", (*suite).clockMark},
		{"log/random steps", (*suite).randomSteps},
		{"log/proofs", (*suite).proofs},
		{"log/events", (*suite).events},
		{"log/verify notices", (*suite).verifyNotices},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newSuite(t, open)) })
	}
}

// suite is one store under test with the key of its log.
type suite struct {
	*testing.T
	open   Open
	store  sqlstore.Store
	reopen func() sqlstore.Store
	vkey   string

	mu      sync.Mutex
	signErr error      // what signing fails with
	mark    clock.Mark // what the next commit writes
	last    *audit.Checkpoint
	failed  []error
}

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

func newSuite(t *testing.T, open Open) *suite {
	return &suite{T: t, open: open, mark: clock.Mark{At: start, Boot: "boot", Up: time.Hour}}
}

// begin opens the store. Tests that need a synctest bubble do it inside.
func (s *suite) begin() {
	s.Helper()
	skey, vkey, err := audit.NewSigner("log.example", rand.Reader)
	s.must(err)
	signer, err := audit.ParseSigner(skey)
	s.must(err)
	s.vkey = vkey
	s.store, s.reopen = s.open(s.T, sqlstore.Options{
		Clock: func() clock.Mark {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.mark
		},
		SignHead: func(h audit.Head, root [32]byte, now time.Time) ([]byte, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.signErr != nil {
				return nil, s.signErr
			}
			return audit.SignCheckpoint("log.example", h, root, signer, now)
		},
		Failed: func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.failed = append(s.failed, err)
		},
	})
}

// restart closes and opens the store.
func (s *suite) restart() {
	s.Helper()
	s.store = s.reopen()
	s.verify()
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// want checks that err is (errors.Is) want.
func (s *suite) want(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("got %v, want %v", err, want)
	}
}

// update writes, checks the whole log and returns the error of fn.
func (s *suite) update(fn func(*sqlstore.Tx) error) error {
	s.Helper()
	err := s.store.Update(s.Context(), sqlstore.Normal, fn)
	s.verify()
	return err
}

func (s *suite) view(fn func(*sqlstore.Tx) error) {
	s.Helper()
	s.must(s.store.View(s.Context(), fn))
}

// verify reads the whole log again: gapless, hashes as stored, signed head
// over exactly the rows that are there, grown out of the one seen before.
func (s *suite) verify() {
	s.Helper()
	s.view(func(tx *sqlstore.Tx) error {
		report, err := tx.VerifyAudit(audit.VerifierOptions{Keys: []string{s.vkey}})
		if err != nil {
			return fmt.Errorf("the log is not whole: %w", err)
		}
		head, note, err := tx.Head()
		if err != nil {
			return err
		}
		if head != report.Head {
			return fmt.Errorf("the head says %+v, the rows are %+v", head, report.Head)
		}
		if head.Seq == 0 {
			return nil
		}
		cp, err := audit.OpenCheckpoint(note, s.vkey)
		if err != nil {
			return err
		}
		if cp.Head != head || cp.Root != report.Root {
			return fmt.Errorf("the checkpoint covers %+v, the log is %+v", cp.Head, head)
		}
		if s.last != nil {
			proof, err := audit.ProveConsistency(s.last.Head.Leaves, head.Leaves, tx.Hashes())
			if err != nil {
				return err
			}
			if err := audit.CheckConsistency(proof, s.last, cp); err != nil {
				return fmt.Errorf("from %+v to %+v: %w", s.last.Head, head, err)
			}
		}
		s.last = cp
		return nil
	})
}

// request is a pending request that is stored nowhere yet.
func request(id string, created time.Time) *access.Request {
	return &access.Request{
		ID: id, Revision: 1, ContentHash: "sha256:" + id, State: access.Pending, CreatedAt: created, ApproveBy: created.Add(time.Hour),
		Content: access.Content{Requester: "user:ana", Resource: "orders", Kind: "http", Duration: time.Minute},
	}
}

// granted gives r an active grant.
func granted(r *access.Request, grant string) *access.Request {
	r.State = access.Approved
	r.Grant = &access.Grant{ID: grant, State: access.Active, StartsAt: r.CreatedAt, ExpiresAt: r.CreatedAt.Add(r.Content.Duration)}
	return r
}

// record is an audit entry.
func record(id string) sqlstore.Record {
	return sqlstore.Record{Entry: &audit.Entry{
		ID: "evt_" + id, Time: start, Type: audit.RequestCreated, Actor: "user:ana", Outcome: audit.Allowed,
		Source: audit.Source{Channel: "api"},
	}}
}

var errWanted = errors.New("this update is meant to fail")
