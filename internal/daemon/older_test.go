package daemon_test

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A store that is older than the checkpoint beside it could hold as live what
// was revoked since: it is not served, and verification names what is missing.
//
// Invariant: A2, A31
// Attack: AUD-02
func TestAnOlderStore(t *testing.T) {
	s := files(t)
	s.start()
	r := s.granted("user:ana", "open-api", "docs", time.Hour)
	s.term()
	old := s.read("data/daypass.db")
	s.start()
	s.call("user:ana", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil).is(200)
	s.term()
	whole := s.read("data/daypass.db")
	if code, out := s.daypass("audit", "verify", "--data", s.path("data")); code != 0 {
		t.Fatalf("verify ended with %d: %s", code, out)
	}

	s.write("data/daypass.db", old)
	code, out := s.daypass("audit", "verify", "--data", s.path("data"))
	if code != 1 || !strings.Contains(out, "is missing") {
		t.Errorf("verify ended with %d: %s", code, out)
	}
	if out := s.refused(); !strings.Contains(out, "checkpoint.note") {
		t.Errorf("serve said %s", out)
	}
	s.write("data/daypass.db", whole)
	key := s.read("data/keys/audit.skey")
	if err := os.Remove(s.path("data/keys/audit.skey")); err != nil {
		t.Fatal(err)
	}
	if out := s.refused(); !strings.Contains(out, "another key") {
		t.Errorf("serve said %s", out)
	}
	s.write("data/keys/audit.skey", key)
	s.start()
	s.term()
}
