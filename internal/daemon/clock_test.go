//go:build unix

package daemon_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/daypass/daypass/api"
)

// skewedProgram is the same server with a clock that a file sets: Go reads the
// machine's clock without the C library, so that nothing from outside can.
var skewedProgram = sync.OnceValues(func() (string, error) {
	dir := filepath.Dir(program)
	// -overlay names files of the toolchain that builds.
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	goroot := strings.TrimSpace(string(out))
	source, err := os.ReadFile(filepath.Join(goroot, "src/time/time.go"))
	if err != nil {
		return "", err
	}
	now := []byte("func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n")
	changed := bytes.Replace(source, now, append(bytes.Clone(now), "\tsec += skewSeconds()\n"...), 1)
	files := map[string][]byte{"time.go": changed, "zz_skew.go": []byte(skewSource)}
	replace := map[string]string{}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(goroot, "src/time", name)] = filepath.Join(dir, name)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		return "", err
	}
	to := filepath.Join(dir, "daypass-skewed")
	return to, build(to, "-overlay", filepath.Join(dir, "overlay.json"))
})

// The clock is read where no system call may be made, so the file is mapped.
const skewSource = `package time

import (
	"syscall"
	"unsafe"
)

var skew = mapSkew()

func mapSkew() *int64 {
	path, ok := syscall.Getenv("CLOCK_SKEW_FILE")
	if !ok {
		return nil
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic("CLOCK_SKEW_FILE: " + err.Error())
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("CLOCK_SKEW_FILE: " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&b[0]))
}

func skewSeconds() int64 {
	if skew == nil {
		return 0
	}
	return *skew
}
`

// skewed is a server whose clock can be set.
func skewed(t *testing.T) *server {
	t.Helper()
	binary, err := skewedProgram()
	if err != nil {
		t.Fatal(err)
	}
	s := files(t)
	s.program, s.env = binary, []string{"CLOCK_SKEW_FILE=" + s.path("skew")}
	s.write("skew", strings.Repeat("\x00", 8))
	f, err := os.OpenFile(s.path("skew"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	s.skewed = mapped
	t.Cleanup(func() {
		s.kill()
		_ = syscall.Munmap(mapped)
	})
	s.skew(0)
	s.start()
	return s
}

// skew sets the server's clock this far from the machine's.
func (s *server) skew(d time.Duration) {
	atomic.StoreInt64((*int64)(unsafe.Pointer(&s.skewed[0])), int64(d/time.Second))
}

func (s *server) state(t *testing.T, r api.Request) string {
	t.Helper()
	return decode[api.Grant](s.call("user:ada", "GET", "/v1/grants/"+r.Grant.ID, nil).is(200)).State
}

// TestClockSetForward: what the clock once ended stays ended, whatever the
// clock shows afterwards, in this process and the next.
//
// Invariant: A1, A2
func TestClockSetForward(t *testing.T) {
	killed := func(s *server) {
		soon(t, "the mark is written", func() bool { return len(s.events("&type=grant.ended")) > 0 })
		s.kill()
	}
	for name, way := range map[string]struct {
		ahead   time.Duration
		restart func(*server)
	}{
		"an hour while it runs":       {time.Hour, func(*server) {}},
		"an hour and it is killed":    {time.Hour, killed},
		"ten years while it runs":     {10 * 365 * 24 * time.Hour, func(*server) {}},
		"ten years and it is killed":  {10 * 365 * 24 * time.Hour, killed},
		"half a minute while it runs": {30 * time.Second, func(*server) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := skewed(t)
			lives := 10 * time.Minute
			if way.ahead < time.Minute {
				lives = 20 * time.Second
			}
			r, token := s.pass(lives)
			f := s.connect(token, "stream")
			s.through(token, "GET", "open-api", "/x").is(200)
			s.skew(way.ahead)
			set := time.Now()
			s.through(token, "GET", "open-api", "/x").is(401)
			late := f.over(t).Sub(set)
			t.Logf("the stream was cut %v after the clock was set", late)
			if late > 2*time.Second {
				t.Errorf("the stream was cut %v after the clock was set", late)
			}
			way.restart(s)
			s.skew(0)
			back := time.Now()
			if s.exitedNow() {
				s.start()
				back = time.Now()
			}
			soon(t, "readiness says that the clock is behind", func() bool {
				a := s.call("", "GET", "/readyz", nil)
				return a.status == 503 && strings.Contains(string(a.body), "the clock is")
			})
			if late := time.Since(back); late > 2*time.Second {
				t.Errorf("readiness says so %v later", late)
			}
			s.call("user:cy", "POST", "/v1/requests", ask("open-api", "all", time.Minute)).is(503, "clock_skewed")
			for range 3 {
				s.through(token, "GET", "open-api", "/x").is(401)
				s.call("user:cy", "POST", "/v1/grants/"+r.Grant.ID+"/credentials", nil).is(409)
				time.Sleep(100 * time.Millisecond)
			}
			if state := s.state(t, r); state != "ended" {
				t.Errorf("the grant is %s", state)
			}
			s.verify()
		})
	}
}

// TestClockSetBack: a clock that is set back lengthens nothing.
//
// Invariant: A1, A2
// Attack: AUD-11
func TestClockSetBack(t *testing.T) {
	for name, back := range map[string]time.Duration{"an hour": -time.Hour, "half a minute": -30 * time.Second} {
		for way, restart := range map[string]bool{"while it runs": false, "during a restart": true} {
			t.Run(name+" "+way, func(t *testing.T) {
				t.Parallel()
				s := skewed(t)
				over, old := s.pass(time.Second)
				r, token := s.pass(5 * time.Second)
				end := r.Grant.ExpiresAt.Time
				soon(t, "the first is over", func() bool { return s.state(t, over) == "ended" })
				if restart {
					s.kill()
				}
				s.skew(back)
				if restart {
					s.start()
				}
				s.through(old, "GET", "open-api", "/x").is(401)
				if a := s.through(token, "GET", "open-api", "/x"); a.status != 200 && time.Now().Before(end.Add(-time.Second)) {
					t.Errorf("the clock set back ended a grant %v early", time.Until(end))
				}
				time.Sleep(time.Until(end))
				for range 3 {
					s.through(token, "GET", "open-api", "/x").is(401)
					s.call("user:cy", "POST", "/v1/grants/"+r.Grant.ID+"/credentials", nil).is(409)
					time.Sleep(50 * time.Millisecond)
				}
				soon(t, "it is recorded as ended", func() bool { return s.state(t, r) == "ended" })
				s.through(old, "GET", "open-api", "/x").is(401)
				s.signal(syscall.SIGTERM)
				<-s.exited
				s.skew(0)
				s.start()
				s.through(token, "GET", "open-api", "/x").is(401)
				s.through(old, "GET", "open-api", "/x").is(401)
				s.verify()
				last := time.Time{}
				for _, e := range s.events("") {
					if e.Time.Before(last) && !strings.HasPrefix(e.Type, "access.") && !strings.HasPrefix(e.Type, "session.") {
						t.Errorf("entry %d (%s) is of %v, after one of %v", e.Seq, e.Type, e.Time, last)
					}
					last = e.Time.Time
				}
			})
		}
	}
}
