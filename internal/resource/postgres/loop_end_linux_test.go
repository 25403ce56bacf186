package pgkind

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/gate"
	"github.com/jackc/pgx/v5/pgconn"
)

// A client that vanished without a word is given up by whoever looks after the
// connections, and its session is over with that: it takes no place any more,
// here or at the server.
//
// Attack: RES-01
func TestASessionEndsWhoseClientIsGivenUp(t *testing.T) {
	onBothWays(t, func(t *testing.T) {
		d := newDesk(t, deskOptions{})
		p := d.pass(readOrders, time.Hour)
		if got := answer(d.connect(p), "select 1"); got != "1" {
			t.Fatal(got)
		}
		d.gw.visitors.abort(func(net.Conn) bool { return true })
		eventually(t, "the session is over", func() bool { return d.guard.Counts().Sessions == 0 })
		eventually(t, "its backend has gone", func() bool {
			return d.value("select count(*) from pg_stat_activity where usename = '"+roleOf(p.id)+"'") == "0"
		})
	})
}

// nothing is a target at which there is nothing to cancel.
type nothing struct{ target }

func (nothing) cancelBackend(context.Context, *policy.Resource, string, uint32) error { return nil }

// What a server has answered is on record also where the same bytes end the
// session while the record has no room.
//
// Invariant: A20
// Attack: PG-14
func TestWhatIsOwedToTheRecordOutlivesAFault(t *testing.T) {
	onBothWays(t, func(t *testing.T) {
		rec := &record{room: func() bool { return false }}
		s := aloneWith(t, rec)
		s.g = &Gateway{target: nothing{}, now: time.Now, log: slog.New(slog.DiscardHandler), sessions: map[net.Conn]*session{}, visitors: newVisitors(1, 1)}
		s.g.cancels.init()
		s.g.carrier.off = goroutines
		defer s.g.carrier.close()
		s.resource, s.gate = &policy.Resource{ID: "orders-db"}, gate.Gate{Allowed: gate.Select}
		e := &exchange{}
		client, near := e.pair(t)
		up, server := e.pair(t)
		s.raw, s.client, s.server = near, near, &pgconn.HijackedConn{Conn: up}
		s.g.running.Add(1)
		go s.serve()
		say := append(message('Q', "select 1\x00"), message('Q', "select 2\x00")...)
		if _, err := client.Write(say); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(server, make([]byte, len(say))); err != nil {
			t.Fatal(err)
		}
		both := append(message('C', "SELECT 1\x00"), message('Z', "I")...)
		if _, err := server.Write(append(append(both, both...), message('R', "\x00\x00\x00\x00")...)); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, client)
		s.g.running.Wait()
		if all := rec.of(audit.SessionQuery); len(all) != 2 {
			t.Errorf("%d statements are on record, not 2: %v", len(all), all)
		}
	})
}

// The end of a grant finds a statement that waits for the record: it has run,
// and is on record.
//
// Invariant: A20
// Attack: PG-14
func TestWhatIsOwedToTheRecordOutlivesTheEnd(t *testing.T) {
	onBothWays(t, func(t *testing.T) {
		d := newDesk(t, deskOptions{})
		p := d.pass(readOrders, time.Hour)
		c := d.connect(p)
		waits, room := make(chan struct{}), make(chan struct{})
		d.rec.set(func(r *record) {
			r.room = func() bool { return false }
			r.before = func(e *audit.Entry, _ bool) {
				if e.Type != audit.SessionQuery {
					return
				}
				select {
				case <-waits:
				default:
					close(waits)
					<-room
				}
			}
		})
		asked := make(chan error, 1)
		go func() {
			_, err := c.PgConn().Exec(context.Background(), "select 1").ReadAll()
			asked <- err
		}()
		<-waits
		cut := d.gw.all()[0].guard.Done()
		d.index.End(p.id, d.now(), live.ReasonRevoked)
		<-cut
		close(room)
		if err := <-asked; err == nil {
			t.Error("it was answered after the end")
		}
		eventually(t, "what has run is on record", func() bool {
			return slices.ContainsFunc(d.rec.of(audit.SessionQuery), func(e audit.Entry) bool {
				return e.Details["sql"] == "select 1" && e.Details["rows"] == int64(1)
			})
		})
	})
}
