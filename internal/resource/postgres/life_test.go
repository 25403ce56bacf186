package pgkind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	"github.com/jackc/pgx/v5"
)

// Grants on one table come and go at once without an error that the server
// gives to those who change one thing at the same time.
//
// Invariant: A39
// Attack: PG-17
func TestManyGrantsAtOnce(t *testing.T) {
	w := newWorld(t, "")
	const workers, each = 16, 50
	targets := make([][]resource.Target, workers)
	first := map[string]resource.Target{}
	for i := range targets {
		for j := range each {
			scope := readOrders
			if j%5 == 4 { // scope roles come about in between
				scope = fmt.Sprintf(`{"actions":["select","update"],"tables":["public.orders"],"columns":{"public.orders":["%s"]}}`, []string{"id", "customer", "total", "card"}[i%4])
			}
			targets[i] = append(targets[i], w.again(first[scope], scope))
			first[scope] = targets[i][j]
		}
	}
	errs := make(chan error, 2*workers*each)
	began := time.Now()
	var group sync.WaitGroup
	for _, mine := range targets {
		group.Go(func() {
			for _, target := range mine {
				errs <- w.c.Provision(t.Context(), target)
				errs <- w.c.Remove(t.Context(), target)
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if left := w.value("select count(*) from pg_roles where rolname ~ '^daypass_g_'"); left != "0" {
		t.Errorf("%s roles are left", left)
	}
	t.Logf("%d grants made and removed: %.0f /s", workers*each, workers*each/took.Seconds())
}

// Whatever a session does or leaves, nothing of its grant is left afterwards.
//
// Invariant: A1, A39
// Attack: PG-12, PG-13, PG-17
func TestRemoveWhateverASessionLeft(t *testing.T) {
	w := newWorld(t, "", "grant create on schema public to public; create function burn() returns void language plpgsql as "+
		"'begin loop begin perform pg_sleep(60); exception when query_canceled then null; end; end loop; end'; grant execute on function burn to public")
	other := w.pg.Database(t)
	for name, what := range map[string][]string{
		"idle":                 {"select 1"},
		"in a transaction":     {"begin", "select * from orders limit 1"},
		"holds a lock":         {"set default_transaction_read_only = off", "begin", "lock orders in access share mode"},
		"prepared transaction": {"set default_transaction_read_only = off", "begin", "create table mine (a int)", "prepare transaction 'NAME'"},
		"owns a table":         {"set default_transaction_read_only = off", "create table left_behind (a int)"},
		"large object":         {"set default_transaction_read_only = off", "select lo_from_bytea(0, 'x')"},
		"default privileges":   {"set default_transaction_read_only = off", "alter default privileges grant select on tables to public"},
		"temporary table":      {"set default_transaction_read_only = off", "create temp table t (a int)"},
		"settings":             {"set default_transaction_read_only = off", "alter role current_user set work_mem = '10GB'"},
	} {
		t.Run(name, func(t *testing.T) {
			target := w.provision(readOrders)
			role := roleOf(target.Grant.ID)
			c := w.login(target)
			for _, sql := range what {
				do(t, c, strings.ReplaceAll(sql, "NAME", role))
			}
			w.remove(target)
			if left := w.traces(role); left != "0" {
				t.Errorf("%s traces are left", left)
			}
		})
	}
	t.Run("runs what cannot be cancelled", func(t *testing.T) {
		target := w.provision(readOrders)
		c := w.login(target)
		ended := make(chan error, 1)
		go func() {
			_, err := c.Exec(context.Background(), "select burn()")
			ended <- err
		}()
		for w.value("select count(*) from pg_stat_activity where state = 'active' and usename = '"+roleOf(target.Grant.ID)+"'") != "1" {
			time.Sleep(5 * time.Millisecond)
		}
		began := time.Now()
		w.remove(target)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if err := <-ended; err == nil {
			t.Error("it ended by itself")
		}
	})
	t.Run("in another database", func(t *testing.T) {
		target := w.provision(readOrders)
		c := w.pg.Connect(t, roleOf(target.Grant.ID), w.c.password(target.Grant.ID), other)
		for _, sql := range []string{"set default_transaction_read_only = off", "select lo_from_bytea(0, 'x')", "begin", "select lo_from_bytea(0, 'y')", "prepare transaction '" + roleOf(target.Grant.ID) + "'"} {
			do(t, c, sql)
		}
		w.remove(target)
		if left := w.traces(roleOf(target.Grant.ID)); left != "0" {
			t.Errorf("%s traces are left", left)
		}
	})
}

// A server may die between any two statements: whatever part of an earlier run
// there is, running again gets to the same end.
//
// Invariant: A39
// Attack: PG-17
func TestRunsAgainAfterAnyPart(t *testing.T) {
	w := newWorld(t, "")
	for name, spoil := range map[string]string{
		"nothing":             "",
		"no role":             "drop role ROLE",
		"shut":                "alter role ROLE nologin",
		"no settings":         "alter role ROLE reset all",
		"no membership":       "do $$ declare g text; begin for g in select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid where m.member = 'ROLE'::regrole loop execute format('revoke %I from ROLE', g); end loop; end $$",
		"another membership":  "grant pg_read_all_data to ROLE",
		"powers":              "alter role ROLE superuser valid until 'infinity'",
		"another password":    "alter role ROLE password 'known'",
		"scope role is empty": "do $$ declare g text; begin for g in select rolname from pg_roles where rolname ~ '^daypass_s_' loop execute format('revoke all on orders from %I', g); end loop; end $$",
		"no scope role":       "drop role ROLE; do $$ declare g text; begin for g in select rolname from pg_roles where rolname ~ '^daypass_s_' loop execute format('drop owned by %I', g); execute format('drop role %I', g); end loop; end $$",
	} {
		t.Run(name, func(t *testing.T) {
			target := w.provision(readOrders)
			role := roleOf(target.Grant.ID)
			if spoil != "" {
				w.run(strings.ReplaceAll(spoil, "ROLE", role))
			}
			again := w.connector("one") // which remembers nothing
			defer again.Close()
			if err := again.Provision(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			c := w.login(target)
			expect(t, c, map[string]string{"select count(*) from orders": "1000", "select count(*) from customers": "42501", "show client_connection_check_interval": "250ms"})
			if spoil != "" && !strings.Contains(spoil, "drop") {
				w.run(strings.ReplaceAll(spoil, "ROLE", role))
			}
			w.remove(target)
			if left := w.traces(role); left != "0" {
				t.Errorf("%s traces are left", left)
			}
		})
	}
}

// Invariant: A39
func TestALateRemoveHarmsNoNewerGrant(t *testing.T) {
	w := newWorld(t, "")
	old, newer := w.provision(readOrders), w.provision(readOrders)
	c := w.login(newer)
	for range 3 {
		w.remove(old)
	}
	if err := <-w.c.cut(w.r, roleOf(old.Grant.ID)); err != nil {
		t.Fatal(err)
	}
	expect(t, c, map[string]string{"select count(*) from orders": "1000"})
	expect(t, w.login(newer), map[string]string{"select count(*) from orders": "1000"})
}

// Invariant: A1
// Attack: PG-12
func TestCutEndsSessionsTogether(t *testing.T) {
	w := newWorld(t, "")
	const n = 40
	var targets []resource.Target
	var sessions []*pgx.Conn
	for range n {
		target := w.provision(readOrders)
		targets, sessions = append(targets, target), append(sessions, w.login(target))
	}
	spared := w.provision(readOrders)
	stays := w.login(spared)
	began := time.Now()
	var waits []<-chan error
	for _, target := range targets {
		waits = append(waits, w.c.cut(w.r, roleOf(target.Grant.ID)))
	}
	for _, wait := range waits {
		if err := <-wait; err != nil {
			t.Fatal(err)
		}
	}
	told := time.Since(began)
	for w.value("select count(*) from pg_stat_activity where usename ~ '^daypass_g_'") != "1" {
		if time.Since(began) > 10*time.Second {
			t.Fatal("sessions live on")
		}
	}
	t.Logf("%d sessions: told after %v, gone after %v", n, told, time.Since(began))
	for i, s := range sessions {
		if got := answer(s, "select 1"); got == "1" {
			t.Errorf("session %d lives on", i)
		}
		if c, err := w.pg.Try(roleOf(targets[i].Grant.ID), w.c.password(targets[i].Grant.ID), w.database); err == nil {
			_ = c.Close(context.Background())
			t.Error("a role that was cut logs in")
		}
	}
	expect(t, stays, map[string]string{"select 1": "1"})
	for _, target := range append(targets, spared) {
		w.remove(target)
	}
}

// What comes over the connection that cuts is told even when that died.
//
// Invariant: A39
func TestCutOverADeadConnection(t *testing.T) {
	w := newWorld(t, "")
	target := w.provision(readOrders)
	c := w.login(target)
	w.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'daypass' and pid <> pg_backend_pid()")
	if err := <-w.c.cut(w.r, roleOf(target.Grant.ID)); err != nil {
		t.Fatal(err)
	}
	if got := answer(c, "select 1"); got == "1" {
		t.Error("the session lives on")
	}
	w.remove(target)
}

// Invariant: A39
// Attack: PG-17
func TestReconcileSweepsAndMends(t *testing.T) {
	w := newWorld(t, "")
	kept, orphan, dropped := w.provision(readOrders), w.provision(readOrders), w.provision(`{"actions":["insert"],"tables":["public.customers"]}`)
	session := w.login(orphan)
	foreign := w.connector("another Daypass")
	defer foreign.Close()
	theirs := w.grant(readOrders, time.Hour)
	if err := foreign.Provision(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.run("alter role " + roleOf(kept.Grant.ID) + " password 'known' valid until 'infinity'; drop role " + roleOf(dropped.Grant.ID) +
		"; do $$ declare g text; begin for g in select rolname from pg_roles where rolname ~ '^daypass_s_' loop execute format('alter role %I login password ''known''', g); end loop; end $$")
	stands := func(_ context.Context, grant string) (bool, error) {
		return grant == kept.Grant.ID || grant == dropped.Grant.ID, nil
	}
	said, err := w.c.Reconcile(t.Context(), []*policy.Resource{w.r, w.r}, stands)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(said, "\n")
	for _, want := range []string{roleOf(orphan.Grant.ID) + " is of no grant", roleOf(kept.Grant.ID) + " of " + kept.Grant.ID + " was given another end", roleOf(dropped.Grant.ID) + " of " + dropped.Grant.ID + " was dropped", "had a password or powers"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	if left := w.traces(roleOf(orphan.Grant.ID)); left != "0" || answer(session, "select 1") == "1" {
		t.Errorf("the orphan is left: %s", left)
	}
	expect(t, w.login(kept), map[string]string{"select count(*) from orders": "1000"})
	expect(t, w.login(dropped), map[string]string{"insert into customers (name) values ('x')": "", "select count(*) from customers": "42501"})
	if got := w.value("select count(*) from pg_authid where rolname ~ '^daypass_s_' and (rolcanlogin or rolpassword is not null)"); got != "0" {
		t.Errorf("%s scope roles can log in", got)
	}
	if got := w.traces(roleOf(theirs.Grant.ID)); got != "1" {
		t.Error("the role of another Daypass is gone")
	}
	if said, err = w.c.Reconcile(t.Context(), []*policy.Resource{w.r}, stands); err != nil || len(said) != 0 {
		t.Errorf("a second time it says %q, %v", said, err)
	}
	for _, target := range []resource.Target{kept, dropped} {
		w.remove(target)
	}
	if err := foreign.Remove(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.Reconcile(t.Context(), []*policy.Resource{w.r}, stands); err != nil {
		t.Fatal(err)
	}
	if got := w.value("select count(*) from pg_roles where rolname ~ '^daypass_[sg]_'"); got != "0" {
		t.Errorf("%s roles are left", got)
	}
}

// A grant that is over is not brought back by what repairs roles.
//
// Invariant: A1
func TestReconcileDoesNotReviveWhatWasCut(t *testing.T) {
	w := newWorld(t, "")
	target := w.provision(readOrders)
	if err := <-w.c.cut(w.r, roleOf(target.Grant.ID)); err != nil {
		t.Fatal(err)
	}
	said, err := w.c.Reconcile(t.Context(), []*policy.Resource{w.r}, func(context.Context, string) (bool, error) { return true, nil })
	if err != nil || len(said) != 0 {
		t.Fatal(said, err)
	}
	if got := w.value("select rolcanlogin from pg_roles where rolname = '" + roleOf(target.Grant.ID) + "'"); got != "f" {
		t.Errorf("the role can log in: %s", got)
	}
	w.remove(target)
}

// A server that cannot be asked removes nothing, and says so.
func TestReconcileWithoutAnAnswer(t *testing.T) {
	w := newWorld(t, "")
	target := w.provision(readOrders)
	_, err := w.c.Reconcile(t.Context(), []*policy.Resource{w.r}, func(context.Context, string) (bool, error) { return false, errors.New("the store is busy") })
	if err == nil || w.traces(roleOf(target.Grant.ID)) != "1" {
		t.Errorf("%v", err)
	}
}
