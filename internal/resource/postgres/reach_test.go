package pgkind

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

// relations is how many relations a grant would reach, as a request is told.
func (w *world) relations() int {
	w.t.Helper()
	finding, err := w.c.Inspect(context.Background(), w.r, mustScope(w.t, readOrders))
	if err != nil {
		w.t.Fatal(err)
	}
	return decoded(w.t, finding.Target).Effective.Relations
}

// What a role would reach is asked once for some seconds; what names stand for,
// each time.
//
// Invariant: A20
// Attack: PG-05
func TestWhatARoleReachesIsKeptForSeconds(t *testing.T) {
	w := newWorld(t, "")
	var skew time.Duration
	w.now = func() time.Time { return time.Now().Add(skew) }
	if n := w.relations(); n != 1 {
		t.Fatalf("%d relations", n)
	}
	w.run("create view v as select 1; grant select on v to public")
	if n := w.relations(); n != 1 {
		t.Errorf("%d relations: it was looked at again at once", n)
	}
	was := decoded(t, w.grant(readOrders, time.Hour).Found)
	w.run("alter table orders rename to orders_old; create table orders (id int)")
	now := w.grant(readOrders, time.Hour)
	if is := decoded(t, now.Found); is.Tables["public.orders"] == was.Tables["public.orders"] {
		t.Error("a name stands for what it stood for before")
	}
	if n := w.relations(); n != 2 {
		t.Errorf("%d relations of other objects", n)
	}
	w.run("drop view v")
	skew = keepReach
	if n := w.relations(); n != 1 {
		t.Errorf("%d relations after %v", n, skew)
	}
	skew = -time.Hour // a clock that went back makes nothing last
	w.run("create view v as select 1; grant select on v to public")
	if n := w.relations(); n != 2 {
		t.Errorf("%d relations after the clock went back", n)
	}
}

// Those who ask the same at once share one look, and who leaves takes it from
// nobody. What went wrong is not kept.
func TestWhatARoleReachesIsAskedOnce(t *testing.T) {
	w := newWorld(t, "")
	s, _, err := w.c.primary(w.r)
	if err != nil {
		t.Fatal(err)
	}
	f := decoded(t, w.grant(readOrders, time.Hour).Found)
	s.forget()
	blocker := w.pg.Connect(t, "postgres", "of the superuser", w.database)
	do(t, blocker, "begin; lock pg_catalog.pg_language in access exclusive mode")
	gone, leave := context.WithCancel(t.Context())
	var group sync.WaitGroup
	errs := make(chan error, 10)
	for i := range 10 {
		ctx := t.Context()
		if i == 0 {
			ctx = gone
		}
		group.Go(func() {
			_, err := s.reaching(ctx, f)
			if i > 0 {
				errs <- err
			} else if !errors.Is(err, context.Canceled) {
				t.Errorf("who left was told %v", err)
			}
		})
	}
	waiting := "select count(*) from pg_stat_activity where application_name = 'daypass' and wait_event_type = 'Lock' and datname = '" + w.database + "'"
	eventually(t, "one look waits", func() bool { return answer(blocker, waiting) == "1" })
	leave()
	time.Sleep(50 * time.Millisecond)
	if n := answer(blocker, waiting); n != "1" {
		t.Errorf("%s look at the same time", n)
	}
	do(t, blocker, "rollback")
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	s.forget()
	do(t, blocker, "begin; lock pg_catalog.pg_language in access exclusive mode")
	ended := make(chan error, 1)
	go func() {
		_, err := s.reaching(t.Context(), f)
		ended <- err
	}()
	eventually(t, "a look waits", func() bool { return answer(blocker, waiting) == "1" })
	do(t, blocker, "select pg_cancel_backend(pid) from pg_stat_activity where application_name = 'daypass' and wait_event_type = 'Lock' and datname = '"+w.database+"'")
	if err := <-ended; state(err) != "57014" {
		t.Errorf("a look that failed: %v", err)
	}
	do(t, blocker, "rollback")
	if _, err := s.reaching(t.Context(), f); err != nil {
		t.Errorf("the failure was kept: %v", err)
	}
}

// Hours may lie between asking and the start of a grant: what it would reach by
// then is compared with the threshold again. A role that is there is no wider for
// being there longer.
//
// Invariant: A20
// Attack: PG-06
func TestARoleIsNotMadeOverTheThreshold(t *testing.T) {
	w := newWorld(t, "effective: {relations: 1}")
	var skew time.Duration
	w.now = func() time.Time { return time.Now().Add(skew) }
	running, asked := w.provision(readOrders), w.grant(readOrders, time.Hour)
	w.run("create view v as select 1; grant select on v to public")
	skew = time.Minute
	err := w.c.Provision(t.Context(), asked)
	if _, unfit := errors.AsType[*policy.Unfit](err); !unfit || !strings.Contains(err.Error(), "effectively 2 relations (also public.v)") {
		t.Errorf("%v", err)
	}
	if left := w.traces(roleOf(asked.Grant.ID)); left != "0" {
		t.Errorf("%s traces of what was refused", left)
	}
	running.ExpiresAt = running.ExpiresAt.Add(time.Hour) // an extension
	for _, c := range []*connector{w.c, w.connector("one")} {
		if err := c.Provision(t.Context(), running); err != nil {
			t.Errorf("an extension: %v", err)
		}
	}
	w.run("drop view v")
	skew = 2 * time.Minute
	if err := w.c.Provision(t.Context(), asked); err != nil {
		t.Errorf("under the threshold again: %v", err)
	}
	w.remove(asked)
	w.remove(running)
}

// Those that are made together share a transaction, and the one among them that
// cannot be made holds up no other.
//
// Invariant: A39
// Attack: PG-05, PG-17
func TestRolesAreMadeTogether(t *testing.T) {
	w := newWorld(t, "")
	s, _, err := w.c.primary(w.r)
	if err != nil {
		t.Fatal(err)
	}
	other := `{"actions":["select"],"tables":["public.customers"]}`
	var targets []resource.Target
	for range 5 {
		targets = append(targets, w.grant(readOrders, time.Hour), w.grant(other, time.Hour))
	}
	targets = append(targets, w.grant(`{"actions":["select"],"tables":["reporting.daily"]}`, time.Hour))
	w.run("alter table reporting.daily rename to gone")
	w.remove(w.provision(readOrders)) // so that the scope roles are there
	w.remove(w.provision(other))
	there := w.provision(readOrders) // it comes again, in another's memory
	w.c.finish(roleOf(there.Grant.ID), false)
	transactions := func() string {
		return w.value("select count(distinct xmin::text) from pg_authid where rolname ~ '^daypass_g_' and rolname <> '" + roleOf(there.Grant.ID) + "'")
	}
	made := func(targets []resource.Target) (errs []error) {
		t.Helper()
		var all []*making
		for _, target := range targets {
			g, err := w.c.making(target)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, g)
		}
		errs = s.makeAll(t.Context(), all)
		for i, g := range all {
			if errs[i] == nil && !g.done { // as Provision goes on
				errs[i] = g.realise(t.Context())
			}
		}
		return errs
	}
	for i, err := range made(targets) {
		if broken := i == 10; (err != nil) != broken || broken && !strings.Contains(err.Error(), "There is no table reporting.daily") {
			t.Errorf("%d: %v", i, err)
		}
	}
	if n := transactions(); n != "1" {
		t.Errorf("10 roles were made in %s transactions", n)
	}
	for i, target := range targets[:10] {
		reads, not := "orders", "customers"
		if i%2 == 1 {
			reads, not = not, reads
		}
		expect(t, w.login(target), map[string]string{"select 1 from " + reads + " limit 1": "1", "select 1 from " + not: "42501", "show temp_file_limit": "1GB"})
		w.remove(target)
	}
	again := []resource.Target{there, w.again(there, readOrders), w.again(there, readOrders)}
	for i, err := range made(again) {
		if err != nil {
			t.Errorf("beside one that is there, %d: %v", i, err)
		}
	}
	session := w.login(again[1])
	expect(t, session, map[string]string{"select count(*) from orders": "1000"})
	expect(t, w.login(again[0]), map[string]string{"select count(*) from orders": "1000"})
	unused := w.provision(readOrders)
	removals := []*removal{{role: roleOf(unused.Grant.ID)}, {role: roleOf(again[1].Grant.ID)}, {role: roleOf(again[2].Grant.ID), stays: true}, {role: "daypass_g_unknown"}}
	for i, err := range s.removeAll(t.Context(), removals) {
		if want := i == 0 || i == 3; err != nil || removals[i].gone != want {
			t.Errorf("%d: %+v, %v", i, removals[i], err)
		}
	}
	if w.traces(roleOf(unused.Grant.ID)) != "0" || answer(session, "select 1") != "1" || removals[1].oid == "" || removals[2].oid == "" {
		t.Error("the one that nobody used is left, or another one is gone")
	}
	w.remove(unused)
	for _, target := range again {
		w.remove(target)
	}
}
