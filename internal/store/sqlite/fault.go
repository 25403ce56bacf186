package sqlite

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"os"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/daypass/daypass/internal/store/sqlstore"
)

// fault returns what classifies the errors of SQLite (https://sqlite.org/rescode.html).
//
// After a failed write or fsync the kernel may have dropped the pages while
// SQLite, in the same process, goes on as if a later success made up for it.
// So no I/O error is ever tried again.
func fault(dir string) func(error) sqlstore.Fault {
	return func(err error) sqlstore.Fault {
		if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
			return sqlstore.Fatal
		}
		e, ok := errors.AsType[*sqlite.Error](err)
		if !ok {
			if errors.Is(err, syscall.ENOSPC) {
				return sqlstore.Full
			}
			return sqlstore.Ordinary
		}
		switch e.Code() & 0xff {
		case lib.SQLITE_FULL:
			return sqlstore.Full
		case lib.SQLITE_IOERR:
			// The one I/O error that SQLite gives for a full disk: the index of
			// the WAL could not grow. Nothing was written, nothing is unknown.
			if e.Code() == lib.SQLITE_IOERR_SHMSIZE {
				if free, ok := freeSpace(dir); ok && free < margin {
					return sqlstore.Full
				}
			}
			return sqlstore.Fatal
		case lib.SQLITE_CANTOPEN:
			// Nothing is wrong with the disk when this process may open nothing
			// more; what was begun is not kept.
			if noDescriptors() {
				return sqlstore.Lost
			}
			return sqlstore.Fatal
		case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_READONLY:
			return sqlstore.Fatal
		case lib.SQLITE_CONSTRAINT, lib.SQLITE_ERROR, lib.SQLITE_MISMATCH, lib.SQLITE_RANGE, lib.SQLITE_TOOBIG, lib.SQLITE_MISUSE:
			return sqlstore.Ordinary
		}
		// Out of memory, interrupted, busy … (https://sqlite.org/lang_transaction.html, section 3)
		return sqlstore.Lost
	}
}

func cannotOpen(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == lib.SQLITE_CANTOPEN || e.Code()&0xff == lib.SQLITE_READONLY)
}

// noDescriptors reports whether this process can open no file at all now.
func noDescriptors() bool {
	f, err := os.Open(os.DevNull)
	if err == nil {
		_ = f.Close() // it was only tried
	}
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
