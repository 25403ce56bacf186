//go:build unix

package daemon_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
)

// orders is the catalog of a server that guards one database.
const orders = `resources:
  - id: orders-db
    kind: postgres
    owners: [group:payments]
    postgres:
      upstream: %s
      user: %s
      password: {env: DAYPASS_TEST_ORDERS_PASSWORD}
      rows:
        remainder: {table: public.orders, where: "id %% 2 = :of", literals: {of: integer}}
    roles:
      read: {actions: [select], tables: [public.orders]}
      write: {actions: [insert, select], tables: [public.orders]}
      some: {actions: [select], tables: [public.orders], max_rows: 150}
      even: {actions: [select], tables: [public.orders], rows: {public.orders: {template: remainder, of: 0}}}
policy:
  rules:
    - {name: all, when: 'resource.id == "orders-db"', approve: auto, max_duration: 1h, max_total: 2h}
`

const shop = `
create table orders (id int primary key, total int);
insert into orders select n, n from generate_series(1, 100) n;
create table customers (id int, name text);
`

// guarded is a server in front of a database of its own.
type guarded struct {
	*server
	pg       *pgtest.Server
	database string
}

func guard(t *testing.T) *guarded {
	t.Helper()
	return guardOf(t, pgtest.Shared(t))
}

func guardOf(t *testing.T, pg *pgtest.Server) *guarded {
	t.Helper()
	g := &guarded{server: files(t), pg: pg, database: pg.Database(t, shop)}
	catalog := g.read("catalog.yaml")
	head, _, _ := strings.Cut(catalog, "groups:\n")
	g.write("catalog.yaml", head+fmt.Sprintf(orders, pg.Upstream(g.database), pgtest.Superuser))
	g.env = append(g.env, "DAYPASS_TEST_ORDERS_PASSWORD="+pgtest.Password)
	g.write("daypass.yaml", "listen: 127.0.0.1:0\ndata: "+g.data+"\ncatalog: ./catalog.yaml\ngateways:\n  http: {listen: 127.0.0.1:0, domain: localhost}\n  postgres: {listen: 127.0.0.1:0}\n")
	g.start()
	t.Cleanup(func() { // before the database goes, which has the roles' rights in it
		g.kill()
		pg.Run(t, g.database, `do $$ declare r record; begin
			for r in select rolname from pg_roles where rolname like 'daypass\_%' loop
				execute format('drop owned by %I cascade', r.rolname);
				execute format('drop role %I', r.rolname);
			end loop; end $$`)
	})
	return g
}

// psql runs a client as a person does, from the lines of the connect object.
func (g *guarded) psql(ctx context.Context, c api.Connect, token string, commands ...string) (string, error) {
	args := []string{c.DSN, "-X", "-A", "-t", "-v", "VERBOSITY=verbose"}
	for _, one := range commands {
		args = append(args, "-c", one)
	}
	cmd := exec.CommandContext(ctx, "psql", args...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+token, "PGCONNECT_TIMEOUT=10")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// backends counts the sessions of a grant's role, seen from the database.
func (g *guarded) backends(grant string) string {
	g.t.Helper()
	c, err := g.pg.Try(pgtest.Superuser, pgtest.Password, g.database)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	var n string
	if err := c.QueryRow(context.Background(), "select count(*)::text from pg_stat_activity where usename = $1", "daypass_g_"+grant[len("grt_"):]).Scan(&n); err != nil {
		g.t.Fatal(err)
	}
	return n
}

// The sentence with which it is sold: only reads, on this table, until then.
//
// Invariant: A1, A2, A5, A23
// Attack: PG-12, PG-17
func TestOnlyReadsOnThisTableUntilThen(t *testing.T) {
	g := guard(t)
	r := g.granted("user:ana", "orders-db", "read", 6*time.Second)
	end := r.Grant.ExpiresAt.Time
	token := g.token("user:ana", r)
	if r.Grant.Connect == nil {
		r = g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request()
	}
	c := *r.Grant.Connect
	if strings.Contains(c.DSN, token) || !strings.Contains(c.DSN, "sslmode=verify-full") {
		t.Errorf("dsn %s", c.DSN)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := g.psql(ctx, c, token, "select count(*) from orders"); err != nil || out != "100\n" {
		t.Fatalf("%v %s", err, out)
	}
	for _, sql := range []string{"select * from customers", "update orders set total = 0", "insert into orders values (0, 0)"} {
		if out, err := g.psql(ctx, c, token, sql); err == nil || !strings.Contains(out, "ERROR:  42501") {
			t.Errorf("%s: %v %s", sql, err, out)
		}
	}
	out, err := g.psql(ctx, c, token, "select pg_sleep(60)")
	late := time.Since(end)
	if err == nil || late < 0 || late > time.Second || !strings.Contains(out, "FATAL:  57P01: terminating connection: the Daypass grant "+r.Grant.ID+" expired at "+r.Grant.ExpiresAt.String()) ||
		!strings.Contains(out, "HINT:  Ask again: daypass request orders-db --role read --for 6s --reason TEXT, or http") {
		t.Errorf("%v after the end: %v %s", late, err, out)
	}
	soon(t, "no backend is left", func() bool { return g.backends(r.Grant.ID) == "0" })
	if took := time.Since(end); took > time.Second {
		t.Errorf("the last backend was gone after %v", took)
	}
	if out, err := g.psql(ctx, c, token, "select 1"); err == nil || !strings.Contains(out, "the Daypass grant "+r.Grant.ID+" expired at ") || !strings.Contains(out, "Ask again: ") {
		t.Errorf("after the end: %v %s", err, out)
	}
	t.Logf("psql was back %v after the end", late.Round(time.Millisecond))
}

// Invariant: A2, A5
func TestRevokingAndExtendingAGrantOfADatabase(t *testing.T) {
	g := guard(t)
	r := g.granted("user:ana", "orders-db", "write", 5*time.Second)
	token := g.token("user:ana", r)
	c := *g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request().Grant.Connect
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	type result struct {
		out string
		err error
		at  time.Time
	}
	done := make(chan result, 1)
	go func() {
		out, err := g.psql(ctx, c, token, "select 'began'", "select pg_sleep(7)", "insert into orders select 1000, 1", "select 'extended'", "insert into orders select 2000, 1 from pg_sleep(60)")
		done <- result{out, err, time.Now()}
	}()
	g.call("user:ana", "POST", "/v1/grants/"+r.Grant.ID+"/extend", m{"duration": "1m"}).is(201)
	time.Sleep(time.Until(r.Grant.ExpiresAt.Time) + 3*time.Second)
	if n := g.backends(r.Grant.ID); n != "1" {
		t.Errorf("%s backends after an extension", n)
	}
	start := time.Now()
	g.call("user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", m{"reason": "enough"}).is(200)
	got := <-done
	if late := got.at.Sub(start); late > time.Second || !strings.Contains(got.out, "began\n") || !strings.Contains(got.out, "extended\n") || !strings.Contains(got.out, "the Daypass grant "+r.Grant.ID+" was revoked at ") {
		t.Errorf("%v after the call: %v %s", late, got.err, got.out)
	}
	soon(t, "no backend is left", func() bool { return g.backends(r.Grant.ID) == "0" })
	if took := time.Since(start); took > time.Second {
		t.Errorf("the last backend was gone after %v", took)
	}
}

// A gateway that is killed takes what runs through it along: the server looks
// whether anybody is there.
//
// Invariant: A1, A6
// Attack: PG-12
func TestAKilledGatewayLeavesNoBackend(t *testing.T) {
	g := guard(t)
	r := g.granted("user:ana", "orders-db", "write", 10*time.Minute)
	token := g.token("user:ana", r)
	c := *g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request().Grant.Connect
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan string, 1)
	go func() {
		out, _ := g.psql(ctx, c, token, "insert into orders select 3000, 1 from pg_sleep(4)")
		done <- out
	}()
	for until := time.Now().Add(patience); g.backends(r.Grant.ID) != "1"; {
		if time.Now().After(until) {
			t.Fatal("it does not run")
		}
	}
	g.kill()
	killed := time.Now()
	for g.backends(r.Grant.ID) != "0" {
		if time.Since(killed) > time.Second {
			t.Fatal("the backend lives a second after the gateway")
		}
	}
	t.Logf("the backend was gone %v after the gateway", time.Since(killed).Round(time.Millisecond))
	if out := <-done; strings.Contains(out, "INSERT") {
		t.Error(out)
	}
	time.Sleep(time.Until(killed.Add(4500 * time.Millisecond)))
	check, err := g.pg.Try(pgtest.Superuser, pgtest.Password, g.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = check.Close(context.Background()) }()
	var n int
	if err := check.QueryRow(ctx, "select count(*) from orders where id = 3000").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows were written after the end of the gateway, %v", n, err)
	}
}

// What the database says that a grant would really reach is the policy's to
// weigh.
//
// Invariant: A16, A19
func TestPolicyWeighsWhatADatabaseGivesEverybody(t *testing.T) {
	g := guard(t)
	catalog := g.read("catalog.yaml")
	const all = `{name: all, when: 'resource.id == "orders-db"', approve: auto`
	if !strings.Contains(catalog, all) {
		t.Fatal(catalog)
	}
	g.write("catalog.yaml", strings.Replace(catalog, all, `{name: exact, kind: postgres, when: 'effective.relations == size(scope.tables) && effective.owner_functions == 0', approve: auto`, 1))
	g.kill()
	g.start()
	ask := m{"resource": "orders-db", "role": "read", "duration": "5m", "reason": "x"}
	g.call("user:ana", "POST", "/v1/requests", ask).is(201)
	g.pg.Run(t, g.database, "create view everybodys as select * from customers; grant select on everybodys to public")
	time.Sleep(6 * time.Second) // an answer is kept for five
	r := g.call("user:ana", "POST", "/v1/requests", ask).is(403)
	if !strings.Contains(string(r.body), "not_requestable") {
		t.Errorf("%s", r.body)
	}
}

// What a grant may read is not more because Daypass was started again. After a
// crash nobody knows how much was read, and that is nothing more.
//
// Invariant: A20, A29
func TestLimitsOutliveARestart(t *testing.T) {
	g := guard(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	r := g.granted("user:ana", "orders-db", "some", 30*time.Minute)
	token := g.token("user:ana", r)
	read := func(rows string) string {
		t.Helper()
		c := *g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request().Grant.Connect
		out, err := g.psql(ctx, c, token, "select id from orders where id <= "+rows)
		if err == nil {
			return fmt.Sprint(strings.Count(out, "\n"))
		}
		return out
	}
	if got := read("100"); got != "100" {
		t.Fatal(got)
	}
	if code := g.term(); code != 0 {
		t.Fatal(code)
	}
	g.start()
	if got := read("40"); got != "40" {
		t.Error(got)
	}
	if got := read("11"); !strings.Contains(got, "FATAL:  54000: the result is cut off: its grant allows 150 rows") {
		t.Error(got)
	}
	time.Sleep(200 * time.Millisecond) // the record's last batch
	g.kill()                           // nobody was reading
	g.start()
	if got := read("1"); got != "1" {
		t.Error(got)
	}
	c := *g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request().Grant.Connect
	began := make(chan struct{})
	go func() {
		defer close(began)
		_, _ = g.psql(ctx, c, token, "select id from orders, pg_sleep(3) where id = 1")
	}()
	for until := time.Now().Add(patience); g.backends(r.Grant.ID) != "1"; {
		if time.Now().After(until) {
			t.Fatal("it does not run")
		}
	}
	g.kill() // somebody is
	<-began
	g.start()
	if got := read("1"); !strings.Contains(got, "FATAL:  the Daypass grant "+r.Grant.ID+" has a limit, and Daypass stopped without a record of how much its sessions had read") || !strings.Contains(got, "Ask again: ") {
		t.Error(got)
	}
}

// A role with a row filter, and a scope with other values, which a role for all
// rows covers.
//
// Invariant: A1, A20
// Attack: REQ-07
func TestOnlyTheseRowsOfThisTable(t *testing.T) {
	g := guard(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	read := func(r api.Request, sql string) string {
		t.Helper()
		out, err := g.psql(ctx, *g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request().Grant.Connect, g.token("user:ana", r), sql)
		if err != nil && !strings.Contains(out, "ERROR:") {
			t.Errorf("%v %s", err, out)
		}
		return out
	}
	even := g.granted("user:ana", "orders-db", "even", 5*time.Minute)
	const scope = `{"actions":["select"],"rows":{"public.orders":{"of":"1","template":"remainder"}},"tables":["public.orders"]}`
	ask := func(of string) answer {
		return g.call("user:ana", "POST", "/v1/requests", m{"resource": "orders-db", "duration": "5m", "reason": "x", "scope": m{"actions": []string{"select"}, "tables": []string{"public.orders"}, "rows": m{"public.orders": m{"template": "remainder", "of": of}}}})
	}
	odd := ask("1").is(201).request()
	if string(odd.Scope) != scope || !strings.Contains(string(odd.Target), `"summary":"Asked for 1 table, of public.orders only the rows where id % 2 = 1; effectively `) {
		t.Errorf("%s %s", odd.Scope, odd.Target)
	}
	for r, want := range map[*api.Request][2]string{&even: {"50\n", "2550\n"}, &odd: {"50\n", "2500\n"}} {
		if n, sum := read(*r, "select count(*) from orders"), read(*r, "select sum(total) from orders"); n != want[0] || sum != want[1] {
			t.Errorf("%s rows with the sum %s, want %s", n, sum, want)
		}
		if out := read(*r, "select count(*) from public.orders"); !strings.Contains(out, "ERROR:  42501") {
			t.Error(out)
		}
	}
	if a := ask("1 or true"); a.status != 403 || !strings.Contains(string(a.body), "must be like 1") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
