package sqlite

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// BenchmarkUpdate is one request with its audit entry, durable and with a
// signed head, by so many clients at once.
func BenchmarkUpdate(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			opts := testKeys(b).options()
			opts.Clock = func() clock.Mark { return clock.Mark{At: time.Now()} }
			s := mustOpen(b, b.TempDir(), opts)
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for range clients {
				all.Go(func() {
					for {
						n := next.Add(1)
						if n > int64(b.N) {
							return
						}
						id := fmt.Sprintf("%026d", n)
						err := s.Update(b.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error {
							r := entry(id)
							r.Entry.Request = "req_" + id
							if err := tx.PutRequest(&access.Request{
								ID: "req_" + id, State: access.Pending, CreatedAt: time.Now(), ApproveBy: time.Now(),
								Content: access.Content{Requester: "user:ana", Resource: "orders", Kind: "http"},
							}); err != nil {
								return err
							}
							return tx.Append(r)
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			if _, err := s.VerifyAudit(b.Context(), audit.VerifierOptions{Keys: []string{testKeys(b).vkey}}); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkOpen is a start on an empty folder.
func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		s, err := Open(b.Context(), b.TempDir(), testKeys(b).options())
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkView is one read of a request.
func BenchmarkView(b *testing.B) {
	s := mustOpen(b, b.TempDir(), testKeys(b).options())
	if err := s.Update(b.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error { return writeWhole(tx, "b_1") }); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.View(b.Context(), func(tx *sqlstore.Tx) error {
			_, err := tx.Request("req_b_1")
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}
