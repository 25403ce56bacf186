package daemon_test

import (
	"sync"
	"testing"
	"time"
)

// TestTermUnderLoad ends the server with SIGTERM again and again while it is
// used. Each time it ends with 0, nothing new is let in after the signal, open
// connections end with their grants, and nothing that was acknowledged, nor an
// entry, is lost.
//
// Invariant: A4, A20, A30, A34
func TestTermUnderLoad(t *testing.T) {
	rounds := 3
	if long() {
		rounds = 50
	}
	rnd := seed(t)
	s := files(t)
	k := newAcked()
	opened := 0
	for round := range rounds {
		s.start()
		before := len(s.events("&type=audit.possible_gap"))
		r, token := s.pass(3 * time.Second)
		_, lasting := s.pass(time.Hour)
		var streams []*flowing
		for _, what := range []string{"stream", "idle", "echo"} {
			streams = append(streams, s.connect(token, what))
		}
		var load sync.WaitGroup
		var allowed int // requests that the gateway let through
		for i := range 3 {
			load.Go(func() { s.approvals(k, i) })
		}
		load.Go(func() { s.rotation(k) })
		load.Go(func() {
			for {
				a, err := s.tryThrough(lasting, "GET", "open-api", "/counted")
				if err != nil {
					return
				}
				if a.status == 200 {
					allowed++
				}
			}
		})
		time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
		ended := make(chan int)
		go func() { ended <- s.term() }()
		end := r.Grant.ExpiresAt.Time
		for _, f := range streams {
			if late := f.over(t).Sub(end); late > cutBound {
				t.Errorf("round %d: %s was cut %v after its end", round, f.what, late)
			}
		}
		load.Wait()
		if code := <-ended; code != 0 {
			t.Fatalf("round %d: it ended with %d", round, code)
		}
		opened += allowed
		s.verify("--checkpoint", s.path("data/checkpoint.note"))
		s.start()
		s.check(t, k)
		s.recorded(t, k)
		if got := len(s.events("&type=access.allowed&resource=open-api&principal=user:cy")); got < opened {
			t.Errorf("round %d: %d requests were let through, %d are on record", round, opened, got)
		}
		if gaps := len(s.events("&type=audit.possible_gap")); gaps != before {
			t.Errorf("round %d: a possible gap is on record after a clean end", round)
		}
		if code := s.term(); code != 0 || t.Failed() {
			t.Fatalf("round %d: idle, it ended with %d", round, code)
		}
	}
	t.Logf("%d rounds, %d requests, %d let through", rounds, len(k.states), opened)
}
