package pgkind

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/resource"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
)

// Whoever runs a connector may be stopped in the middle of a statement: the
// next run gets to the same end.
//
// Invariant: A39
// Attack: PG-17
func TestStoppedAnywhere(t *testing.T) {
	w := newWorld(t, "")
	like := w.provision(readOrders)
	stopped := 0
	for i := range int64(40) {
		target := w.again(like, readOrders)
		for _, act := range []func(context.Context, resource.Target) error{w.c.Provision, w.c.Remove} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*int64(15*time.Millisecond)/40))
			if act(ctx, target) != nil {
				stopped++
			}
			cancel()
			if err := act(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			if act(t.Context(), target) != nil {
				t.Fatal("a third time it fails")
			}
		}
		if left := w.traces(roleOf(target.Grant.ID)); left != "0" {
			t.Fatalf("%s traces are left", left)
		}
	}
	if stopped == 0 {
		t.Error("nothing was stopped")
	}
	expect(t, w.login(like), map[string]string{"select count(*) from orders": "1000"})
	w.remove(like)
}

// A server that was restarted is found again, and one that is down is said so
// without anything of ours in the error.
//
// Invariant: A39
// Attack: PG-16
func TestServerGoesAway(t *testing.T) {
	w := newWorld(t, "")
	kept, next := w.provision(readOrders), w.grant(readOrders, time.Hour)
	for range 3 { // as many as may be kept
		w.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'daypass' and pid <> pg_backend_pid()")
		if err := w.c.Provision(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		if err := w.c.check(t.Context(), w.r, mustScope(t, readOrders), next.Found); err != nil {
			t.Fatal(err)
		}
	}
	w.remove(next)
	w.remove(kept)
	down, err := parseConfig("upstream: host=127.0.0.1 port=1 dbname=shop sslmode=disable\nuser: postgres\npassword: {env: DAYPASS_TEST_PASSWORD_" + pgtest.Superuser + "}\n")
	if err != nil {
		t.Fatal(err)
	}
	r := *w.r
	r.Config = down
	next.Resource = &r
	for what, err := range map[string]error{"provision": w.c.Provision(t.Context(), next), "remove": w.c.Remove(t.Context(), next), "cut": <-w.c.cut(&r, roleOf(next.Grant.ID))} {
		if err == nil || strings.Contains(err.Error(), pgtest.Password) || !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The login's password may change while the server runs.
func TestPasswordOfTheLoginIsReadEachTime(t *testing.T) {
	w := newWorld(t, "")
	t.Setenv("DAYPASS_TEST_ROTATED", "wrong")
	c := *w.r.Config.(*Config)
	c.password = config.Secret{Env: "DAYPASS_TEST_ROTATED"}
	r := *w.r
	r.Config = &c
	target := w.grant(readOrders, time.Hour)
	target.Resource = &r
	w.c.Close() // nothing that is kept helps
	if err := w.c.Provision(t.Context(), target); state(err) != "28P01" {
		t.Fatal(err)
	}
	if err := os.Setenv("DAYPASS_TEST_ROTATED", pgtest.Password); err != nil {
		t.Fatal(err)
	}
	if err := w.c.Provision(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	w.remove(target)
}

// The password of a role is in nothing that the server logs, which is told of a
// verifier alone.
//
// Attack: PG-16
func TestPasswordsAreNowhere(t *testing.T) {
	pg, err := pgtest.Start("log_statement = 'all'", "log_min_duration_statement = 0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	pg.Run(t, "postgres", "create database shop")
	pg.Run(t, "shop", shop)
	w := &world{t: t, pg: pg, database: "shop", now: time.Now}
	w.r = w.resource(pgtest.Superuser, pgtest.Password, "")
	w.c = w.connector("one")
	t.Cleanup(w.c.Close)
	target := w.provision(readOrders)
	up, err := w.c.dialUpstream(t.Context(), w.r, target.Grant.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = up.Conn.Close()
	w.remove(target)
	log, err := os.ReadFile(pg.Dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "CREATE ROLE") || strings.Contains(string(log), w.c.password(target.Grant.ID)) {
		t.Error("the log holds the password, or nothing of what was done")
	}
	if w.c.password("grt_a") == w.c.password("grt_b") || w.c.password("grt_a") == w.connector("two").password("grt_a") {
		t.Error("passwords are not of one grant and one server")
	}
}
