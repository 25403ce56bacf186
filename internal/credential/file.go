package credential

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/daypass/daypass/internal/failpoint"
)

// maxFile caps what is read from a key folder, in bytes.
const maxFile = 64 << 10

// tempPrefix begins the names of half-written files; a crash may leave one.
const tempPrefix = ".tmp-"

// ErrExposed is wrapped by the errors about a key file or folder that group or
// others may read or write. Daypass does not start then, and does not mend the
// mode itself: the key may have been read already.
var ErrExposed = errors.New("open to group or others")

// LoadOrCreateFile returns the content of the file name in dir. Where there is
// none it calls create and keeps what that returns, durably, before it returns
// it. The folder is made with mode 0700 and the file with 0600; either one
// more open than that is ErrExposed, and a symbolic link or an empty file is
// refused. Of two processes that create at once, both get the same content.
func LoadOrCreateFile(dir, name string, create func() ([]byte, error)) ([]byte, error) {
	if err := openDir(dir); err != nil {
		return nil, err
	}
	b, err := readPrivate(dir, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if b, err = create(); err != nil {
		return nil, fmt.Errorf("making key file %s: %w", name, err)
	}
	if len(b) == 0 || len(b) > maxFile {
		return nil, fmt.Errorf("making key file %s: content of %d bytes", name, len(b))
	}
	if err = writePrivate(dir, name, b, false); errors.Is(err, fs.ErrExist) {
		return readPrivate(dir, name) // another process was first: its key holds
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// openDir makes the folder at need and refuses one that others can enter.
func openDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making key folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("opening key folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("opening key folder: %s is no folder", dir)
	}
	return private(dir, info, 0o700)
}

// private refuses a file or folder with any permission for group or others.
// Windows keeps no such bits: there the folder's own access list counts.
func private(path string, info fs.FileInfo, want fs.FileMode) error {
	if runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return fmt.Errorf("%s has mode %04o, %w: think of its keys as read by them, then chmod %04o",
		path, info.Mode().Perm(), ErrExposed, want)
}

// readPrivate reads one file of a key folder.
func readPrivate(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("reading key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading key file: %s is no regular file", path)
	}
	if err := private(path, info, 0o600); err != nil {
		return nil, err
	}
	if info.Size() == 0 || info.Size() > maxFile {
		return nil, fmt.Errorf("reading key file: %s has %d bytes", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading key file: %w", err)
	}
	return b, nil
}

// writePrivate writes a file so that after a crash there is the whole of it or
// nothing: temporary file, fsync, then into place, fsync of the folder. Unless
// replace is set an existing file stays and the error is fs.ErrExist.
func writePrivate(dir, name string, content []byte, replace bool) (err error) {
	f, err := os.CreateTemp(dir, tempPrefix+"*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing key file: %w", err)
	}
	temp := f.Name()
	defer func() {
		if err != nil {
			_ = f.Close()
		}
		_ = os.Remove(temp) // gone already after a rename
	}()
	failpoint.Hit("keys.write.before")
	if _, err = f.Write(content); err != nil {
		return fmt.Errorf("writing key file: %w", err)
	}
	if err = f.Sync(); err != nil {
		return fmt.Errorf("syncing key file: %w", err)
	}
	if err = f.Close(); err != nil {
		return fmt.Errorf("closing key file: %w", err)
	}
	failpoint.Hit("keys.place.before")
	path := filepath.Join(dir, name)
	if replace {
		err = os.Rename(temp, path)
	} else if err = os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(temp, path) // a file system without hard links
	}
	if err != nil {
		return fmt.Errorf("placing key file: %w", err)
	}
	failpoint.Hit("keys.place.after")
	return syncDir(dir)
}

// removePrivate deletes a file durably; one that is not there is no error.
func removePrivate(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing key file: %w", err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing key folder: %w", err)
	}
	if err = errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing key folder: %w", err)
	}
	return nil
}

// removeTemps deletes what a crash left half-written.
func removeTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading key folder: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := removePrivate(dir, e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
