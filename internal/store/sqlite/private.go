package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// makePrivate makes dir, or refuses one that others can look into. A folder
// that holds no store yet and that nobody else can have put anything into is
// made private first, so that a plain mkdir is enough.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	if !exists(filepath.Join(dir, dataFile)) && onlyOwnerWrites(dir) {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("making the data folder private: %w", err)
		}
	}
	if err := refuseShared(dir, "chmod 700"); err != nil {
		return err
	}
	for _, name := range []string{dataFile, dataFile + "-wal", dataFile + "-shm", reserveFile, lockFile, NewestFile} {
		if err := refuseShared(filepath.Join(dir, name), "chmod 600"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// createPrivate creates a file with mode 0600 unless it is there. SQLite gives
// its other files the mode of the database.
func createPrivate(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("creating %s: %w", file, err)
	}
	return f.Close()
}

// ErrInUse says that another server runs on the same data folder.
var ErrInUse = errors.New("another daypass server uses it: stop that one first, or give this one a data folder of its own")
