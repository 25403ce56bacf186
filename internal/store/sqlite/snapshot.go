package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/daypass/daypass/internal/store/sqlstore"
)

// DataFile is the name of the database in the data folder.
const DataFile = dataFile

// Snapshot writes the store in dir, as of one instant, into the new folder to:
// also while a server uses it, which goes on. What was deleted before is not
// in the copy.
func Snapshot(ctx context.Context, dir, to string) error {
	s, err := OpenReadOnly(ctx, dir) // refuses a schema that it does not know
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	target := filepath.Join(to, dataFile)
	if exists(target) {
		return fmt.Errorf("copying the store: %s is there already", target)
	}
	// VACUUM INTO counts as writing, though it writes the copy alone.
	db, err := openReader(dsn(filepath.Join(dir, dataFile), "mode=ro&"+pragmasCommon))
	if err != nil {
		return fmt.Errorf("copying the store: %w", err)
	}
	if err := createPrivate(target); err != nil {
		return errors.Join(err, db.Close())
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", target)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("copying the store: %w", err)
	}
	return nil
}

// Sound has SQLite look through the database in dir, which no server uses.
func Sound(ctx context.Context, dir string) error {
	db, err := openReader(dsn(filepath.Join(dir, dataFile), "mode=ro&"+pragmasRead))
	if err != nil {
		return fmt.Errorf("checking the database: %w", err)
	}
	var verdict string
	err = db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&verdict)
	if err == nil && verdict != "ok" {
		err = errors.New(verdict)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("checking the database: %w", err)
	}
	return nil
}

// SyncDir makes names that were put into dir, or taken out of it, last.
func SyncDir(dir string) error { return syncDir(dir) }

// Scrub writes the WAL into the database and cuts it to nothing, so that what
// was deleted is not in it any more; in the database SQLite overwrites it
// (secure_delete). It fails while a reader holds on to what was.
func (s *Store) Scrub(ctx context.Context) error {
	if s.lock == nil {
		return sqlstore.ErrReadOnly
	}
	db, err := sql.Open("sqlite", dsn(filepath.Join(filepath.Dir(s.lock.Name()), dataFile), pragmasWrite))
	if err != nil {
		return fmt.Errorf("scrubbing the WAL: %w", err)
	}
	db.SetMaxOpenConns(1)
	var busy, pages, moved int64
	err = db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	if err == nil && busy != 0 {
		err = errors.New("a reader holds on to it")
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("scrubbing the WAL: %w", err)
	}
	return nil
}
