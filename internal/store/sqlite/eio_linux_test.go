package sqlite

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// One fsync fails, all later ones succeed: SQLite would go on, the store must
// not. One client writes, so nothing may be acknowledged after the fault.
//
// Invariant: A20, A34
func TestNothingIsAcknowledgedAfterAFailedSync(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("this test makes fsync fail with strace, which is missing (make setup installs it): %v", err)
	}
	// strace counts the calls of each thread by itself: N is a fault somewhere.
	total := 0
	for _, n := range []int{1, 2, 3, 5, 8, 13, 40, 250} {
		dir := t.TempDir()
		s, err := Open(t.Context(), dir, testKeys(t).options())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		log := filepath.Join(t.TempDir(), "strace.log")
		c := startChild(t, dir, "n", 1, strace, "-f", "-qq", "-y", "-o", log, "-e", "trace=fsync,fdatasync,write",
			"-e", "inject=fsync,fdatasync:error=EIO:when="+strconv.Itoa(n))
		acked, code := c.wait(t)
		calls, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		faults, late, heard := 0, 0, 0
		for line := range strings.Lines(string(calls)) {
			switch {
			case strings.Contains(line, "(INJECTED)") && strings.Contains(line, dataFile):
				faults++ // else of the folder, which SQLite ignores: Open has synced that itself
			case strings.Contains(line, `"ack `) && faults > 0:
				late++
			case strings.Contains(line, `"ack `):
				heard++
			}
		}
		if faults == 0 && code != exitError {
			t.Fatalf("N=%d: no fault happened: is ptrace allowed here? The child ended with %d after %d acknowledgements", n, code, len(acked))
		}
		if late > 0 {
			t.Errorf("N=%d: %d acknowledgements after the fault:\n%s", n, late, calls)
		}
		if heard != len(acked) {
			t.Errorf("N=%d: %d acknowledgements in the trace, %d were heard: the trace does not say the order", n, heard, len(acked))
		}
		total += faults
		if code != exitFailed && !(code == exitError && len(acked) == 0) {
			t.Errorf("N=%d: the child ended with %d after %d acknowledgements", n, code, len(acked))
		}
		s, err = Open(t.Context(), dir, testKeys(t).options())
		if err != nil {
			t.Fatalf("N=%d: opening afterwards: %v", n, err)
		}
		there := checkWhole(t, s, acked)
		t.Logf("N=%d: exit %d, %d acknowledged, %d there", n, code, len(acked), len(there))
		if _, err := s.VerifyAudit(t.Context(), audit.VerifierOptions{Keys: []string{testKeys(t).vkey}}); err != nil {
			t.Fatalf("N=%d: %v", n, err)
		}
		if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error { return writeWhole(tx, "after_1") }); err != nil {
			t.Errorf("N=%d: after a restart nothing can be written: %v", n, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if total < 4 {
		t.Errorf("only %d faults hit the database or its WAL", total)
	}
}
