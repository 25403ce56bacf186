package broker_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// benchWorld is a world in real time.
func benchWorld(b *testing.B) *world {
	b.Helper()
	w := &world{t: b, dir: b.TempDir()}
	w.start()
	w.apply(base)
	return w
}

// BenchmarkCycle is a request that policy approves and a credential of its
// grant, both durable, by so many clients at once.
func BenchmarkCycle(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			w := benchWorld(b)
			var n atomic.Int64
			var group sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range clients {
				group.Go(func() {
					for n.Add(1) <= int64(b.N) {
						v, err := w.submit("user:ana", "read", time.Minute)
						if err == nil {
							_, err = w.Issue(context.Background(), as("user:ana"), v.Grant.ID, "token", nil)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.StopTimer()
			w.stop()
		})
	}
}

// BenchmarkDue is the end of one of many grants that end together.
func BenchmarkDue(b *testing.B) {
	w := benchWorld(b)
	var group sync.WaitGroup
	ids := make(chan struct{}, b.N)
	for range b.N {
		ids <- struct{}{}
	}
	close(ids)
	for range 64 {
		group.Go(func() {
			for range ids {
				if _, err := w.submit("user:ana", "read", time.Second); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	time.Sleep(time.Second)
	b.ReportAllocs()
	b.ResetTimer()
	if _, err := w.Due(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	w.stop()
}
