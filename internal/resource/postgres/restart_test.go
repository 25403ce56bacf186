package pgkind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
	"github.com/jackc/pgx/v5/pgconn"
)

// The database is restarted again and again under fifty sessions of five
// grants: each is told so or cut, none becomes that of another grant, and as
// soon as the database is back new ones work (F16).
//
// Invariant: A27, A28
// Attack: PG-13
func TestTheDatabaseIsRestarted(t *testing.T) {
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	pg.Run(t, "postgres", "create database shop")
	pg.Run(t, "shop", shop)
	d := newDesk(t, deskOptions{world: asLogin(t, &world{t: t, pg: pg, database: "shop"}, pgtest.Superuser, pgtest.Password), user: pgtest.Superuser})
	const grants, each, rounds = 5, 10, 3
	var passes []pass
	for range grants {
		passes = append(passes, d.pass(readOrders, time.Hour))
	}
	probe := d.pass(readOrders, time.Hour) // the others have all their sessions
	// How a session may end, and how a login may fail meanwhile.
	ends := []string{"57P01", "57P02", "57P03", "08004", "53300"}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var working, told, dropped atomic.Int64
	var group sync.WaitGroup
	for i := range grants * each {
		p := passes[i%grants]
		group.Go(func() {
			for ctx.Err() == nil {
				c, err := d.try(d.dsn(p.id, p.token))
				for err == nil && ctx.Err() == nil {
					var who, key string
					if err = c.QueryRow(context.Background(), "select current_user, $1::text from pg_sleep(0.01)", p.id).Scan(&who, &key); err == nil {
						if who != roleOf(p.id) || key != p.id {
							t.Errorf("a session of %s is %s and gets %s", p.id, who, key)
						}
						working.Add(1)
					}
				}
				if c != nil {
					_ = c.Close(context.Background())
				}
				if e, ok := errors.AsType[*pgconn.PgError](err); ok {
					if told.Add(1); !slices.Contains(ends, e.Code) {
						t.Errorf("%s: %v", p.id, e)
					}
				} else if err != nil {
					dropped.Add(1)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	for range rounds {
		eventually(t, "sessions work", func() bool {
			before := working.Load()
			time.Sleep(50 * time.Millisecond)
			return len(d.gw.all()) == grants*each && working.Load() > before
		})
		if err := pg.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "no session is left", func() bool { return len(d.gw.all()) == 0 })
		if err := pg.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		for {
			c, err := d.try(d.dsn(probe.id, probe.token))
			if err == nil {
				_ = c.Close(context.Background())
				break
			}
			if time.Since(back) > 2*time.Second {
				t.Fatalf("%v after the database is back: %v", time.Since(back), err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("a new session %v after the database was back", time.Since(back).Round(time.Millisecond))
	}
	stop()
	group.Wait()
	t.Logf("%d statements; %d ends and refusals with a reason, %d without", working.Load(), told.Load(), dropped.Load())
	if told.Load() == 0 {
		t.Error("nobody was told why")
	}
	for _, p := range passes {
		if err := d.c.remove(t.Context(), d.r, roleOf(p.id)); err != nil {
			t.Error(err)
		}
		if left := d.traces(roleOf(p.id)); left != "0" {
			t.Errorf("%s traces are left", left)
		}
	}
}

// No session gets a backend that another one had.
//
// Invariant: A27
// Attack: PG-13
func TestEachSessionHasABackendOfItsOwn(t *testing.T) {
	d := newDesk(t, deskOptions{})
	one, two := d.pass(readOrders, time.Hour), d.pass(readOrders, time.Hour)
	seen := map[string]string{}
	for i := range 12 {
		p := []pass{one, one, two}[i%3]
		c := d.connect(p)
		do(t, c, fmt.Sprintf("set application_name = 'left by %s'", p.id))
		pid := answer(c, "select pg_backend_pid() || ' ' || backend_start from pg_stat_activity where pid = pg_backend_pid()")
		if by := seen[pid]; by != "" || pid == "" {
			t.Errorf("the backend %q is that of %s too", pid, by)
		}
		seen[pid] = p.id
		expect(t, c, map[string]string{"select current_user": roleOf(p.id), "select session_user": roleOf(p.id)})
		if i%2 == 0 {
			_ = c.Close(context.Background())
		}
	}
}
