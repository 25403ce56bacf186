package daemon_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// life is one client that asks, votes, gets a credential and revokes, again
// and again, until something is not done or times are over. It returns how many
// calls were acknowledged.
func (s *server) life(k *acked, times int, heard func()) (done int) {
	step := func(status int, who, method, path string, body any) (answer, bool) {
		a, err := s.try(who, method, path, body)
		if err != nil || a.status != status {
			return a, false
		}
		heard()
		done++
		return a, true
	}
	for range times {
		a, ok := step(202, "user:ana", "POST", "/v1/requests", ask("two-api", "all", time.Hour))
		if !ok {
			return done
		}
		r := a.request()
		k.request(r)
		for _, by := range []string{"user:bo", "user:dan"} {
			if a, ok = step(200, by, "POST", "/v1/requests/"+r.ID+"/reviews", m{"decision": "approve", "content_hash": r.ContentHash}); !ok {
				return done
			}
			r = a.request()
			k.note(func() { k.votes[r.ID] = append(k.votes[r.ID], by) })
			k.request(r)
		}
		if _, ok = step(201, "user:ana", "POST", "/v1/grants/"+r.Grant.ID+"/credentials", nil); !ok {
			return done
		}
		if _, ok = step(200, "user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil); !ok {
			return done
		}
		k.note(func() { k.grants[r.Grant.ID] = "ended" })
	}
	return done
}

// TestFailedSync: one sync fails with EIO, all others succeed, and what should
// have been synced is gone after the next power cut. From that instant nothing
// is acknowledged, the process ends by itself, and after a restart everything
// that was acknowledged is there.
//
// Invariant: A20, A34
func TestFailedSync(t *testing.T) {
	t.Parallel()
	const lives = 4
	_, all := failedSync(t, 0, lives)
	t.Logf("start and %d lives sync %d times", lives, all)
	hit := 0
	var slowest time.Duration
	for n := 1; n <= all; n++ {
		if !long() && n%max(1, all/8) != 0 {
			continue
		}
		took, _ := failedSync(t, n, lives)
		if took > 0 {
			hit++
			slowest = max(slowest, took)
		}
	}
	t.Logf("%d failed syncs of the store; it ended within %v", hit, slowest)
	if hit < 4 {
		t.Errorf("only %d syncs of the store failed", hit)
	}
}

// failedSync has the n-th sync fail, and returns how long the process lived on
// where that was one of the store's, and how many syncs there were.
func failedSync(t *testing.T, n, lives int) (took time.Duration, syncs int) {
	t.Helper()
	s, d := onDisk(t, 64<<20)
	var failed atomic.Pointer[time.Time]
	var name atomic.Pointer[string]
	d.OnSync(func(i int, file string) error {
		if i != n {
			return nil
		}
		now := time.Now()
		name.Store(&file)
		failed.Store(&now)
		return syscall.EIO
	})
	s.launch()
	soon(t, "it serves or ends", func() bool { return serving.MatchString(s.log.String()) || s.exitedNow() })
	k := newAcked()
	if !s.exitedNow() {
		s.await()
		s.life(k, lives, func() {
			if at := failed.Load(); at != nil && strings.HasPrefix(*name.Load(), "daypass.db") {
				// The WAL is moved into the database after the answer, so that
				// an answer may be on its way while that fails; the next is not.
				if late := time.Since(*at); late > time.Second {
					t.Errorf("sync %d (%s) failed, and %v later something was acknowledged", n, *name.Load(), late)
				}
			}
		})
	}
	syncs = d.Syncs()
	if n == 0 {
		s.kill()
		return 0, syncs
	}
	if failed.Load() == nil {
		s.kill()
		return 0, syncs // this run needed fewer
	}
	of := *name.Load()
	store := strings.HasPrefix(of, "daypass.db")
	if store {
		select {
		case <-s.exited:
		case <-time.After(patience):
			t.Fatalf("sync %d (%s) failed and it lives on:\n%s", n, of, s.log)
		}
		took = time.Since(*failed.Load())
		if s.code == 0 {
			t.Errorf("sync %d (%s) failed and it ended with 0", n, of)
		}
	}
	t.Logf("sync %d was of %q", n, of)
	d.Cut(uint64(n))
	d.PowerOn(func(release func()) {
		_ = s.cmd.Process.Kill()
		release()
		<-s.exited
	})
	s.start()
	s.verify()
	s.check(t, k)
	s.recorded(t, k)
	s.kill()
	return took, syncs
}

// TestSlowSync: each sync takes two seconds. What is granted is checked as
// quickly as ever and revocations go through; of a flood of requests those that
// the disk cannot take are refused, and nobody is held.
//
// Invariant: A1, A37, A38
// Attack: RES-03
func TestSlowSync(t *testing.T) {
	s, d := onDisk(t, 64<<20)
	s.start()
	_, token := s.pass(time.Hour)
	s.through(token, "GET", "open-api", "/x").is(200)
	var doomed []string
	for range 3 {
		r, _ := s.pass(time.Hour)
		doomed = append(doomed, r.Grant.ID)
	}
	d.OnSync(func(int, string) error { time.Sleep(2 * time.Second); return nil })
	defer d.OnSync(nil)

	stop := make(chan struct{})
	var load sync.WaitGroup
	var checks, votes []time.Duration
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			began := time.Now()
			s.through(token, "GET", "open-api", "/x").is(200)
			checks = append(checks, time.Since(began))
		}
	})
	var mu sync.Mutex
	var refused, taken int
	// One alone is taken, however little of the flood a busy machine gets to the
	// disk in time.
	s.call("user:cy", "POST", "/v1/requests", ask("open-api", "all", time.Minute)).is(201)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 2000}}
	crowd := *s
	crowd.http = client
	for range 1200 {
		load.Go(func() {
			for range 2 {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				a, err := crowd.try("user:cy", "POST", "/v1/requests", ask("open-api", "all", time.Minute))
				took := time.Since(began)
				mu.Lock()
				votes = append(votes, took)
				switch {
				case err != nil:
					t.Error(err)
				case a.status == 201:
					taken++
				case a.status == 503 && a.header.Get("Retry-After") != "":
					refused++
				default:
					t.Errorf("%d %v %s", a.status, a.header, a.body)
				}
				mu.Unlock()
			}
		})
	}
	time.Sleep(time.Second)
	var ends []time.Duration
	for _, id := range doomed {
		began := time.Now()
		s.call("user:ada", "POST", "/v1/grants/"+id+"/revoke", nil).is(200)
		ends = append(ends, time.Since(began))
	}
	close(stop)
	load.Wait()
	d.OnSync(nil)
	t.Logf("checks %s; new requests %s, %d taken, %d refused; revocations %s", spread(checks), spread(votes), taken, refused, spread(ends))
	if refused == 0 {
		t.Errorf("%d were taken and none refused: that says nothing", taken)
	}
	if q := quantile(checks, 99); q > time.Second {
		t.Errorf("p99 of the checks is %v", q)
	}
	if slowest := slices.Max(votes); slowest > patience {
		t.Errorf("somebody was held for %v", slowest)
	}
	s.verify()
}

// TestFullForTheCheckpoint: the file that holds the newest checkpoint cannot be
// written. That is said, everything else goes on, and the file is made good
// when there is room again.
//
// Attack: AUD-04
func TestFullForTheCheckpoint(t *testing.T) {
	t.Parallel()
	s, d := onDisk(t, 64<<20)
	s.start()
	d.OnMake(func(name string) error {
		if strings.Contains(name, "checkpoint.note") {
			return syscall.ENOSPC
		}
		return nil
	})
	r, token := s.pass(time.Hour)
	soon(t, "it says so", func() bool {
		return strings.Contains(s.log.String(), "the checkpoint could not be put beside the store")
	})
	s.call("", "GET", "/readyz", nil).is(200)
	s.through(token, "GET", "open-api", "/x").is(200)
	s.call("user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil).is(200)
	before, _ := os.ReadFile(filepath.Join(d.Dir, "checkpoint.note")) // none is an answer too
	d.OnMake(nil)
	soon(t, "the file is written again", func() bool {
		now, err := os.ReadFile(filepath.Join(d.Dir, "checkpoint.note"))
		return err == nil && string(now) != string(before)
	})
	s.verify()
}

// quantile is the q-th of a hundred.
func quantile(of []time.Duration, q int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	of = slices.Sorted(slices.Values(of))
	return of[min(len(of)-1, len(of)*q/100)]
}

// spread says how long things took.
func spread(of []time.Duration) string {
	r := func(q int) time.Duration { return quantile(of, q).Round(time.Millisecond) }
	return fmt.Sprintf("%d: p50 %v, p99 %v, max %v", len(of), r(50), r(99), r(100))
}
