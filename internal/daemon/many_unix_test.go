//go:build unix

package daemon_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// TestRevokeVeryMany revokes everything of one person, who has far more grants
// than one commit ends and many live connections. The first denial comes at
// once, all follow, the connections are cut, the process is killed while it
// still writes that down, and nothing comes back to life.
//
// Invariant: A2, A4, A5, A20, A34
// Attack: TOK-08
func TestRevokeVeryMany(t *testing.T) {
	grants, sessions := 1500, 60
	if long() {
		grants, sessions = 100_000, 2000
	}
	raiseTo(t, uint64(4*sessions+2000))
	s := serve(t)
	crowd := crowded(s)
	other, lasting := s.pass(time.Hour)
	tokens := make([]string, 200)
	ids := make([]string, grants)
	began := time.Now()
	var made atomic.Int64
	var load sync.WaitGroup
	for range 16 {
		load.Go(func() {
			for {
				i := int(made.Add(1)) - 1
				if i >= grants {
					return
				}
				r := crowd.granted("user:ana", "open-api", "all", time.Hour)
				ids[i] = r.Grant.ID
				if i < len(tokens) {
					tokens[i] = crowd.token("user:ana", r)
				}
			}
		})
	}
	load.Wait()
	t.Logf("%d grants in %v", grants, time.Since(began).Round(time.Millisecond))
	var open []*flowing
	for i := range sessions {
		conn, err := dialFrom(i, s.gate) // one address may hold only so many
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s.flow(conn, tokens[i%len(tokens)], "idle"))
	}

	var sent, first atomic.Int64 // Unix nanoseconds
	stop := make(chan struct{})
	load.Go(func() { // somebody watches for the first denial
		for first.Load() == 0 {
			select {
			case <-stop:
				return
			default:
			}
			if a, err := crowd.tryThrough(tokens[0], "GET", "open-api", "/x"); err == nil && a.status == 401 {
				first.Store(time.Now().UnixNano())
			}
		}
	})
	began = time.Now()
	sent.Store(began.UnixNano())
	out := decode[api.Revocation](s.call("user:ada", "POST", "/v1/revocations", m{"principal": "user:ana", "reason": "left"}).is(200))
	answered := time.Since(began)
	if out.Count != grants || len(out.Grants) == 0 {
		t.Errorf("%d ended, %d are listed, want %d", out.Count, len(out.Grants), grants)
	}
	// From the answer on, all are off, wherever one looks.
	for _, i := range []int{0, grants / 2} { // few: the kill is to come before all is written down
		g := decode[api.Grant](s.call("user:ana", "GET", "/v1/grants/"+ids[i], nil).is(200))
		if g.State != "ended" || *g.EndedReason != "revoked" {
			t.Errorf("grant %d is %s", i, g.State)
		}
		s.call("user:ana", "POST", "/v1/grants/"+ids[i]+"/credentials", nil).is(409)
	}
	var cut time.Duration
	for _, f := range open {
		cut = max(cut, f.over(t).Sub(began))
	}
	close(stop)
	load.Wait()
	denied := time.Duration(first.Load() - sent.Load())
	t.Logf("revoked: the first denial after %v, the answer after %v, the last of %d connections cut after %v", denied.Round(time.Millisecond), answered.Round(time.Millisecond), sessions, cut.Round(time.Millisecond))
	if answered > 5*time.Second || denied > 5*time.Second || cut > 10*time.Second {
		t.Error("that is later than it may be")
	}
	// What is granted afterwards is no part of it.
	again := s.granted("user:ana", "open-api", "all", time.Hour)
	fresh := s.token("user:ana", again)
	s.through(fresh, "GET", "open-api", "/x").is(200)

	s.kill()
	if ended := s.ends(t); ended == grants {
		t.Logf("all was written down before the kill: that says little")
	} else {
		t.Logf("killed when %d of %d ends were written down", ended, grants)
	}
	s.start()
	for _, token := range tokens {
		s.through(token, "GET", "open-api", "/x").is(401)
	}
	s.through(fresh, "GET", "open-api", "/x").is(200)
	s.through(lasting, "GET", "open-api", "/x").is(200)
	swept := time.Now()
	for deadline := time.Now().Add(patience + time.Duration(grants)*5*time.Millisecond); s.ends(t) < grants; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d ends are written down", s.ends(t), grants)
		}
	}
	t.Logf("the rest was written down %v after the start", time.Since(swept).Round(time.Millisecond))
	if g := decode[api.Grant](s.call("user:ada", "GET", "/v1/grants/"+other.Grant.ID, nil).is(200)); g.State != "active" {
		t.Errorf("the grant of somebody else is %s", g.State)
	}
	if g := decode[api.Grant](s.call("user:ana", "GET", "/v1/grants/"+again.Grant.ID, nil).is(200)); g.State != "active" {
		t.Errorf("the grant of afterwards is %s", g.State)
	}
	if n := len(s.events("&type=grants.revoked")); n != 1 {
		t.Errorf("the revocation is recorded %d times", n)
	}
	s.verify()
}
