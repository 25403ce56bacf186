package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/daypass/daypass/internal/store/sqlstore"
)

// newest notes in a file beside the database what the newest commit holds.
// SQLite takes the WAL up to the first frame that is damaged, and says nothing
// of those behind it: with them goes what was acknowledged last, revocations
// among it. The note is written after the commit is durable and is not synced
// itself, so that it may be behind the store, and is never ahead of one that is
// whole.
type newest struct{ file *os.File }

// newestSize is a note: entries, the clock's mark in microseconds, a checksum.
const newestSize = 8 + 8 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openNewest opens the note to write it.
func openNewest(dir string) (*newest, error) {
	f, err := os.OpenFile(filepath.Join(dir, NewestFile), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		return &newest{}, nil // as keep says
	}
	if err != nil {
		return nil, fmt.Errorf("opening the note of the newest commit: %w", err)
	}
	return &newest{f}, nil
}

// keep writes the note in place. What goes wrong leaves an older one, or none
// that can be read: then less is noticed, and nothing is refused wrongly.
func (n *newest) keep(of sqlstore.Newest) {
	if n.file == nil {
		return
	}
	var b [newestSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(of.Seq))
	if !of.Mark.IsZero() {
		binary.BigEndian.PutUint64(b[8:], uint64(of.Mark.UnixMicro()))
	}
	binary.BigEndian.PutUint32(b[16:], crc32.Checksum(b[:16], castagnoli))
	_, _ = n.file.WriteAt(b[:], 0) // see above
}

func (n *newest) close() error {
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}

// readNewest reads the note; zero where there is none that can be read.
func readNewest(dir string) (sqlstore.Newest, error) {
	b, err := os.ReadFile(filepath.Join(dir, NewestFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sqlstore.Newest{}, fmt.Errorf("reading the note of the newest commit: %w", err)
	}
	if len(b) != newestSize || binary.BigEndian.Uint32(b[16:]) != crc32.Checksum(b[:16], castagnoli) {
		return sqlstore.Newest{}, nil
	}
	return sqlstore.Newest{
		Seq:  int64(binary.BigEndian.Uint64(b)),
		Mark: time.UnixMicro(int64(binary.BigEndian.Uint64(b[8:]))).UTC(),
	}, nil
}

// ErrEndLost says that the newest commits are gone from a store.
var ErrEndLost = errors.New("the newest changes of the store are gone, and with them what was revoked then: its WAL was damaged or removed, or an older copy was put in its place")

// Whole reports, as an error that wraps ErrEndLost, that the store does not
// hold what its newest commit held.
func (s *Store) Whole(tx *sqlstore.Tx) error {
	head, _, err := tx.Head()
	if err != nil {
		return err
	}
	if head.Seq < s.last.Seq {
		return fmt.Errorf("%w (entries %d to %d of the audit log are missing)", ErrEndLost, head.Seq+1, s.last.Seq)
	}
	mark, err := tx.ClockMark()
	if err != nil {
		return err
	}
	if mark.At.Before(s.last.Mark) && s.last.Mark.Unix() > 0 {
		return fmt.Errorf("%w (its clock was at %s, and is at %s)", ErrEndLost, s.last.Mark.Format(time.RFC3339Nano), mark.At.Format(time.RFC3339Nano))
	}
	return nil
}
