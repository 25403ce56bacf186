//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// skewed builds the server with a clock that is ahead by what the environment
// says in seconds: Go reads the machine's clock without the C library, so that
// nothing from outside can. It is kept in the cache.
func (b *bench) skewed(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	root := strings.TrimSpace(string(out))
	source, err := os.ReadFile(filepath.Join(root, "src/time/time.go"))
	if err != nil {
		return "", err
	}
	now := []byte("func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n")
	if !bytes.Contains(source, now) {
		return "", errors.New("this Go release reads the clock in another way than the bench knows")
	}
	changed := bytes.Replace(source, now, append(bytes.Clone(now), "\tsec += skewed\n"...), 1)
	more := []byte("package time\n\nimport \"syscall\"\n\nvar skewed = func() (n int64) {\n\ttext, _ := syscall.Getenv(\"" + skewVariable + "\")\n\tfor _, c := range []byte(text) {\n\t\tn = n*10 + int64(c-'0')\n\t}\n\treturn n\n}()\n")
	replace := map[string]string{}
	for name, content := range map[string][]byte{"time.go": changed, "zz_skew.go": more} {
		file := filepath.Join(b.cache, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, "src/time", name)] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file, program := filepath.Join(b.cache, "overlay.json"), filepath.Join(b.work, "daypass-skewed")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	return program, command(ctx, "go", "build", "-overlay", file, "-o", program, "github.com/daypass/daypass/cmd/daypass")
}

const skewVariable = "BENCH_CLOCK_AHEAD"

// datasync is what SQLite calls at a commit.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// ahead is by how many seconds a clock must be ahead to show at in that time.
func ahead(at time.Time, in time.Duration) int64 {
	return int64(time.Until(at).Seconds() - in.Seconds())
}
