package daemon_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// fill takes what space there is around path, to the last byte.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := 1 << 20; block > 0; block /= 2 {
		for {
			if _, err := f.Write(bytes.Repeat([]byte{'x'}, block)); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestFullDisk: what would write is refused with 503, what is granted is
// checked and ends, revocations work; with space again all of it works, without
// a restart.
//
// Invariant: A20, A38
// Attack: AUD-04, RES-03
func TestFullDisk(t *testing.T) {
	s := files(t)
	disk := filepath.Join(s.dir, "data")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=28m,mode=0700", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Fatalf("this test fills a small file system and must be allowed to mount one (run it as root): %v: %s", err, out)
	}
	t.Cleanup(func() {
		s.kill()
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("unmounting: %v: %s", err, out)
		}
	})
	s.start()
	one, token := s.pass(time.Hour)
	short, brief := s.pass(4 * time.Second)
	waiting := s.pending("user:cy", "two-api", "all", time.Hour)
	stream := s.connect(token, "stream")

	fill(t, filepath.Join(disk, "filler"))
	soon(t, "a request is refused", func() bool {
		a := s.call("user:cy", "POST", "/v1/requests", ask("open-api", "all", time.Minute))
		if a.status != 201 && a.status != 503 {
			t.Fatalf("on a full disk: %d %s", a.status, a.body)
		}
		return a.status == 503
	})
	a := s.call("user:cy", "POST", "/v1/requests", ask("open-api", "all", time.Minute)).is(503)
	if p := a.problem(); p.Detail == "" || a.header.Get("Retry-After") == "" {
		t.Errorf("%v %s", a.header, a.body)
	}
	s.call("user:cy", "POST", "/v1/grants/"+one.Grant.ID+"/credentials", nil).is(503)
	s.approve("user:bo", waiting).is(503)
	if ready := s.call("", "GET", "/readyz", nil); ready.status != 503 {
		t.Errorf("readiness on a full disk: %d %s", ready.status, ready.body)
	}
	s.call("user:cy", "GET", "/v1/grants", nil).is(200)
	// What expires ends.
	time.Sleep(time.Until(short.Grant.ExpiresAt.Time))
	s.through(brief, "GET", "open-api", "/x").is(401)
	// Revocation works, is on record, and cuts.
	began := time.Now()
	s.call("user:ada", "POST", "/v1/grants/"+one.Grant.ID+"/revoke", m{"reason": "disk"}).is(200)
	if late := stream.over(t).Sub(began); late > cutBound {
		t.Errorf("cut %v after the revocation", late)
	}
	s.through(token, "GET", "open-api", "/x").is(401)
	s.call("user:bo", "POST", "/v1/requests/"+waiting.ID+"/reviews", m{"decision": "deny", "content_hash": waiting.ContentHash, "comment": "no"}).is(200)

	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	soon(t, "it takes requests again", func() bool {
		return s.call("user:cy", "POST", "/v1/requests", ask("open-api", "all", time.Minute)).status == 201
	})
	soon(t, "it is ready again", func() bool { return s.call("", "GET", "/readyz", nil).status == 200 })
	if s.exitedNow() {
		t.Error("it did not live through it")
	}
	s.through(token, "GET", "open-api", "/x").is(401)
	s.verify()
	s.kill()
	s.start()
	s.through(token, "GET", "open-api", "/x").is(401)
	s.verify()
}
