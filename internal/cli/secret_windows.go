package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// passSecret lets a child read text from a file in a new folder of ours, which
// only this user can read. Call started once the child runs, and cleanup in
// any case: it removes the file.
func passSecret(_ *exec.Cmd, text string) (source string, started, cleanup func(), err error) {
	dir, err := os.MkdirTemp("", "daypass-")
	if err != nil {
		return "", nil, nil, fmt.Errorf("making a folder: %w", err)
	}
	cleanup = func() { _ = os.RemoveAll(dir) }
	path := filepath.Join(dir, "config")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		cleanup()
		return "", nil, nil, fmt.Errorf("writing the file for the client: %w", err)
	}
	return path, func() {}, cleanup, nil
}
