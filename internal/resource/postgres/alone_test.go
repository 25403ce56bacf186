package pgkind

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/jackc/pgx/v5/pgconn"
)

// unableToCut is a connector that can terminate nothing: its login was locked
// out, say.
type unableToCut struct{ *connector }

func (unableToCut) cut(*policy.Resource, string) <-chan error {
	failed := make(chan error, 1)
	failed <- errors.New("no connection")
	return failed
}

// The end of a grant needs neither a record that can be written nor a login that
// may terminate: its sessions end, and what they ran is undone.
//
// Invariant: A1, A4, A38
// Attack: PG-12
func TestAnEndNeedsNobody(t *testing.T) {
	d := newDesk(t, deskOptions{wrap: func(c *connector) target { return unableToCut{c} }})
	p := d.pass(writeOrders, time.Hour)
	idle, busy := d.connect(p), d.connect(p)
	waited, ran := make(chan error, 1), make(chan error, 1)
	go func() { waited <- idle.PgConn().WaitForNotification(context.Background()) }()
	go func() {
		_, err := busy.Exec(context.Background(), "insert into orders select 7000, 'late', 1, '' from pg_sleep(2)")
		ran <- err
	}()
	eventually(t, "the statement runs", func() bool {
		return d.value("select count(*) from pg_stat_activity where query like 'insert into orders%' and state = 'active' and usename = '"+roleOf(p.id)+"'") == "1"
	})
	d.rec.set(func(r *record) { r.fail = errDisk })
	end := time.Now()
	d.index.End(p.id, d.now(), live.ReasonRevoked)
	for _, done := range []chan error{waited, ran} {
		err := <-done
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "57P01" || time.Since(end) > endBound {
			t.Errorf("%v after the end: %v", time.Since(end), err)
		}
	}
	eventually(t, "no backend is left", func() bool {
		return d.value("select count(*) from pg_stat_activity where usename = '"+roleOf(p.id)+"'") == "0"
	})
	if late := time.Since(end); late > endBound {
		t.Errorf("the last backend was gone %v after the end", late)
	}
	time.Sleep(time.Until(end.Add(2500 * time.Millisecond)))
	if got := d.value("select count(*) from orders where id = 7000"); got != "0" {
		t.Error("what was written after the end has stayed")
	}
}

// The role of a grant lets nobody in later than its grant, also without a
// gateway, and whatever the fraction of a second in which that ends.
//
// Invariant: A3
// Attack: PG-17
func TestNoRoleOutlivesItsGrant(t *testing.T) {
	scope := mustScope(t, readOrders)
	for range 10_000 {
		end := time.UnixMilli(rand.Int64N(4e12))
		m := grantRoleOf("grt_aaaaaaaaaaaaaaaaaaaaaaaaaa", &Config{maxSessions: 1}, scope, end, time.Minute)
		until, err := time.Parse(time.RFC3339, m.untilText())
		if err != nil || until.After(end) || end.Sub(until) >= time.Second {
			t.Fatalf("a grant that ends at %v has a role that ends at %s, %v", end, m.untilText(), err)
		}
	}
	w := newWorld(t, "")
	target := w.grant(readOrders, 2700*time.Millisecond)
	if err := w.c.Provision(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	let := 0
	for {
		began := time.Now()
		c, err := w.pg.Try(roleOf(target.Grant.ID), w.c.password(target.Grant.ID), w.database)
		if err != nil {
			break
		}
		_ = c.Close(context.Background())
		if let++; began.After(target.ExpiresAt) {
			t.Fatalf("let in %v after the end", time.Since(target.ExpiresAt))
		}
	}
	if let == 0 {
		t.Error("nobody was let in at all")
	}
}
