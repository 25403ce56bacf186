package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/daypass/daypass/internal/failpoint"
)

// walPages is after how many pages of 4 KiB the WAL is moved into the database.
const walPages = 1000

// checkpoint moves the WAL into the database if it is time to. SQLite would do
// so by itself inside COMMIT, but it keeps the errors of that to itself, and a
// failed fsync is not to be kept quiet about; and whoever committed would wait.
func checkpoint(ctx context.Context, conn *sql.Conn, ask func(statement string, into ...any) error) error {
	var busy, pages, moved int64
	if err := ask("PRAGMA wal_checkpoint(NOOP)", &busy, &pages, &moved); err != nil {
		return fmt.Errorf("looking at the WAL: %w", err)
	}
	if pages-moved < walPages {
		return nil
	}
	failpoint.Hit("sqlite.wal.before")
	// PASSIVE waits for nobody: what a reader still needs stays for the next time.
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &pages, &moved); err != nil {
		return fmt.Errorf("moving the WAL into the database: %w", err)
	}
	failpoint.Hit("sqlite.wal.after")
	return nil
}
