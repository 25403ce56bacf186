package broker_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// together is how many grants end in one instant: DAYPASS_SWEEP, or what a
// test run has time for. `make bench` does a million.
func together(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("DAYPASS_SWEEP"))
	if err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return 600
	}
	return 2000
}

// Very many grants end in the same instant: not one of them a millisecond
// early or late, whether or not anything has been written yet; then the ends
// are written in bounded commits, between which others come to their turn,
// each once.
//
// Invariant: A1, A2
// Attack: RES-10
func TestVeryManyGrantsEndTogether(t *testing.T) {
	n := together(t)
	inWorld(t, func(w *world) {
		ctx := context.Background()
		ends := time.Now().Add(5 * time.Minute)
		grants := w.grantTogether(n, ends)
		var hashes []live.Hash
		for i := 0; i < n; i += max(1, n/100) {
			hash, err := credential.ParseToken(credential.GrantToken, w.token("user:ana", grants[i]))
			must(t, err)
			hashes = append(hashes, live.Hash(hash))
		}
		for _, c := range []struct {
			at   time.Duration
			want live.State
		}{{-time.Millisecond, live.Live}, {0, live.Ended}, {time.Millisecond, live.Ended}} {
			time.Sleep(time.Until(ends.Add(c.at)))
			for i, h := range hashes {
				if got := w.index.Check(h).State; got != c.want {
					t.Fatalf("%v from the end, grant %d is %v", c.at, i, got)
				}
			}
		}
		commits, asked := 0, 0
		w.broken.update = func(class sqlstore.Class) error {
			if class == sqlstore.Ends {
				commits++
			}
			return nil
		}
		for range max(1, n/1000) { // others, before and after each of Due's commits
			if _, err := w.submit("user:ana", "read", time.Minute); err != nil {
				t.Fatal(err)
			}
			asked++
		}
		w.due()
		w.broken.update = nil
		if commits < n/500 {
			t.Errorf("%d ends were written in %d commits: one of them held up everybody else", n, commits)
		}
		if left, _ := w.index.Len(); left != asked {
			t.Errorf("%d grants are left in the index, want %d", left, asked)
		}
		ended := map[string]int{}
		for _, e := range w.entries("grant.ended") {
			ended[*e.Grant]++
		}
		for _, id := range grants {
			if ended[id] != 1 {
				t.Fatalf("the end of %s is on record %d times", id, ended[id])
			}
		}
		if next, err := w.Due(ctx); err != nil || next.Before(time.Now()) {
			t.Errorf("what is due next: %v, %v", next, err)
		}
	})
}

// grantTogether makes n grants that end at the same instant.
func (w *world) grantTogether(n int, ends time.Time) []string {
	w.t.Helper()
	starts := ends.Add(-2 * time.Minute)
	grants := make([]string, n)
	var group sync.WaitGroup
	for worker := range 16 {
		group.Go(func() {
			for i := worker; i < n; i += 16 {
				v, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "read", Duration: 2 * time.Minute, StartAt: &starts, Reason: fmt.Sprint("number ", i)}, nil)
				if err != nil {
					w.t.Error(err)
					return
				}
				grants[i] = v.Grant.ID
			}
		})
	}
	group.Wait()
	time.Sleep(time.Until(starts))
	w.due() // all begin
	return grants
}
