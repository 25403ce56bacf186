package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The database is down when a grant ends: access is off all the same, what is
// left to be done is visible, and is done when the database is back (F17).
//
// Invariant: A1, A38, A39
// Attack: PG-17
func TestTheDatabaseIsDownAtTheEnd(t *testing.T) {
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	g := guardOf(t, pg)
	r := g.granted("user:ana", "orders-db", "read", 5*time.Second)
	revoked := g.granted("user:ana", "orders-db", "write", time.Hour)
	token := g.token("user:ana", r)
	c := *g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request().Grant.Connect
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if out, err := g.psql(ctx, c, token, "select count(*) from orders"); err != nil || out != "100\n" {
		t.Fatalf("%v %s", err, out)
	}
	if err := pg.Down(ctx); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	g.call("user:ada", "POST", "/v1/grants/"+revoked.Grant.ID+"/revoke", m{"reason": "enough"}).is(200)
	if took := time.Since(start); took > time.Second {
		t.Errorf("a revocation took %v", took)
	}
	if out, err := g.psql(ctx, c, token, "select 1"); err == nil || !strings.Contains(out, "the database of orders-db cannot be reached") {
		t.Errorf("before the end: %v %s", err, out)
	}
	time.Sleep(time.Until(r.Grant.ExpiresAt.Time) + 10*time.Millisecond)
	if out, err := g.psql(ctx, c, token, "select 1"); err == nil || !strings.Contains(out, "the Daypass grant "+r.Grant.ID+" expired at ") || !strings.Contains(out, "Ask again: ") {
		t.Errorf("after the end: %v %s", err, out)
	}
	pending := func(r api.Request) bool {
		return g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request().Grant.CleanupPending
	}
	soon(t, "it is visible that the roles are left", func() bool { return pending(r) && pending(revoked) })
	if text := string(g.call("user:ada", "GET", "/metrics", nil).is(200).body); !strings.Contains(text, "\ndaypass_cleanups_pending 2\n") {
		t.Errorf("no metric says so: %s", text)
	}
	if err := pg.Up(ctx); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	soon(t, "the roles are gone", func() bool {
		c, err := pg.Try(pgtest.Superuser, pgtest.Password, g.database)
		if err != nil {
			return false
		}
		defer func() { _ = c.Close(context.Background()) }()
		var n int
		return c.QueryRow(ctx, "select count(*) from pg_roles where rolname ~ '^daypass_g_'").Scan(&n) == nil && n == 0
	})
	t.Logf("the roles were gone %v after the database was back", time.Since(back).Round(time.Millisecond))
	soon(t, "that is visible too", func() bool { return !pending(r) && !pending(revoked) })
	if n := len(g.events("&type=" + audit.GrantCleanupFailed)); n < 2 {
		t.Errorf("%d entries say that a clean-up failed", n)
	}
}

// A client, and a database, are gone without a word while sessions are idle,
// run a statement, or stream. The sessions end within half a minute, with their
// backends; those whose grant ends first end with it (F14).
//
// Invariant: A1, A4, A37
// Attack: PG-12, RES-04
func TestPeersOfADatabaseVanish(t *testing.T) {
	t.Parallel()
	world := newMachines(t)
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	pg.Run(t, "postgres", "create database shop")
	pg.Run(t, "shop", shop)
	// Two ways to the one database: on the gateway's machine, and on another.
	ways := map[string]string{"near-db": "10.77.0.1:5432", "far-db": "10.77.1.2:5432"}
	for way, ns := range map[string]string{"near-db": world.gateway, "far-db": world.upstream} {
		world.in(ns, func() error {
			l, err := listenConfig.Listen(t.Context(), "tcp4", ways[way])
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = l.Close() })
			go relay(l, net.JoinHostPort(pg.Host, fmt.Sprint(pg.Port)))
			return nil
		})
	}
	s := files(t)
	head, _, _ := strings.Cut(s.read("catalog.yaml"), "groups:\n")
	catalog := head + "resources:\n"
	for way, at := range ways {
		host, port, _ := net.SplitHostPort(at)
		catalog += fmt.Sprintf("  - id: %s\n    kind: postgres\n    owners: [group:payments]\n    postgres: {upstream: host=%s port=%s dbname=shop sslmode=disable, user: postgres, password: {env: DAYPASS_TEST_ORDERS_PASSWORD}}\n    roles:\n      read: {actions: [select], tables: [public.orders]}\n", way, host, port)
	}
	s.write("catalog.yaml", catalog+"policy:\n  rules:\n    - {name: all, when: 'true', approve: auto, max_duration: 1h, max_total: 2h}\n")
	s.env = append(s.env, "DAYPASS_TEST_ORDERS_PASSWORD="+pgtest.Password)
	s.write("daypass.yaml", "listen: 127.0.0.1:0\ndata: ./data\ncatalog: ./catalog.yaml\ngateways:\n  postgres: {listen: \"10.77.0.1:7432\"}\n  http: {listen: \"127.0.0.1:0\", domain: localhost}\n")
	s.write("inside", fmt.Sprintf("#!/bin/sh\nexec ip netns exec %s %s \"$@\"\n", world.gateway, s.program))
	if err := os.Chmod(s.path("inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	plain := s.program
	s.program = s.path("inside")
	s.start()
	s.program = plain
	s.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: dialIn(world, world.gateway)}}

	open := func(ns string, r api.Request, token string) *pgx.Conn {
		t.Helper()
		config, err := pgx.ParseConfig(fmt.Sprintf("host=10.77.0.1 port=7432 user=%s password=%s dbname=shop sslmode=require connect_timeout=10", r.Grant.ID, token))
		if err != nil {
			t.Fatal(err)
		}
		config.DialFunc = func(_ context.Context, _, addr string) (net.Conn, error) { return world.dial(ns, addr), nil }
		c, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	flood := func(c *pgx.Conn) {
		_, _ = c.PgConn().CopyTo(context.Background(), io.Discard, "copy (select repeat('x', 100), generate_series(1, 1000000000)) to stdout")
	}
	backends := func(r api.Request) (n int) {
		c, err := pg.Try(pgtest.Superuser, pgtest.Password, "shop")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(context.Background()) }()
		if err := c.QueryRow(t.Context(), "select count(*) from pg_stat_activity where usename = $1", "daypass_g_"+r.Grant.ID[len("grt_"):]).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const short = 14 * time.Second
	grant := func(way string, d time.Duration) (api.Request, string) {
		r := s.granted("user:ana", way, "read", d)
		return r, s.token("user:ana", r)
	}
	near, nearToken := grant("near-db", time.Hour)
	far, farToken := grant("far-db", time.Hour)
	nearShort, nearShortToken := grant("near-db", short)
	farShort, farShortToken := grant("far-db", short)
	open(world.client, near, nearToken) // idle
	open(world.client, nearShort, nearShortToken)
	go flood(open(world.client, near, nearToken))
	open(world.gateway, far, farToken) // idle
	working := make(chan error, 1)
	told := make(chan error, 1)
	busy, waiting := open(world.gateway, far, farToken), open(world.gateway, farShort, farShortToken)
	go func() {
		_, err := busy.Exec(context.Background(), "select pg_sleep(3600)")
		working <- err
	}()
	go func() {
		_, err := waiting.Exec(context.Background(), "select pg_sleep(3600)")
		told <- err
	}()
	sessions := func() map[string]int {
		n := map[string]int{}
		for _, item := range decode[api.List[api.Session]](s.call("user:ada", "GET", "/v1/sessions", nil).is(200)).Items {
			n[item.Grant]++
		}
		return n
	}
	soon(t, "all are at work", func() bool {
		n := sessions()
		return n[near.Grant.ID] == 2 && n[far.Grant.ID] == 2 && n[nearShort.Grant.ID] == 1 && n[farShort.Grant.ID] == 1
	})
	time.Sleep(300 * time.Millisecond)
	world.vanish(world.client)
	world.vanish(world.upstream)
	gone := time.Now()

	// Who is there is told in the instant, whatever became of the database.
	end := farShort.Grant.ExpiresAt.Time
	e, ok := errors.AsType[*pgconn.PgError](<-told)
	if late := time.Since(end); !ok || e.Code != "57P01" || !strings.Contains(e.Message, "expired at ") || late < 0 || late > cutBound {
		t.Errorf("%v after the end: %v", late, e)
	}
	wait := func(r api.Request, until time.Time) time.Duration {
		for {
			if sessions()[r.Grant.ID] == 0 {
				return time.Since(gone)
			}
			if time.Now().After(until) {
				t.Errorf("%v after its peer vanished there is a session of %s", time.Since(gone), r.Resource)
				return time.Since(gone)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	wait(farShort, end.Add(cutBound+500*time.Millisecond))
	wait(nearShort, end.Add(cutBound+500*time.Millisecond))
	if n := backends(nearShort); n != 0 {
		t.Errorf("%d backends are left of a grant that has ended", n)
	}
	tookNear := wait(near, gone.Add(30*time.Second))
	tookFar := wait(far, gone.Add(30*time.Second))
	if err := <-working; err == nil {
		t.Error("a statement on a database that vanished came to its end")
	}
	soon(t, "the backends of the client that vanished are gone", func() bool { return backends(near) == 0 })
	t.Logf("given up: those of the client after %v, those of the database after %v", tookNear.Round(time.Millisecond), tookFar.Round(time.Millisecond))
	world.back(world.upstream)
	soon(t, "what was left of the grant that ended is gone", func() bool { return backends(farShort) == 0 })
}

// relay copies between whoever connects and addr. As of a machine that is
// cut off, neither side learns of the other's end but by a close.
func relay(l net.Listener, addr string) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = from.Close() }()
			to, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			defer func() { _ = to.Close() }()
			go func() {
				_, _ = io.Copy(to, from)
				_ = to.Close()
			}()
			_, _ = io.Copy(from, to)
		}()
	}
}
