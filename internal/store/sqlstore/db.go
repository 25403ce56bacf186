package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// Fault is what an error of the database means for the store.
type Fault int

// The classes of errors.
const (
	// Ordinary errors concern the statement that met them.
	Ordinary Fault = iota
	// Lost: the transaction may be rolled back already. What would still be
	// written in it could be committed statement by statement.
	Lost
	// Full: there is no space. What was begun is rolled back.
	Full
	// Fatal: an I/O error or a damaged file. After a failed fsync nobody knows
	// what is on the disk, so the store takes nothing more.
	Fatal
)

// Space watches the disk of a store that can run out of it.
type Space interface {
	// Normal reports whether Normal writes may be tried now: the reserve is
	// whole and there is room. It tries to win a lost reserve back.
	Normal() bool
	// Release gives up the reserve, so that Ends can use its room.
	Release() error
}

// Dialect is what one kind of database brings to a DB.
type Dialect struct {
	Write   *sql.Conn // the only connection that writes; nil for a store that is only read
	WriteDB *sql.DB   // the pool that Write is from
	Begin   string    // begins a write transaction
	Read    *sql.DB   // many connections that only read
	Fault   func(error) Fault
	Space   Space // nil when running out of space is somebody else's care
	// Upkeep, unless nil, is called by the writer after each commit, when its
	// updates have been answered. ask runs a query for one row, prepared when it
	// is first asked, on the same connection. A Fatal error ends the store.
	Upkeep func(ctx context.Context, conn *sql.Conn, ask func(statement string, into ...any) error) error
	// Committed, unless nil, is told by the writer what the newest commit
	// holds, when it is durable and before anybody hears of it.
	Committed func(Newest)
}

// DB is a Store on one SQL database, whatever its dialect.
type DB struct {
	dialect   Dialect
	opts      Options
	write     *db.Queries          // prepared on dialect.Write
	read      *db.Queries          // prepared on dialect.Read
	log       tree                 // the end of the log; only the writer goroutine touches it
	mark      time.Time            // of the newest commit; likewise
	postponed int                  // how often upkeep gave way; likewise
	last      int                  // how many updates the last group had; likewise
	frame     map[string]*sql.Stmt // BEGIN, COMMIT and their like, prepared; likewise

	mu      sync.RWMutex // held for reading while something is put into queue
	closed  bool
	queue   chan *update  // Normal
	ends    chan *update  // begun before all of queue
	stopped chan struct{} // closed when the writer goroutine has ended

	full   atomic.Bool
	fail   sync.Once
	failed atomic.Pointer[error]
}

// queueSize bounds how many updates of a class wait; more wait in Update itself.
const queueSize = 1024

// New begins to serve a database whose schema is current. It owns the
// dialect's connections from then on, also when it fails.
func New(ctx context.Context, d Dialect, opts Options) (*DB, error) {
	s := &DB{dialect: d, opts: opts, frame: map[string]*sql.Stmt{}, queue: make(chan *update, queueSize), ends: make(chan *update, queueSize), stopped: make(chan struct{})}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(err, s.closeConnections())
	}
	if d.Write == nil {
		close(s.stopped)
	} else {
		go s.serve()
	}
	return s, nil
}

func (s *DB) begin(ctx context.Context) error {
	var err error
	if s.read, err = db.Prepare(ctx, s.dialect.Read); err != nil {
		return fmt.Errorf("preparing to read: %w", err)
	}
	if s.dialect.Write == nil {
		return nil
	}
	if s.write, err = db.Prepare(ctx, s.dialect.Write); err != nil {
		return fmt.Errorf("preparing to write: %w", err)
	}
	if s.log, err = loadTree(ctx, s.write); err != nil {
		return err
	}
	failpoint.Hit("store.tree.loaded")
	// Whoever held a lease is gone: this process is the only one.
	if _, err = s.write.ReleaseJobs(ctx); err != nil && s.dialect.Fault(err) != Full {
		return fmt.Errorf("releasing jobs: %w", err)
	}
	return nil
}

// View implements Store.
func (s *DB) View(ctx context.Context, fn func(*Tx) error) error {
	if err := s.failure(); err != nil {
		return err
	}
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	tx, err := s.dialect.Read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		if s.dialect.Fault(err) == Fatal {
			return s.poison(err)
		}
		return fmt.Errorf("beginning to read: %w", err)
	}
	// Nothing was written, so there is nothing to learn from its error.
	defer func() { _ = tx.Rollback() }()
	t := &Tx{ctx: ctx, q: s.read.WithTx(tx), conn: tx, classify: s.dialect.Fault}
	defer func() { t.over = true }()
	err = fn(t)
	if t.fault == Fatal {
		return s.poison(t.cause)
	}
	return err
}

// Full reports whether only Ends are taken because the disk is full.
func (s *DB) Full() bool { return s.full.Load() }

// Failure returns why the store has failed, nil while it works.
func (s *DB) Failure() error { return s.failure() }

func (s *DB) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// poison ends the store for good and returns what every call returns now.
func (s *DB) poison(cause error) error {
	s.fail.Do(func() {
		err := fmt.Errorf("%w: %w", ErrFailed, cause)
		s.failed.Store(&err)
		if s.opts.Failed != nil {
			go s.opts.Failed(err)
		}
	})
	return s.failure()
}

// Close implements Store. What waits is still written.
func (s *DB) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.stopped
		return nil
	}
	s.closed = true
	close(s.queue)
	close(s.ends)
	s.mu.Unlock()
	<-s.stopped
	return s.closeConnections()
}

func (s *DB) closeConnections() error {
	var errs []error
	for _, q := range []*db.Queries{s.read, s.write} {
		if q != nil {
			errs = append(errs, q.Close())
		}
	}
	for _, stmt := range s.frame {
		errs = append(errs, stmt.Close())
	}
	errs = append(errs, s.dialect.Read.Close())
	if s.dialect.Write != nil {
		errs = append(errs, s.dialect.Write.Close(), s.dialect.WriteDB.Close())
	}
	return errors.Join(errs...)
}

// AuditRows calls fn with every stored entry from a sequence number on, in
// order, as of one snapshot: its leaf, the hash stored beside it, its bytes.
func (s *DB) AuditRows(ctx context.Context, from int64, fn func(seq int64, leaf audit.Leaf, leafHash [32]byte, bytes []byte) error) error {
	return s.View(ctx, func(t *Tx) error { return t.AuditRows(from, fn) })
}

// VerifyAudit checks the whole log, as of one snapshot: see Tx.VerifyAudit.
func (s *DB) VerifyAudit(ctx context.Context, opts audit.VerifierOptions) (report audit.Report, err error) {
	err = s.View(ctx, func(t *Tx) error {
		report, err = t.VerifyAudit(opts)
		return err
	})
	return report, err
}

// StoredHashes reads the stored hashes of the tree. They never change once
// written, so no snapshot is needed.
func (s *DB) StoredHashes(ctx context.Context) tlog.HashReader {
	return hashReader{ctx, s.read}
}
