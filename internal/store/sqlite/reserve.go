package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/daypass/daypass/internal/store/sqlstore"
)

const (
	// reserveSize is room for some thousand revocations: a commit takes a few
	// pages of the WAL, which is written over after each checkpoint.
	reserveSize = 8 << 20
	// margin is the free space in bytes below which Normal writes stop, so
	// that they do not run into the wall in the middle of a commit.
	margin = 1 << 20
	// pause is the time between two looks at the free space, and between two
	// tries to win the reserve back.
	pause = time.Second
)

// reserve is a file of real, written blocks that is given up when the disk is
// full. Only the writer goroutine uses it, after it was opened.
type reserve struct {
	dir    string
	file   string
	whole  bool
	normal bool
	looked time.Time
	now    func() time.Time
}

// openReserve makes the reserve if there is room for it. On a full disk the
// store opens without, and takes Ends only.
func openReserve(dir string) (*reserve, error) {
	r := &reserve{dir: dir, file: filepath.Join(dir, reserveFile), now: time.Now}
	if err := createPrivate(r.file); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return r, nil
		}
		return nil, err
	}
	info, err := os.Stat(r.file)
	if err != nil {
		return nil, fmt.Errorf("looking at the reserve: %w", err)
	}
	if r.whole = info.Size() == reserveSize; !r.whole {
		if err := r.restore(); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return nil, err
		}
	}
	return r, nil
}

// Normal implements sqlstore.Space.
func (r *reserve) Normal() bool {
	now := r.now()
	if since := now.Sub(r.looked); !r.looked.IsZero() && since >= 0 && since < pause {
		return r.normal
	}
	r.looked = now
	// Where the free space is not to be known, writing tells.
	free, known := freeSpace(r.dir)
	if !r.whole && (!known || free >= reserveSize+2*margin) {
		// Its errors need no answer: without the reserve only Ends are taken.
		_ = r.restore()
		free, known = freeSpace(r.dir)
	}
	r.normal = r.whole && (!known || free >= margin)
	return r.normal
}

// Release implements sqlstore.Space.
func (r *reserve) Release() error {
	r.whole, r.normal, r.looked = false, false, r.now()
	if err := os.Truncate(r.file, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("releasing the reserve: %w", err)
	}
	return nil
}

// restore makes the reserve anew, with real blocks: a file that only has a
// size holds nothing.
func (r *reserve) restore() (err error) {
	f, err := os.OpenFile(r.file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("making the reserve: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		r.whole = err == nil
		if err != nil {
			err = fmt.Errorf("making the reserve: %w", errors.Join(err, os.Truncate(r.file, 0)))
		}
	}()
	if err := allocate(f, 0, reserveSize); err != nil {
		return err
	}
	return f.Sync()
}

// keepSome takes what there is, up to the whole reserve, when the store is
// closed on a full disk: the next start needs some room to come up, and what
// SQLite gives free when it closes would be gone by then.
func (r *reserve) keepSome() error {
	if r.whole {
		return nil
	}
	f, err := os.OpenFile(r.file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("making the reserve: %w", err)
	}
	const piece = 64 << 10
	size := int64(0)
	for size < reserveSize && allocate(f, size, piece) == nil {
		size += piece
	}
	if err := errors.Join(f.Truncate(size), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("making the reserve: %w", err)
	}
	return nil
}

// writeZeros allocates by writing.
func writeZeros(f *os.File, from, size int64) error {
	zeros := make([]byte, min(size, 1<<20))
	for end := from + size; from < end; from += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(end-from, int64(len(zeros)))], from); err != nil {
			return err
		}
	}
	return nil
}

// exhausted reports whether opening failed for want of space that giving up
// the reserve would make.
func (r *reserve) exhausted(err error) bool {
	if !r.whole {
		return false
	}
	if fault(r.dir)(err) == sqlstore.Full {
		return true
	}
	// SQLite says of some files only that it cannot open them.
	free, known := freeSpace(r.dir)
	return known && free < margin && fault(r.dir)(err) == sqlstore.Fatal
}
