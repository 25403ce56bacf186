package live

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// Of very many grants that end together all have ended before anything is done
// about the first: who has the last of them waits for no other.
//
// Invariant: A5
// Attack: TOK-08
func TestEndAllEndsAllAtOnce(t *testing.T) {
	const n = Tombstones + 2*markTogether // some are forgotten in the course of it
	x := New(func() time.Time { return epoch })
	defer x.Close()
	for i := range n {
		x.Put(grant(fmt.Sprint("grt_", i)), epoch.Add(time.Hour))
	}
	other := grant("grt_other")
	other.Principal = "user:other"
	x.Put(other, epoch.Add(time.Hour))
	x.End("grt_5", epoch, ReasonReturned)
	var told, early atomic.Int64
	watched := []*Grant{}
	for i := 0; i < n; i += 1000 {
		g, _ := x.Grant(fmt.Sprint("grt_", i))
		watched = append(watched, g)
	}
	for _, g := range watched {
		defer x.Watch(g.ID, func(string) {
			told.Add(1)
			for _, g := range watched {
				if x.LiveAt(g, epoch) {
					early.Add(1)
				}
			}
		})()
	}
	mine := grant("").Principal
	if got := x.EndAll(func(principal, _ string) (string, bool) { return ReasonRevoked, principal == mine }, epoch); got != n-1 {
		t.Errorf("%d ended, want %d", got, n-1)
	}
	for deadline := time.Now().Add(10 * time.Second); told.Load() < int64(len(watched)) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if int(told.Load()) != len(watched) || early.Load() != 0 {
		t.Errorf("%d of %d watchers were told, with %d grants still live", told.Load(), len(watched), early.Load())
	}
	if g, _ := x.Grant("grt_other"); !x.LiveAt(g, epoch) {
		t.Error("the grant of somebody else has ended")
	}
	if live, _ := x.Len(); live != 1 || x.held.heads.n != 1 || len(x.dead) != Tombstones {
		t.Errorf("%d are counted as live, %d lists, %d tombstones", live, x.held.heads.n, len(x.dead))
	}
	if got := x.EndAll(func(principal, _ string) (string, bool) { return ReasonRevoked, principal == mine }, epoch); got != 0 {
		t.Errorf("%d ended twice", got)
	}
}
