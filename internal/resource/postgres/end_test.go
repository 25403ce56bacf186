package pgkind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// endBound is how long after the end a byte may still come (A1), and a backend
// may still be there.
const endBound = time.Second

const writeOrders = `{"actions":["insert","select","update"],"tables":["public.orders"]}`

// doings are what a session may be at when its grant ends.
var doings = map[string]func(ctx context.Context, c *pgx.Conn) error{
	"a sleep": func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "select pg_sleep(60)")
		return err
	},
	"a sleep, prepared": func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "select pg_sleep($1)", 60)
		return err
	},
	"a long write": func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "insert into orders select 5000, 'late', 1, '' from pg_sleep(4)")
		return err
	},
	"a flood": func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.PgConn().CopyTo(ctx, io.Discard, "copy (select repeat('x', 100), generate_series(1, 1000000000)) to stdout")
		return err
	},
	"a transaction": func(ctx context.Context, c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "begin; update orders set total = -1 where id = 1"); err != nil {
			return err
		}
		return c.PgConn().WaitForNotification(ctx)
	},
	"nothing": func(ctx context.Context, c *pgx.Conn) error { return c.PgConn().WaitForNotification(ctx) },
	"many": func(ctx context.Context, c *pgx.Conn) error {
		for {
			if _, err := c.Exec(ctx, "select count(*) from orders where id = $1", 7); err != nil {
				return err
			}
		}
	},
}

// Whatever a session does, at the end of its grant it is told so, and its
// backend is gone.
//
// Invariant: A1, A2, A4, A5
// Attack: PG-12, PG-17
func TestSessionsAreCutInTheInstant(t *testing.T) { onBothWays(t, testSessionsAreCutInTheInstant) }

func testSessionsAreCutInTheInstant(t *testing.T) {
	for _, how := range []string{live.ReasonExpired, live.ReasonRevoked} {
		t.Run(how, func(t *testing.T) {
			d := newDesk(t, deskOptions{})
			length := time.Hour
			if how == live.ReasonExpired {
				length = 3 * time.Second
			}
			p := d.pass(writeOrders, length)
			g, ok := d.index.Grant(p.id)
			if !ok {
				t.Fatal("there is no grant")
			}
			end := g.ExpiresAt()
			type result struct {
				what string
				at   time.Time
				err  error
			}
			results := make(chan result)
			for what, do := range doings {
				c := d.connect(p)
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					err := do(ctx, c)
					results <- result{what, time.Now(), err}
				}()
			}
			if how == live.ReasonRevoked {
				time.Sleep(500 * time.Millisecond)
				end = d.now()
				d.index.End(p.id, end, how)
			}
			for range doings {
				r := <-results
				late := r.at.Sub(end)
				e, ok := errors.AsType[*pgconn.PgError](r.err)
				if late < -5*time.Millisecond || late > endBound {
					t.Errorf("%s: ended %v after the end", r.what, late)
				}
				if !ok || e.Code != "57P01" || e.Severity != "FATAL" || !strings.HasPrefix(e.Message, "terminating connection: the Daypass grant "+p.id+" ") || !strings.Contains(e.Hint, "Ask again: ") {
					t.Errorf("%s: %v", r.what, r.err)
				}
				t.Logf("%s: %v", r.what, late.Round(time.Millisecond))
			}
			for d.value("select count(*) from pg_stat_activity where usename = '"+roleOf(p.id)+"'") != "0" {
				if time.Since(end) > endBound {
					t.Fatal("a backend is left")
				}
			}
			t.Logf("the last backend: %v", time.Since(end).Round(time.Millisecond))
			if e := d.refused(d.dsn(p.id, p.token)); e.Code != "28000" {
				t.Errorf("%+v", e)
			}
			t.Log("now", time.Since(end))
			time.Sleep(max(0, time.Until(end.Add(4500*time.Millisecond))))
			if got := d.value("select count(*) from orders where id = 5000 or total = -1"); got != "0" {
				t.Error("something was written by a session that had ended")
			}
			if n := len(d.rec.of(audit.SessionEnded)); n != len(doings) {
				t.Errorf("%d ends on record", n)
			}
			for _, e := range d.rec.of(audit.SessionEnded) {
				if e.Details["ended_by"] != how {
					t.Errorf("%v", e.Details)
				}
			}
		})
	}
}

// A client that does not read does not hold its session open: neither side of
// it.
//
// Invariant: A1, A4
// Attack: PG-12
func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	onBothWays(t, testAClientThatDoesNotReadIsCutOff)
}

func testAClientThatDoesNotReadIsCutOff(t *testing.T) {
	for _, plain := range []bool{true, false} {
		d := newDesk(t, deskOptions{plain: plain})
		p := d.pass(readOrders, time.Hour)
		c := d.connect(p)
		raw := c.PgConn().Conn()
		h, err := c.PgConn().Hijack()
		if err != nil {
			t.Fatal(err)
		}
		h.Frontend.Send(query("copy (select repeat('x', 1000), generate_series(1, 1000000000)) to stdout"))
		if err := h.Frontend.Flush(); err != nil {
			t.Fatal(err)
		}
		s := d.gw.all()[0]
		eventually(t, "the client's window is full", func() bool {
			before := s.out.Load()
			time.Sleep(200 * time.Millisecond)
			return before > 100_000 && s.out.Load() == before
		})
		end := time.Now()
		d.index.End(p.id, d.now(), live.ReasonRevoked)
		eventually(t, "the session is closed", func() bool { return d.guard.Counts().Sessions == 0 })
		if late := time.Since(end); late > endBound {
			t.Errorf("closed %v after the end", late)
		}
		if got := d.value("select count(*) from pg_stat_activity where usename = '" + roleOf(p.id) + "'"); got != "0" {
			t.Error("its backend is left")
		}
		_ = raw.SetReadDeadline(time.Now().Add(patience))
		n, err := io.Copy(io.Discard, raw)
		if err == nil || n > 8<<20 { // what the client's own kernel had; then a reset
			t.Errorf("%d bytes could be read, then %v", n, err)
		}
	}
}

// Invariant: A4
func TestAnExtensionKeepsTheSession(t *testing.T) { onBothWays(t, testAnExtensionKeepsTheSession) }

func testAnExtensionKeepsTheSession(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, 4*time.Second)
	first := d.now().Add(4 * time.Second)
	c := d.connect(p)
	end := first.Add(2 * time.Second).Truncate(time.Millisecond) // as the index keeps it
	if !d.index.Extend(p.id, end) {
		t.Fatal("not extended")
	}
	time.Sleep(time.Until(first) + 500*time.Millisecond)
	if got := answer(c, "select 1"); got != "1" {
		t.Fatal(got)
	}
	_, err := c.Exec(context.Background(), "select pg_sleep(60)")
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "57P01" || time.Since(end) < 0 || time.Since(end) > endBound {
		t.Errorf("%v, %v after the end", err, time.Since(end))
	}
}

// Other ends than that of the grant leave its other sessions alone.
func TestEndsOfOneSession(t *testing.T) { onBothWays(t, testEndsOfOneSession) }

func testEndsOfOneSession(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	kept, killed := d.connect(p), d.connect(p)
	done := make(chan error, 1)
	go func() {
		_, err := killed.Exec(context.Background(), "select pg_sleep(60)")
		done <- err
	}()
	eventually(t, "it sleeps", func() bool {
		return d.value("select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active' and usename = '"+roleOf(p.id)+"'") == "1"
	})
	id := ""
	for _, s := range d.guard.Sessions() {
		if s.Doing == "select pg_sleep(60)" {
			id = s.ID
		}
	}
	if !d.guard.Kill(id) {
		t.Fatalf("no session is shown that sleeps: %+v", d.guard.Sessions())
	}
	if e, ok := errors.AsType[*pgconn.PgError](<-done); !ok || e.Code != "57P01" || !strings.Contains(e.Message, "an administrator ended this Daypass session") {
		t.Errorf("%v", e)
	}
	eventually(t, "its backend is gone", func() bool {
		return d.value("select count(*) from pg_stat_activity where usename = '"+roleOf(p.id)+"'") == "1"
	})
	if got := answer(kept, "select 7"); got != "7" {
		t.Errorf("the other session: %s", got)
	}
	d.rec.set(func(r *record) { r.fail = errDisk })
	if got := answer(kept, "select 8"); got != "57P01" {
		t.Errorf("a session that cannot be recorded goes on: %s", got)
	}
	d.rec.set(func(r *record) { r.fail = nil })
	eventually(t, "its end is on record", func() bool {
		return slices.ContainsFunc(d.rec.of(audit.SessionEnded), func(e audit.Entry) bool { return e.Details["ended_by"] == gateway.WhyNotRecorded })
	})
}

// cutting is a connector of which it is known whom it has cut.
type cutting struct {
	*connector
	roles chan string
}

func (c cutting) cut(r *policy.Resource, role string) <-chan error {
	c.roles <- role
	return c.connector.cut(r, role)
}

// The end of a grant locks its role out; the end of one session does not.
//
// Invariant: A2
// Attack: PG-17
func TestTheEndOfAGrantCutsItsRole(t *testing.T) { onBothWays(t, testTheEndOfAGrantCutsItsRole) }

func testTheEndOfAGrantCutsItsRole(t *testing.T) {
	roles := make(chan string, 10)
	d := newDesk(t, deskOptions{wrap: func(c *connector) target { return cutting{c, roles} }})
	for _, reason := range []string{live.ReasonExpired, live.ReasonRevoked, live.ReasonReturned, live.ReasonPolicy} {
		p := d.pass(readOrders, time.Hour)
		killed := d.connect(p)
		d.guard.Kill(d.guard.Sessions()[0].ID)
		if got := answer(killed, "select 1"); got != "57P01" {
			t.Fatalf("a session that was killed: %s", got)
		}
		if len(roles) != 0 {
			t.Fatal("the end of a session cuts the role")
		}
		eventually(t, "it is gone", func() bool { return d.guard.Counts().Sessions == 0 })
		c := d.connect(p)
		d.index.End(p.id, d.now(), reason)
		if got := answer(c, "select 1"); got != "57P01" {
			t.Errorf("%s: %s", reason, got)
		}
		select {
		case got := <-roles:
			if got != roleOf(p.id) {
				t.Errorf("%s: cut %s", reason, got)
			}
		case <-time.After(patience):
			t.Fatalf("%s: the role was not cut", reason)
		}
		eventually(t, "it is over", func() bool { return d.guard.Counts().Sessions == 0 })
		eventually(t, "the role is locked out", func() bool {
			return d.value("select rolcanlogin from pg_roles where rolname = '"+roleOf(p.id)+"'") == "f"
		})
	}
}

// Nothing begins to go out after the end, either way.
//
// Invariant: A1, A4
func TestNothingIsForwardedAfterTheEnd(t *testing.T) {
	s := alone(t)
	near, far := net.Pipe()
	defer far.Close()
	client, server := &pieces{check: func() {}}, &pieces{check: func() {}}
	s.raw, s.client = near, client
	s.server = &pgconn.HijackedConn{Conn: server}
	if err := s.toServer([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.toClient([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s.server = nil // so that stop leaves it open
	s.stop(nil)
	s.server = &pgconn.HijackedConn{Conn: server}
	if err := s.toServer([]byte("y")); !errors.Is(err, errStopped) {
		t.Errorf("to the server: %v", err)
	}
	if err := s.toClient([]byte("y")); !errors.Is(err, errStopped) {
		t.Errorf("to the client: %v", err)
	}
	if _, err := s.deliver(wire.Servers(), message('N', "\x00"), 0, false); !errors.Is(err, errStopped) {
		t.Errorf("from the server: %v", err)
	}
	if client.written.String() != "x" || server.written.String() != "x" {
		t.Errorf("%q %q", client.written.String(), server.written.String())
	}
}

func TestAnIdleSessionIsToldAMinuteBefore(t *testing.T) {
	onBothWays(t, testAnIdleSessionIsToldAMinuteBefore)
}

func testAnIdleSessionIsToldAMinuteBefore(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	config, err := pgx.ParseConfig(d.dsn(p.id, p.token))
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan *pgconn.Notice, 10)
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices <- n }
	c, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	s := d.gw.all()[0]
	d.skew.Store(int64(59 * time.Minute))
	if next := s.warn(); next < 58*time.Second || next > 62*time.Second {
		t.Errorf("looks again after %v", next)
	}
	if got := answer(c, "select 1"); got != "1" {
		t.Fatal(got)
	}
	select {
	case n := <-notices:
		if n.Severity != "WARNING" || !strings.HasPrefix(n.Message, "the Daypass grant "+p.id+" ends at ") || n.Hint != "Extend it: daypass extend "+p.id {
			t.Errorf("%+v", n)
		}
	case <-time.After(patience):
		t.Fatal("no notice")
	}
	d.index.Extend(p.id, d.now().Add(time.Hour))
	if next := s.warn(); next < 58*time.Minute {
		t.Errorf("after an extension it looks again after %v", next)
	}
	if got := answer(c, "select 2"); got != "2" || len(notices) != 0 {
		t.Errorf("%s, %d notices", got, len(notices))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = c.Exec(context.Background(), "select pg_sleep(1)")
	}()
	defer func() { <-done }()
	eventually(t, "it is busy", func() bool { _, idle := s.ops.idle(); return !idle })
	d.skew.Store(int64(2*time.Hour - 30*time.Second - time.Minute))
	if next := s.warn(); next != again {
		t.Errorf("while busy it looks again after %v", next)
	}
}

// Shutdown lets a transaction come to its end, and cuts what does not.
//
// Invariant: A4
func TestShutdown(t *testing.T) { onBothWays(t, testShutdown) }

func testShutdown(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	idle, busy, endless := d.connect(p), d.connect(p), d.connect(p)
	if _, err := busy.Exec(context.Background(), "begin"); err != nil {
		t.Fatal(err)
	}
	cut := make(chan error, 1)
	go func() {
		_, err := endless.Exec(context.Background(), "select pg_sleep(60)")
		cut <- err
	}()
	silent, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	eventually(t, "all are there, and the statement runs", func() bool {
		return len(d.gw.all()) == 3 && d.value("select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active' and usename = '"+roleOf(p.id)+"'") == "1"
	})
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	start, done := time.Now(), make(chan error, 1)
	go func() { done <- d.gw.Shutdown(ctx) }()
	eventually(t, "the idle one is over", func() bool { return d.guard.Counts().Sessions == 2 })
	if got := answer(idle, "select 1"); got != "57P01" {
		t.Errorf("an idle session: %s", got)
	}
	_ = silent.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := silent.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who had not logged in: %v", err)
	}
	if got := answer(busy, "select count(*) from orders"); got != "1000" {
		t.Errorf("in a transaction: %s", got)
	}
	if got := answer(busy, "commit"); got != "" && got != "57P01" {
		t.Errorf("its end: %s", got)
	}
	if e, ok := errors.AsType[*pgconn.PgError](<-cut); !ok || e.Code != "57P01" || !strings.Contains(e.Message, "shutting down") {
		t.Errorf("%v", e)
	}
	if err := <-done; err != nil || time.Since(start) < 1400*time.Millisecond || time.Since(start) > 4*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if _, err := net.Dial("tcp", d.addr); err == nil {
		t.Error("it still listens")
	}
	eventually(t, "no backend is left", func() bool {
		return d.value(fmt.Sprintf("select count(*) from pg_stat_activity where usename = '%s'", roleOf(p.id))) == "0"
	})
}
