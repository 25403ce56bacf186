// Package sqlite keeps the store in one SQLite file in the data folder: for
// one node, with nothing to install. One process writes; others may read
// beside it (OpenReadOnly).
//
// It refuses a folder or file that others can read, a folder that another
// server uses, a schema newer than this binary knows, and any setting of SQLite
// that would acknowledge a commit before it is on the disk.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Files in the data folder.
const (
	dataFile    = "daypass.db"
	lockFile    = "lock"
	reserveFile = "reserve"
)

// NewestFile notes what the newest commit holds.
const NewestFile = "newest"

const (
	readers = 4
	// No checkpoints by themselves: see checkpoint. Afterwards the WAL is cut
	// back to as much as it holds between two of them, so that on a full disk
	// it can be written over in place. The cache (16 MiB) holds what a commit of
	// hundreds of ends changes: what does not fit is written twice.
	pragmasCommon = "_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_pragma=temp_store(MEMORY)"
	pragmasWrite  = pragmasCommon + "&_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=wal_autocheckpoint(0)&_pragma=journal_size_limit(4194304)&_pragma=secure_delete(1)&_pragma=cache_size(-16384)"
	pragmasRead = pragmasCommon + "&_pragma=query_only(1)"
)

// Store is the store of one data folder.
type Store struct {
	*sqlstore.DB
	lock  *os.File // both nil when it is only read
	space *reserve
	note  *newest         // likewise
	last  sqlstore.Newest // what was noted when it was opened
	read  *sql.DB

	once   sync.Once
	closed error // what the first Close returned
}

// Open opens or creates the store in dir, which it makes with mode 0700. It
// holds dir for itself until Close.
func Open(ctx context.Context, dir string, opts sqlstore.Options) (*Store, error) {
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, dir, opts)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

func open(ctx context.Context, dir string, opts sqlstore.Options) (*Store, error) {
	file := filepath.Join(dir, dataFile)
	if err := createPrivate(file); err != nil {
		return nil, err
	}
	space, err := openReserve(dir)
	if err != nil {
		return nil, err
	}
	last, err := readNewest(dir)
	if err != nil {
		return nil, err
	}
	note, err := openNewest(dir)
	if err != nil {
		return nil, err
	}
	failpoint.Hit("sqlite.open.before")
	s, err := serve(ctx, file, opts, space, note)
	if err != nil && space.exhausted(err) {
		// Not even the WAL has room. Revocations must still be taken.
		if err := space.Release(); err != nil {
			return nil, err
		}
		s, err = serve(ctx, file, opts, space, note)
	}
	if err != nil {
		return nil, errors.Join(err, note.close())
	}
	s.space, s.note, s.last = space, note, last
	return s, nil
}

// serve opens the database and brings its schema up to date.
func serve(ctx context.Context, file string, opts sqlstore.Options, space *reserve, note *newest) (_ *Store, err error) {
	writer, err := sql.Open("sqlite", dsn(file, pragmasWrite))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, writer.Close())
		}
	}()
	writer.SetMaxOpenConns(1)
	if err := check(ctx, writer); err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	if err := migrate(ctx, writer); err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	conn, err := writer.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	// The one connection may be another one now than the one checked before.
	if err := checkConn(ctx, conn); err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, errors.Join(err, conn.Close()))
	}
	reader, err := openReader(dsn(file, pragmasRead))
	if err == nil {
		err = openAll(ctx, reader)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, errors.Join(err, conn.Close()))
	}
	db, err := sqlstore.New(ctx, sqlstore.Dialect{
		Write: conn, WriteDB: writer, Begin: "BEGIN IMMEDIATE", Read: reader, Fault: fault(filepath.Dir(file)), Space: space, Upkeep: checkpoint, Committed: note.keep,
	}, opts)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	// SQLite syncs the folder when it has made the WAL, but does not look at
	// what came of it.
	if err := syncDir(filepath.Dir(file)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{DB: db, read: reader}, nil
}

// OpenReadOnly opens the store in dir to look at it, also while a server uses
// it. It changes nothing.
func OpenReadOnly(ctx context.Context, dir string) (*Store, error) {
	file := filepath.Join(dir, dataFile)
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	last, err := readNewest(dir) // first: a server beside may go on
	if err != nil {
		return nil, err
	}
	reader, err := openReader(dsn(file, "mode=ro&"+pragmasRead))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	if err = known(ctx, reader); err != nil && cannotOpen(err) && !exists(file+"-wal") {
		// A copy on a medium that cannot be written: no WAL can be made for it.
		if err := reader.Close(); err != nil {
			return nil, fmt.Errorf("opening %s: %w", file, err)
		}
		if reader, err = openReader(dsn(file, "mode=ro&immutable=1&"+pragmasRead)); err != nil {
			return nil, fmt.Errorf("opening %s: %w", file, err)
		}
		err = known(ctx, reader)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, errors.Join(err, reader.Close()))
	}
	db, err := sqlstore.New(ctx, sqlstore.Dialect{Read: reader, Fault: fault(dir)}, sqlstore.Options{})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	return &Store{DB: db, last: last, read: reader}, nil
}

// Sound reads the whole file and reports what of it SQLite finds damaged: pages
// that are no pages, indexes that do not fit their tables, values that their
// columns do not take.
func (s *Store) Sound(ctx context.Context) error {
	var found string
	if err := s.read.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return fmt.Errorf("reading the whole store: %w", err)
	}
	if found != "ok" {
		return fmt.Errorf("the store is damaged: %s: restore the newest backup", found)
	}
	return nil
}

// Close writes what still waits, closes the database and gives dir free.
func (s *Store) Close() error {
	s.once.Do(func() {
		failpoint.Hit("sqlite.close.before")
		s.closed = s.DB.Close()
		if s.lock == nil {
			return
		}
		if s.Failure() == nil {
			s.closed = errors.Join(s.closed, s.space.keepSome())
		}
		s.closed = errors.Join(s.closed, s.note.close(), s.lock.Close())
	})
	return s.closed
}

func openReader(dsn string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	return db, nil
}

// openAll opens all connections of a pool now: later, while peers hold all
// file descriptors that there are, it might be too late.
func openAll(ctx context.Context, db *sql.DB) (err error) {
	var conns []*sql.Conn
	for range readers {
		conn, cerr := db.Conn(ctx)
		if cerr != nil {
			err = cerr
			break
		}
		conns = append(conns, conn)
		// SQLite opens the files of the WAL when it first reads.
		if err = conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM mark").Scan(new(int)); err != nil {
			break
		}
	}
	for _, conn := range conns {
		err = errors.Join(err, conn.Close()) // back into the pool, open
	}
	return err
}

// dsn escapes the file's name: a # or ? in it is not a query.
func dsn(file, pragmas string) string {
	path := filepath.ToSlash(file)
	if filepath.VolumeName(file) != "" {
		path = "/" + path // file:/C:/…
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: pragmas}).String()
}

func check(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(checkConn(ctx, conn), conn.Close())
}

// checkConn reads back what durability rests on. A PRAGMA that SQLite did not
// take says nothing.
func checkConn(ctx context.Context, conn *sql.Conn) error {
	for _, want := range []struct{ pragma, value string }{
		{"synchronous", "2"}, {"journal_mode", "wal"}, {"foreign_keys", "1"},
	} {
		var got string
		if err := conn.QueryRowContext(ctx, "PRAGMA "+want.pragma).Scan(&got); err != nil {
			return fmt.Errorf("reading back %s: %w", want.pragma, err)
		}
		if got != want.value {
			return fmt.Errorf("SQLite runs with %s = %s instead of %s", want.pragma, got, want.value)
		}
	}
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
