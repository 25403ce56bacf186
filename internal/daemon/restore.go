package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/backup"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Restore makes a data folder out of a backup: checked from end to end, and in
// quarantine. The folder must be new or empty. note is a signed checkpoint of
// the lost store that is newer than the backup; nil when there is none.
func Restore(ctx context.Context, file, data string, note []byte) (_ api.Quarantine, err error) {
	var none api.Quarantine
	data = filepath.Clean(data)
	if err := empty(data); err != nil {
		return none, err
	}
	if err := os.MkdirAll(filepath.Dir(data), 0o700); err != nil {
		return none, err
	}
	// Elsewhere first: a restore that fails leaves nothing that could be served.
	temp, err := os.MkdirTemp(filepath.Dir(data), ".daypass-restore-*")
	if err != nil {
		return none, fmt.Errorf("making room for the restored store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	m, err := unpack(file, temp)
	if err != nil {
		return none, err
	}
	q, at, err := checkRestored(ctx, temp, m, note)
	if err != nil {
		return none, err
	}
	if q, err = quarantine(ctx, temp, q, at); err != nil {
		return none, fmt.Errorf("putting the restored store into quarantine: %w", err)
	}
	if err := os.Remove(data); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return none, err
	}
	if err := os.Rename(temp, data); err != nil {
		return none, fmt.Errorf("putting the restored store in its place: %w", err)
	}
	return q, sqlite.SyncDir(filepath.Dir(data))
}

// empty refuses a folder with anything in it.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking into the data folder: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: restore into a new folder, and keep the old one until you know that you do not need it", dir)
	}
	return nil
}

func unpack(file, dir string) (backup.Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return backup.Manifest{}, fmt.Errorf("opening the backup: %w", err)
	}
	m, err := backup.Read(f, dir, backupFiles)
	return m, errors.Join(err, f.Close())
}

// checkRestored checks what was unpacked: the database, the log and its
// signatures, the rows against the log, the head against the manifest, and all
// of it against a checkpoint from elsewhere. at is when that was signed.
func checkRestored(ctx context.Context, dir string, m backup.Manifest, note []byte) (q api.Quarantine, at time.Time, err error) {
	if err := sqlite.Sound(ctx, dir); err != nil {
		return q, at, err
	}
	found := backup.Manifest{}
	if err := describe(ctx, dir, &found); err != nil {
		return q, at, err
	}
	if found.Seq != m.Seq || found.Leaves != m.Leaves || found.Checkpoint != m.Checkpoint || found.Log != m.Log {
		return q, at, fmt.Errorf("the log in the backup ends with entry %d of %s, its manifest says %d of %s", found.Seq, found.Log, m.Seq, m.Log)
	}
	q = api.Quarantine{BackupAt: m.CreatedAt, RestoredAt: api.TimeOf(time.Now()), Head: found.Seq}
	o := VerifyOptions{}
	if len(note) > 0 {
		notes, _, err := notesOf([][]byte{note})
		if err != nil {
			return q, at, err
		}
		key, err := AuditKey(dir)
		if err != nil {
			return q, at, err
		}
		cp, err := audit.OpenCheckpoint(notes[0], key)
		if err != nil {
			return q, at, fmt.Errorf("the checkpoint is not one of the store in the backup: %w", err)
		}
		at = cp.Time
		if q.KnownHead = cp.Head.Seq; cp.Head.Seq > found.Seq {
			from, to := found.EntryAt, api.TimeOf(cp.Time)
			q.LostFrom, q.LostTo = &from, &to
		} else {
			o.Checkpoints = notes
		}
	}
	if _, err := VerifyData(ctx, dir, o); err != nil {
		return q, at, fmt.Errorf("the backup is not whole: %w", err)
	}
	return q, at, nil
}

// quarantine marks the store in dir, and records what it was restored from.
// The clock's mark never goes back: not behind that of the backup, nor behind
// a checkpoint that was signed later.
func quarantine(ctx context.Context, dir string, q api.Quarantine, at time.Time) (api.Quarantine, error) {
	sign, err := headSigner(dir)
	if err != nil {
		return q, err
	}
	var effective *clock.Clock
	store, err := sqlite.Open(ctx, dir, sqlstore.Options{Clock: func() clock.Mark { return effective.Mark() }, SignHead: sign})
	if err != nil {
		return q, err
	}
	err = store.View(ctx, func(tx *sqlstore.Tx) error {
		mark, err := tx.ClockMark()
		if at.After(mark.At) {
			mark = clock.Mark{At: at}
		}
		effective = clock.New(mark)
		return err
	})
	if err == nil {
		err = store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) (err error) {
			q, err = broker.Restored(tx, q, effective.Now().UTC().Truncate(time.Millisecond))
			return err
		})
	}
	return q, errors.Join(err, store.Close())
}
