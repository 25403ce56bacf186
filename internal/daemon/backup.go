package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/backup"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// What a backup holds. The keys of JWTs are not in it: nothing that they
// signed comes back. That of the audit log is, so that its log can go on.
var (
	backupAuditKey = keysFolder + "/" + auditKeyFile
	backupFiles    = []string{sqlite.DataFile, backupAuditKey, auditVKeyFile}
)

// Backup writes a backup of the store in data to a new file: as of one
// instant, also while a server uses the store, and checked before and after it
// is written.
func Backup(ctx context.Context, data, file, version string) (_ backup.Manifest, err error) {
	var none backup.Manifest
	if _, err := os.Lstat(file); err == nil {
		return none, fmt.Errorf("%s is there already: name a new file", file)
	}
	// Beside the file: both on one file system, and as private as it.
	temp, err := os.MkdirTemp(filepath.Dir(file), ".daypass-backup-*")
	if err != nil {
		return none, fmt.Errorf("making room for the backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	m, err := gather(ctx, data, temp)
	if err != nil {
		return none, err
	}
	m.Daypass = version
	whole := filepath.Join(temp, "backup.tar")
	if m, err = writeBackup(whole, temp, m); err != nil {
		return none, err
	}
	if err := readBack(whole); err != nil {
		return none, fmt.Errorf("reading the backup back: %w", err)
	}
	// A link, unlike a rename, never replaces what has come there meanwhile.
	if err := os.Link(whole, file); err != nil {
		return none, fmt.Errorf("putting the backup in its place: %w", err)
	}
	return m, sqlite.SyncDir(filepath.Dir(file))
}

// gather copies what belongs into a backup to temp, checks it, and describes
// it.
func gather(ctx context.Context, data, temp string) (backup.Manifest, error) {
	m := backup.Manifest{CreatedAt: api.TimeOf(time.Now()), Secrets: []string{backupAuditKey, sqlite.DataFile}}
	beside, err := noteBeside(data)
	if err != nil {
		return m, err
	}
	if err := sqlite.Snapshot(ctx, data, temp); err != nil {
		return m, err
	}
	if err := os.Mkdir(filepath.Join(temp, keysFolder), 0o700); err != nil {
		return m, err
	}
	for _, name := range []string{backupAuditKey, auditVKeyFile} {
		content, err := os.ReadFile(filepath.Join(data, filepath.FromSlash(name)))
		if err != nil {
			return m, fmt.Errorf("reading the audit log's key: %w", err)
		}
		if err := os.WriteFile(filepath.Join(temp, filepath.FromSlash(name)), content, 0o600); err != nil {
			return m, err
		}
	}
	o := VerifyOptions{}
	if beside != nil {
		o.Checkpoints = append(o.Checkpoints, beside)
	}
	if err := sqlite.Sound(ctx, temp); err != nil {
		return m, err
	}
	if _, err := VerifyData(ctx, temp, o); err != nil {
		return m, fmt.Errorf("the store cannot be backed up, it is not whole: %w", err)
	}
	return m, describe(ctx, temp, &m)
}

// describe reads the head of the log and the clock's mark into m.
func describe(ctx context.Context, dir string, m *backup.Manifest) error {
	key, err := AuditKey(dir)
	if err != nil {
		return err
	}
	store, err := sqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return err
	}
	err = store.View(ctx, func(tx *sqlstore.Tx) error {
		head, note, err := tx.Head()
		if err != nil {
			return err
		}
		if len(note) == 0 {
			return errors.New("the store is empty: no server has run on it yet")
		}
		cp, err := audit.OpenCheckpoint(note, key)
		if err != nil {
			return err
		}
		mark, err := tx.ClockMark()
		m.Log, m.Seq, m.Leaves, m.Checkpoint, m.EntryAt = cp.Origin, head.Seq, head.Leaves, string(note), api.TimeOf(mark.At)
		return err
	})
	return errors.Join(err, store.Close())
}

func writeBackup(file, dir string, m backup.Manifest) (backup.Manifest, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return m, fmt.Errorf("writing the backup: %w", err)
	}
	m, err = backup.Write(f, dir, m, backupFiles)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return m, fmt.Errorf("writing the backup: %w", err)
	}
	return m, nil
}

func readBack(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	_, err = backup.Read(f, "", backupFiles)
	return errors.Join(err, f.Close())
}
