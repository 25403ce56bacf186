//go:build unix

package cli

import (
	"fmt"
	"io"
	"os"
	"os/exec"
)

// passSecret lets a child read text from a pipe, as the file that source
// names: it is on no disk and on no command line. Call started once the child
// runs, and cleanup in any case.
func passSecret(cmd *exec.Cmd, text string) (source string, started, cleanup func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	cmd.ExtraFiles = []*os.File{r}
	started = func() {
		_ = r.Close()
		// A child that does not read it is no failure of ours.
		_, _ = io.WriteString(w, text)
		_ = w.Close()
	}
	cleanup = func() {
		_ = r.Close()
		_ = w.Close()
	}
	return "/dev/fd/3", started, cleanup, nil
}
