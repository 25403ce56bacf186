package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// Tx is one function's view of the store inside Update or View. It must not be
// used after that function has returned, nor by two goroutines at once.
type Tx struct {
	ctx      context.Context
	q        *db.Queries
	conn     db.DBTX // for list.go
	log      *tree   // nil in a View
	classify func(error) Fault

	texts map[string]ownText // by digest
	after []func()
	wrote bool
	over  bool
	fault Fault // the first other than Ordinary, also when fn swallowed it
	cause error
}

var errOver = errors.New("this transaction is over")

// AfterCommit has f run after the commit and before Update returns, in commit
// order. f must not block. In a View it never runs.
func (t *Tx) AfterCommit(f func()) { t.after = append(t.after, f) }

// read runs one query; sql.ErrNoRows becomes ErrNotFound.
func read[T any](t *Tx, act string, f func() (T, error)) (T, error) {
	var zero T
	if err := t.usable(); err != nil {
		return zero, fmt.Errorf("%s: %w", act, err)
	}
	v, err := f()
	if err != nil {
		return zero, t.failed(act, err)
	}
	return v, nil
}

// write runs one statement and returns how many rows it changed.
func (t *Tx) write(act string, f func() (int64, error)) (int64, error) {
	err := t.usable()
	if err == nil && t.log == nil {
		err = ErrReadOnly
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", act, err)
	}
	n, err := f()
	if err != nil {
		return 0, t.failed(act, err)
	}
	t.wrote = t.wrote || n > 0
	return n, nil
}

// usable refuses what comes after a fault: SQLite has ended the transaction by
// itself then, and further statements would be committed one by one.
func (t *Tx) usable() error {
	if t.over {
		return errOver
	}
	return t.cause
}

// failed notes an error of the database and says what was being done.
func (t *Tx) failed(act string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	} else if fault := t.classify(err); fault > t.fault {
		t.fault, t.cause = fault, fmt.Errorf("%s: %w", act, err)
	}
	return fmt.Errorf("%s: %w", act, err)
}

// one makes an error of a statement that should have changed a row and did not.
func one(act string, n int64, err, none error) error {
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w", act, none)
	}
	return err
}

// orNone makes zero of ErrNotFound, for look-ups where none is an answer.
func orNone[T any](v T, err error) (T, error) {
	if errors.Is(err, ErrNotFound) {
		var zero T
		return zero, nil
	}
	return v, err
}

// ClockMark returns the clock's mark of the last commit; zero on a new store.
func (t *Tx) ClockMark() (clock.Mark, error) {
	m, err := orNone(read(t, "reading the clock's mark", func() (db.MarkRow, error) { return t.q.Mark(t.ctx) }))
	if err != nil || m == (db.MarkRow{}) {
		return clock.Mark{}, err
	}
	return clock.Mark{At: time.UnixMicro(m.At).UTC(), Boot: m.Boot, Up: time.Duration(m.Up) * time.Microsecond}, nil
}

// Setting returns a setting, "" when it was never set.
func (t *Tx) Setting(key string) (string, error) {
	return orNone(read(t, "reading a setting", func() (string, error) { return t.q.Setting(t.ctx, key) }))
}

// PutSetting sets one.
func (t *Tx) PutSetting(key, value string) error {
	_, err := t.write("keeping a setting", func() (int64, error) { return t.q.PutSetting(t.ctx, key, value) })
	failpoint.Hit("store.setting.after")
	return err
}

func millis(at time.Time) int64 { return at.UnixMilli() } // rounds down, also before 1970

func instant(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// optional makes NULL of a zero value.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// blob keeps empty bytes from becoming NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// hash32 takes a hash out of its column.
func hash32(b []byte) (h [32]byte, err error) {
	if len(b) != len(h) {
		return h, fmt.Errorf("a stored hash has %d bytes", len(b))
	}
	return [32]byte(b), nil
}
