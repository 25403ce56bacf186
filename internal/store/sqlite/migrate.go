package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/daypass/daypass/internal/failpoint"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNewerSchema says that a later version of Daypass has written the store.
var ErrNewerSchema = errors.New("the store was written by a newer version of daypass: use that one, or restore a backup made before the upgrade")

const versionTable = "schema_version"

func provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
}

// migrate brings the schema up to date.
func migrate(ctx context.Context, db *sql.DB) error {
	p, err := provider(db)
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	have, err := version(ctx, db)
	if err != nil {
		return err
	}
	switch latest := latest(p); {
	case have == latest:
		return nil
	case have > latest:
		return fmt.Errorf("schema %d, this version knows up to %d: %w", have, latest, ErrNewerSchema)
	}
	if err := makeVersionTable(ctx, db); err != nil {
		return fmt.Errorf("migrating the schema: %w", err)
	}
	for {
		failpoint.Hit("sqlite.migrate.before")
		_, err := p.UpByOne(ctx)
		failpoint.Hit("sqlite.migrate.after")
		switch {
		case errors.Is(err, goose.ErrNoNextVersion):
			return nil
		case err != nil:
			return fmt.Errorf("migrating the schema: %w", err)
		}
	}
}

// makeVersionTable makes goose's table as goose would, but once: goose tries
// again for some seconds when that fails, also after a failed sync, which no
// later success makes up for.
func makeVersionTable(ctx context.Context, db *sql.DB) error {
	table, err := database.NewStore(goose.DialectSQLite3, versionTable)
	if err != nil {
		return err
	}
	var n int64
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = '"+versionTable+"'").Scan(&n); err != nil || n > 0 {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(table.CreateVersionTable(ctx, tx), table.Insert(ctx, tx, database.InsertRequest{Version: 0})); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// known refuses, without writing, a schema that is not the one this binary
// knows.
func known(ctx context.Context, db *sql.DB) error {
	p, err := provider(db)
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	have, err := version(ctx, db)
	if err != nil {
		return err
	}
	switch latest := latest(p); {
	case have > latest:
		return fmt.Errorf("schema %d, this version knows up to %d: %w", have, latest, ErrNewerSchema)
	case have < latest:
		return fmt.Errorf("schema %d is older than %d: start the server once to upgrade it", have, latest)
	}
	return nil
}

// version is the number of the last migration that was applied; 0 for none. It
// asks the table itself, because goose would create it.
func version(ctx context.Context, db *sql.DB) (int64, error) {
	var n int64
	err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = '"+versionTable+"'").Scan(&n)
	if err == nil && n > 0 {
		err = db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM "+versionTable+" WHERE is_applied = 1").Scan(&n)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the schema's version: %w", err)
	}
	return n, nil
}

func latest(p *goose.Provider) (n int64) {
	for _, source := range p.ListSources() {
		n = max(n, source.Version)
	}
	return n
}
