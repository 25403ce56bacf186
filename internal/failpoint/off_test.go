//go:build !failpoint

package failpoint

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNothingIsLeft: a binary without the tag holds no name of a point, which
// it would if a call of one were compiled.
func TestNothingIsLeft(t *testing.T) {
	file := filepath.Join(t.TempDir(), "daypass")
	cmd := exec.Command("go", "build", "-o", file, "github.com/daypass/daypass/cmd/daypass")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(program, []byte("committing: %w")) {
		t.Fatal("this is not the program") // a string of the code around a point
	}
	for _, p := range Points {
		if bytes.Contains(program, []byte(p.Name)) {
			t.Errorf("the binary holds %q", p.Name)
		}
	}
	if bytes.Contains(program, []byte("DAYPASS_FAILPOINT")) || Enabled {
		t.Error("the binary looks for failpoints")
	}
	if n := testing.AllocsPerRun(100, func() { Hit("store.commit.after"); _ = Fail("store.commit.before") }); n != 0 {
		t.Errorf("a point costs %v allocations", n)
	}
}
