package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const errSharingViolation = syscall.Errno(32) // ERROR_SHARING_VIOLATION

// lockDir takes dir for this process alone: a file opened without sharing
// cannot be opened again while it is open.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockFile)
	path, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, fmt.Errorf("locking the data folder: %w", err)
	}
	h, err := syscall.CreateFile(path, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharingViolation) {
		err = ErrInUse
	}
	if err != nil {
		return nil, fmt.Errorf("locking the data folder %s: %w", dir, err)
	}
	return os.NewFile(uintptr(h), name), nil
}

// refuseShared checks only that the file is there: who may read it is in the
// access list that it inherits from its folder, not in mode bits.
func refuseShared(name, _ string) error {
	if _, err := os.Stat(name); err != nil {
		return fmt.Errorf("looking at %s: %w", name, err)
	}
	return nil
}

// onlyOwnerWrites is not to be told from mode bits here.
func onlyOwnerWrites(string) bool { return false }

// syncDir has nothing to do: NTFS keeps names in its own journal.
func syncDir(string) error { return nil }
