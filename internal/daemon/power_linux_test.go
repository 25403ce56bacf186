package daemon_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/baddisk"
)

// long reports whether the long runs are asked for: make faults.
func long() bool { return os.Getenv("DAYPASS_FAULTS") != "" }

// seed is where the random choices of a test begin: SEED repeats those of an
// earlier run. It is printed when the test fails.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED: %v", err)
		}
	}
	t.Logf("SEED=%d", n)
	return rand.New(rand.NewPCG(n, 1))
}

// onDisk makes a server whose data folder is a disk of its own.
func onDisk(t *testing.T, size int64) (*server, *baddisk.Disk) {
	t.Helper()
	s := files(t)
	d := baddisk.New(t, size)
	s.data = d.Dir
	s.configure("")
	t.Cleanup(s.kill) // before the disk is taken away
	return s, d
}

// TestPowerLoss takes the power away in the middle of writes and syncs, under
// load, while it starts, and soon after. What was not synced is lost, or torn.
// Nothing that was acknowledged is.
//
// Invariant: A2, A20, A30, A34
func TestPowerLoss(t *testing.T) {
	rounds, fresh := 10, 10
	if long() {
		rounds = 200
	}
	rnd := seed(t)
	for done := 0; done < rounds; done += fresh {
		t.Run(fmt.Sprint(done), func(t *testing.T) { powerLoss(t, rnd, min(fresh, rounds-done)) })
	}
}

func powerLoss(t *testing.T, rnd *rand.Rand, rounds int) {
	s, d := onDisk(t, 64<<20)
	k := newAcked()
	for round := range rounds {
		starting := round%5 == 4 // the power goes while it starts
		if !starting {
			s.start()
		}
		dark := d.CutAt(1+rnd.IntN([]int{60, 600, 3000}[rnd.IntN(3)]), rnd.Uint64())
		var load sync.WaitGroup
		if starting {
			s.launch()
			select {
			case <-dark:
			case <-time.After(patience):
				d.Cut(rnd.Uint64()) // it needed fewer steps than that
			}
		} else {
			for i := range 3 {
				load.Go(func() { s.approvals(k, i) })
				load.Go(func() { s.usage(k, i) })
			}
			load.Go(func() { s.rotation(k) })
			select {
			case <-dark:
			case <-s.exited:
				t.Fatalf("round %d: it ended by itself with %d:\n%s", round, s.code, s.log)
			case <-time.After(patience):
				t.Fatalf("round %d: %d steps in %v", round, d.Steps(), patience)
			}
		}
		d.PowerOn(func(release func()) {
			_ = s.cmd.Process.Kill()
			release()
			<-s.exited
		})
		load.Wait()
		s.start()
		s.verify()
		s.check(t, k)
		s.recorded(t, k)
		s.kill()
		if t.Failed() {
			t.Fatalf("round %d of this disk:\n%s", round, d.List())
		}
	}
	k.note(func() {
		t.Logf("%d requests, %d grants, %d credentials, %d API tokens", len(k.states), len(k.grants), len(k.secrets), len(k.tokens))
		if len(k.grants) < rounds/4 {
			t.Error("that was no load")
		}
	})
}
