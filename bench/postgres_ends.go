//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/scratchpg"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ends measures how soon everything is over when many grants of a database end
// in one instant, and when the gateway is killed.
func (b *bench) ends(ctx context.Context) error {
	b.report.note(b.out, "PostgreSQL ends: so many grants, each with a role and a session through the gateway, every second one of which runs a statement, all scheduled to end at the same instant. "+
		"Beside it a superuser asks the database every few milliseconds how many backends and roles of grants are left. Kill: the gateway is killed (SIGKILL) while sessions run statements; the database notices by itself.")
	few, many := 100, 1000
	if b.scale.short {
		few, many = 10, 20
	}
	pg, err := b.scratch(ctx, many+300)
	if err != nil {
		return err
	}
	defer pg.Stop()
	if out, err := pgbench(ctx, directly(pg), "-i", "-q", "-s", "1").CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench -i: %w: %s", err, out)
	}
	s, err := b.before(ctx, pg, "ends", false)
	if err != nil {
		return err
	}
	defer s.stop()
	for _, n := range []int{few, many} {
		if err := b.endTogether(ctx, s, pg, n); err != nil {
			return err
		}
	}
	s.stop()
	return b.killed(ctx, s, pg)
}

// endTogether has n grants with a session each end in one instant.
func (b *bench) endTogether(ctx context.Context, s *server, pg *scratchpg.Server, n int) error {
	client := newClient()
	defer client.CloseIdleConnections()
	starts := time.Now().Add(time.Duration(2+n/100) * time.Second).Truncate(time.Second)
	lasts := time.Duration(10+n/20) * time.Second
	end := starts.Add(lasts)
	routes := make([]route, n)
	ids, errs := make([]string, n), make([]error, n)
	at16(n, func(i int) {
		ids[i], _, errs[i] = s.grant(ctx, client, person(i), "orders-db", map[string]any{"duration": lasts.String(), "start_at": starts.UTC().Format(time.RFC3339)})
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	time.Sleep(time.Until(starts))
	at16(n, func(i int) { routes[i], errs[i] = s.entry(ctx, client, person(i), ids[i], end) })
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%d grants became active and got credentials: %w", n, err)
	}
	all, err := crowd(ctx, n, func(i int) (*pgconn.PgConn, error) { return routes[i].connect(ctx, i) })
	if err != nil {
		return err
	}
	told := make([]time.Duration, n)
	var cutOff atomic.Int64
	var group sync.WaitGroup
	for i, c := range all {
		group.Go(func() {
			var why bool
			if told[i], why, errs[i] = endOf(ctx, c, i%2 == 0, end); !why {
				cutOff.Add(1)
			}
		})
	}
	if left := time.Until(end); left < time.Second {
		return fmt.Errorf("%d sessions were open only %s before their end", n, left)
	}
	backends, roles, err := watchEnd(ctx, pg, n, end)
	group.Wait()
	if err := errors.Join(err, errors.Join(errs...)); err != nil { // of the watch, and of the sessions
		return err
	}
	slices.Sort(told)
	p99 := told[len(told)*99/100]
	what := fmt.Sprintf("PostgreSQL, %d grants with a session ending in one instant", n)
	bound, limit := time.Second, 50*time.Millisecond
	if n <= 100 {
		bound = 200 * time.Millisecond
	}
	const cores = "two cores: the gateway tells as many clients and closes two connections for each, while as many backends of PostgreSQL end, each a process with its locks and its place in shared memory, and as many clients read"
	b.report.check(b.out, what+": p99 from the end to the client's FATAL, or to its connection's end", "≤ "+limit.String(), fmt.Sprintf("%s (median %s)", p99.Round(time.Millisecond), told[len(told)/2].Round(time.Millisecond)), p99 <= limit, cores)
	b.report.check(b.out, what+": clients that were told why", fmt.Sprintf("all %d", n), fmt.Sprintf("%d", n-int(cutOff.Load())), cutOff.Load() == 0,
		"a client that has not been told within 700 ms is cut off without a word, and two cores do not get to all in that time")
	b.report.check(b.out, what+": the last backend gone", "≤ "+bound.String(), backends.Round(time.Millisecond).String(), backends <= bound, cores)
	if n > 100 || b.scale.short {
		b.report.check(b.out, what+": the last role gone", "≤ 2s", roles.Round(time.Millisecond).String(), roles <= 2*time.Second,
			"the worker takes up the removals one by one from the store, eight at a time, and writes each down; a role that was used takes some round trips to be looked at and dropped")
	} else {
		b.report.tell(b.out, what+": the last role gone", roles.Round(time.Millisecond).String())
	}
	return nil
}

func person(i int) string { return fmt.Sprintf("user:u%d", i%100) }

// at16 runs f for each number, sixteen at once.
func at16(n int, f func(int)) {
	var group sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() { f(i); <-slots })
	}
	group.Wait()
}

// entry is the way in by a grant that becomes active some time before until.
func (s *server) entry(ctx context.Context, client *http.Client, who, grant string, until time.Time) (route, error) {
	for {
		r, err := s.routeOf(ctx, client, who, grant)
		if err == nil || time.Now().After(until) || ctx.Err() != nil || !strings.Contains(err.Error(), " 409 ") {
			return r, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// endOf waits for the end of a session, and returns how long after its grant's
// end that came, and whether the client was told why.
func endOf(ctx context.Context, c *pgconn.PgConn, busy bool, end time.Time) (late time.Duration, told bool, err error) {
	defer func() { _ = c.Conn().Close() }()
	ctx, cancel := context.WithDeadline(ctx, end.Add(30*time.Second))
	defer cancel()
	if busy {
		_, err = c.Exec(ctx, "select pg_sleep(3600)").ReadAll()
	} else {
		err = c.WaitForNotification(ctx)
	}
	late = time.Since(end)
	e, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ctx.Err() != nil || err == nil:
		return late, false, fmt.Errorf("a session did not end: %w", err)
	case late < -time.Millisecond:
		return late, false, fmt.Errorf("a session ended %s too early: %w", -late, err)
	case ok && (e.Code != "57P01" || !strings.Contains(e.Message, "expired")):
		return late, false, fmt.Errorf("a session ended with %w", err)
	}
	return late, ok, nil
}

// leftOver asks as little of the database as it can: at the end it is short of
// time.
const leftOver = `select (select count(*) from pg_stat_get_activity(null) a join pg_authid r on r.oid = a.usesysid where r.rolname like 'daypass\_g\_%'), (select count(*) from pg_authid where rolname like 'daypass\_g\_%')`

// watchEnd asks the database from the end on what is left, until nothing is.
func watchEnd(ctx context.Context, pg *scratchpg.Server, n int, end time.Time) (backends, roles time.Duration, err error) {
	c, err := pg.Connect(ctx, "postgres")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	left, kept, err := leftNow(ctx, c)
	if err != nil || left != n || kept < n {
		return 0, 0, errors.Join(err, fmt.Errorf("before the end there are %d backends and %d roles, not %d", left, kept, n))
	}
	time.Sleep(time.Until(end))
	for {
		left, kept, err := leftNow(ctx, c)
		now := time.Since(end)
		if err != nil {
			return 0, 0, err
		}
		if left == 0 && backends == 0 {
			backends = now
		}
		if left == 0 && kept == 0 {
			return backends, now, nil
		}
		if now > time.Minute {
			return 0, 0, fmt.Errorf("a minute after the end there are %d backends and %d roles", left, kept)
		}
		time.Sleep(15 * time.Millisecond)
	}
}

func leftNow(ctx context.Context, c *pgx.Conn) (backends, roles int, err error) {
	err = c.QueryRow(ctx, leftOver).Scan(&backends, &roles)
	return backends, roles, err
}

// killed kills the gateway while statements run, some times over.
func (b *bench) killed(ctx context.Context, s *server, pg *scratchpg.Server) error {
	const each = 8
	client := newClient()
	defer client.CloseIdleConnections()
	var worst time.Duration
	for round := range b.scale.rounds {
		again, err := b.start(ctx, s.w, b.binary)
		if err != nil {
			return err
		}
		took, err := kill(ctx, again, client, pg, each)
		again.stop()
		if err != nil {
			return fmt.Errorf("kill %d: %w", round, err)
		}
		worst = max(worst, took)
	}
	b.report.check(b.out, fmt.Sprintf("PostgreSQL, kill -9 of the gateway: the last backend gone, %d times with %d statements", b.scale.rounds, each), "≤ 500ms", worst.Round(time.Millisecond).String(), worst <= 500*time.Millisecond,
		"a backend looks every 250 ms whether its client is there")
	return nil
}

// kill kills a gateway under so many statements, and returns when the last of
// their backends was gone.
func kill(ctx context.Context, s *server, client *http.Client, pg *scratchpg.Server, each int) (time.Duration, error) {
	r, err := s.route(ctx, client)
	if err != nil {
		return 0, err
	}
	all, err := crowd(ctx, each, func(i int) (*pgconn.PgConn, error) { return r.connect(ctx, i) })
	if err != nil {
		return 0, err
	}
	var group sync.WaitGroup
	defer group.Wait()
	for i, c := range all {
		group.Go(func() {
			time.Sleep(time.Duration(i) * 37 * time.Millisecond) // so that they look at different times
			_, _ = c.Exec(ctx, "select pg_sleep(600)").ReadAll() // it ends with the gateway
			_ = c.Conn().Close()
		})
	}
	admin, err := pg.Connect(ctx, "postgres")
	if err != nil {
		return 0, err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	time.Sleep(time.Second)
	if n, _, err := leftNow(ctx, admin); err != nil || n != each {
		return 0, errors.Join(err, fmt.Errorf("%d statements run, not %d", n, each))
	}
	began := time.Now()
	if err := s.cmd.Process.Kill(); err != nil {
		return 0, err
	}
	for {
		n, _, err := leftNow(ctx, admin)
		if err != nil || n == 0 {
			return time.Since(began), err
		}
		if time.Since(began) > 30*time.Second {
			return 0, fmt.Errorf("%d backends live on", n)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
