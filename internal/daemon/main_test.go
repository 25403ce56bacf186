package daemon_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
)

// program is the server's binary, as it is released.
var program string

// TestMain builds the binary that every test here drives from outside: by its
// API, its gateway, its files, its exit codes and signals.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "daypass-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "daypass")
	if err := build(program); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return pgtest.Main(m)
}

// build makes a binary as the Makefile does.
func build(to string, more ...string) error {
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.version=test"}, more...)
	cmd := exec.Command("go", append(args, "-o", to, "github.com/daypass/daypass/cmd/daypass")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the binary: %w: %s", err, out)
	}
	return nil
}
