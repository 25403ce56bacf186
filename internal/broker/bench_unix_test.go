//go:build unix

package broker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
)

// BenchmarkStatements is what a statement of a session costs until it is on
// record, in processor time of all that takes part, with statements coming as
// fast as a gateway has them.
func BenchmarkStatements(b *testing.B) {
	w := benchWorld(b)
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := used()
	var group sync.WaitGroup
	const sessions, each = 8, 100
	for n := range sessions {
		group.Go(func() {
			for i := n; i < b.N; i += sessions {
				n := &struct {
					e audit.Entry
					s audit.Statement
				}{audit.Entry{
					Type: audit.SessionQuery, Actor: "user:ana", Request: "req_5zkmnbq3yx7f2tq4c6h2dwa7vi", Grant: "grt_5zkmnbq3yx7f2tq4c6h2dwa7vi", Session: fmt.Sprint("ses_5zkmnbq3yx7f2tq4c6h2dwa7v", n),
					Resource: "orders", Outcome: audit.Allowed, Source: audit.Source{IP: "127.0.0.1", Channel: "gateway:postgres"},
				}, audit.Statement{SQL: fmt.Sprint("SELECT abalance FROM pgbench_accounts WHERE aid = ", i, ";"), Tag: "SELECT 1", Rows: 1, Bytes: 15, Duration: time.Duration(i%300) * time.Microsecond}}
				n.e.Statement = &n.s
				if err := w.Record(context.Background(), &n.e, "user:ana", false); err != nil {
					b.Error(err)
					return
				}
				if i/sessions%each == each-1 {
					time.Sleep(each * sessions * time.Second / 20_000) // as many a second
				}
			}
		})
	}
	group.Wait()
	time.Sleep(100 * time.Millisecond) // the last batch
	b.ReportMetric(float64((used()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.StopTimer()
	w.stop()
	info, err := os.Stat(filepath.Join(w.dir, "data", "daypass.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/float64(b.N), "disk-B/op")
}
