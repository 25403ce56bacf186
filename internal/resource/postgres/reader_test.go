package pgkind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
)

// shelf has half of the orders in each of two regions. The customers of one are
// numbers, and those of the other secrets.
const shelf = `
alter table orders add region text;
update orders set region = case when id % 2 = 0 then 'eu' else 'us' end;
update orders set customer = case when region = 'eu' then '1' else 'secret ' || id end;
analyze orders;
`

// filtered is a world with row filters.
func filtered(t *testing.T, scripts ...string) *world {
	t.Helper()
	return newWorld(t, regions, append([]string{shelf}, scripts...)...)
}

// Invariant: A1
// Attack: PG-06, PG-07
func TestRowFilters(t *testing.T) {
	w := filtered(t)
	target := w.provision(inRegion("eu"))
	expect(t, w.login(target), map[string]string{
		"select count(*) from orders": "500", "select count(*) from orders where region = 'us'": "0", "select count(distinct region) from orders": "1",
		"select count(*) from public.orders": "42501", "select count(*) from only public.orders": "42501", "table public.orders": "42501", "select count(*) from customers": "42501",
		"select string_agg(x, ',') from unnest(current_schemas(false)) x": readerOf(w.scope(target.Grant.ID)) + ",public",
		"copy public.orders to stdout":                                    "42501", "copy (select id from orders where id < 5) to stdout": "", "insert into orders values (0)": "42501",
		"select id from orders where id = 3": "", "select id from orders where id = 4": "4", "select card from orders where id = 4": "card 4",
	})
	us := w.provision(inRegion("us"))
	expect(t, w.login(us), map[string]string{"select count(*) from orders": "500", "select count(*) from orders where region = 'eu'": "0"})
	both := w.provision(`{"actions":["select"],"columns":{"public.orders":["id","total"]},"rows":{"public.customers":{"template":"mine"},"public.orders":{"template":"by-region","region":"eu"}},"tables":["public.customers","public.orders","reporting.daily"]}`)
	expect(t, w.login(both), map[string]string{
		"select count(*) from orders": "500", "select sum(total)::int from orders": "250500", "select region from orders": "42703", "select card from orders": "42703", "select to_jsonb(o)::text from orders o where id = 2": `{"id": 2, "total": 2}`,
		"select count(*) from customers": "1", "select total from reporting.daily": "7", "select id from public.orders": "42501",
	})
	// Values are values, whatever they look like.
	for region, want := range map[string]string{`x' or true or '' = '`: "0", `eu'; drop table orders; --`: "0", `\\' or true --`: "0", `$1`: "0", `:region`: "0"} {
		odd := w.provision(inRegion(region))
		expect(t, w.login(odd), map[string]string{"select count(*) from orders": want})
		w.remove(odd)
	}
	if got := w.value("select count(*) from orders"); got != "1000" {
		t.Errorf("orders has %s rows", got)
	}
	if got := w.value("select relrowsecurity or relforcerowsecurity from pg_class where oid = 'orders'::regclass"); got != "f" {
		t.Error("row level security was switched on")
	}
}

// Each of these showed rows of another region, or told of them, where the view
// has no barrier or another owner.
//
// Invariant: A1
// Attack: PG-06, PG-07
func TestRowFiltersDoNotLeak(t *testing.T) {
	// The predicate costs more than what the session adds: without a barrier it
	// would be looked at last.
	w := newWorld(t, `rows: {costly: {table: public.orders, where: "case when length(repeat(region, 3)) > 0 then region = :region end", literals: {region: text}}}`,
		shelf, `create function run_any(q text) returns text language plpgsql as 'declare r text; begin execute q into r; return r; end'`)
	target := w.provision(strings.Replace(inRegion("eu"), "by-region", "costly", 1))
	reader := readerOf(w.scope(target.Grant.ID))
	c := w.login(target)
	do(t, c, "set default_transaction_read_only = off")
	do(t, c, `create function pg_temp.leak(r text) returns bool language plpgsql cost 0.0000001 as $$ begin if r ~ 'secret' then raise exception 'LEAKED %', r; end if; return true; end $$`)
	leaks := map[string]string{
		"select count(*) from orders where pg_temp.leak(customer)":                                     "500", // cheap: it would be called first
		"select count(*) from orders where customer::int = 1":                                          "500", // an error would show the value
		"select count(*) from orders where 1 / (case when region = 'us' then 0 else 1 end) = 1":        "500",
		"select count(*) from orders where customer ~ (case when region = 'us' then '(' else '.' end)": "500",
	}
	expect(t, c, leaks)
	do(t, c, "create temp table orders as select 7 as id")
	expect(t, c, map[string]string{
		"select count(*) from orders":                              "500", // the temporary one is last
		"select count(*) from pg_stats where tablename = 'orders'": "0", "select count(*) from pg_stats_ext": "0",
		"set role \"" + reader + "\"": "42501", "create view \"" + reader + "\".mine as select 1": "42501", "drop view \"" + reader + "\".orders": "42501",
		"alter view \"" + reader + "\".orders set (security_barrier = false)":                                                          "42501",
		"grant select on \"" + reader + "\".orders to public; select has_table_privilege('public', '" + reader + ".orders', 'SELECT')": "f", // with a warning
		"select run_any('select count(*)::text from public.orders')":                                                                   "42501", "update orders set total = 1": "42501", "select 1 from orders for update": "42501",
		"select count(*) from pg_roles where pg_has_role(oid, 'MEMBER') and rolname ~ '^daypass_r_'": "0",
	})
	// The same without what holds them: each is seen.
	w.run(`alter view "` + reader + `".orders reset (security_barrier)`)
	for sql := range leaks {
		if got := answer(c, sql); got == "500" {
			t.Errorf("%s: would not be seen if it leaked", sql)
		}
	}
}

// Through the gateway there is no plan of what is not shown, and no way around
// the view.
//
// Invariant: A1, A28
// Attack: PG-06
func TestRowFiltersAtTheGateway(t *testing.T) {
	d := newDesk(t, deskOptions{plain: true, more: regions, script: []string{shelf}})
	p := d.pass(inRegion("eu"), 10*time.Minute)
	c := d.connect(p)
	expect(t, c, map[string]string{
		"select count(*) from orders": "500", "select count(*) from public.orders": "42501", "explain select * from orders": "42501", "explain (analyze) select * from orders where id = 3": "42501",
		"set search_path = public": "42501", "create temp table x (a int)": "42501",
	})
	do(t, c, "select set_config('search_path', 'public', false)") // names mean the table then, which is not theirs
	expect(t, c, map[string]string{"select count(*) from orders": "42501"})
	// Nobody comes in while the filter does not hold.
	d.run("alter view " + ident(readerOf(d.scope(p.id))) + ".orders set (security_barrier = false)")
	if _, err := d.try(d.dsn(p.id, p.token)); err == nil || !strings.Contains(err.Error(), "its row filter was changed in the database") {
		t.Error(err)
	}
	if all := d.pass(readOrders, 10*time.Minute); answer(d.connect(all), "explain select 1") == "42501" {
		t.Error("EXPLAIN is refused without a row filter")
	}
}

// What is wrong with a filter is said when access is asked for.
func TestInspectShowsRowFilters(t *testing.T) {
	w := filtered(t)
	finding, err := w.c.Inspect(t.Context(), w.r, mustScope(t, inRegion("eu")))
	if err != nil {
		t.Fatal(err)
	}
	f := decoded(t, finding.Target)
	if !strings.HasPrefix(f.Summary, "Asked for 1 table, of public.orders only the rows where region = 'eu'; effectively 1 relation, ") || f.Rows["public.orders"].Template != "by-region" {
		t.Errorf("%s", finding.Target)
	}
	_, err = w.c.Inspect(t.Context(), w.r, mustScope(t, strings.Replace(inRegion("eu"), "by-region", "by-regions", 1)))
	if unfit, ok := errors.AsType[*policy.Unfit](err); !ok || !strings.HasPrefix(unfit.Message, "Rows: there is no row filter by-regions") {
		t.Error(err)
	}
	for script, want := range map[string]string{
		"grant select on orders to public":                                                                       "Everybody may read public.orders",
		"grant select (card) on orders to public":                                                                "Everybody may read public.orders",
		"create table part () inherits (orders); grant select on part to public":                                 "Everybody may read public.part",
		"create table parent (region text); alter table orders inherit parent; grant select on parent to public": "Everybody may read public.parent",
	} {
		w := filtered(t, script)
		_, err := w.c.Inspect(t.Context(), w.r, mustScope(t, inRegion("eu")))
		if unfit, ok := errors.AsType[*policy.Unfit](err); !ok || unfit.Field != "rows" || !strings.HasPrefix(unfit.Message, want) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// Who approved saw a predicate: another one is not what they approved. And
// nothing is read where the filter does not hold any more.
//
// Invariant: A20
// Attack: PG-05, PG-06
func TestRowFiltersThatChangedAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change, want string
		catalog      string
	}{
		"another predicate":  {catalog: strings.Replace(regions, "region = :region", "region >= :region", 1), want: "the catalog has another row filter now than access was given with: ask again"},
		"another type":       {catalog: strings.Replace(regions, "literals: {region: text}", "literals: {region: uuid}", 1), want: "another row filter"},
		"no filter":          {catalog: strings.Replace(regions, "by-region:", "of-region:", 1), want: "another row filter"},
		"no barrier":         {change: "alter view $READER.orders set (security_barrier = false)", want: "its row filter was changed in the database"},
		"barrier, otherwise": {change: "alter view $READER.orders reset (security_barrier)", want: "its row filter was changed in the database"},
		"another view":       {change: "create or replace view $READER.orders with (security_barrier) as select * from orders", want: "its row filter was changed in the database"},
		"another owner":      {change: "alter view $READER.orders owner to postgres", want: "its row filter was changed in the database"},
		"no view":            {change: "drop view $READER.orders", want: "its row filter was changed in the database"},
		"no schema":          {change: "drop schema $READER cascade", want: "its row filter was changed in the database"},
		"another table":      {change: "alter table orders rename to orders_old; create table orders as select * from orders_old", want: "public.orders was renamed, dropped or replaced"},
		"open to everybody":  {change: "grant select on orders to public", want: "Everybody may read public.orders"},
		"open to all grants": {change: "grant select on orders to daypass_grants", want: "Everybody may read public.orders"},
	} {
		t.Run(name, func(t *testing.T) {
			w := filtered(t)
			target := w.provision(inRegion("eu"))
			s := mustScope(t, inRegion("eu"))
			if err := w.c.check(t.Context(), w.r, s, target.Found); err != nil {
				t.Fatal(err)
			}
			if c.catalog != "" {
				w.r = w.resource(pgtest.Superuser, pgtest.Password, c.catalog)
			}
			if c.change != "" {
				w.run(strings.ReplaceAll(c.change, "$READER", ident(readerOf(w.scope(target.Grant.ID)))))
			}
			if err := w.c.check(t.Context(), w.r, s, target.Found); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("a session: %v", err)
			}
			if strings.Contains(c.change, "$READER") {
				return // a new grant sets these right
			}
			again := w.again(target, inRegion("eu"))
			again.Resource = w.r
			if err := w.c.Provision(t.Context(), again); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("an activation: %v", err)
			}
		})
	}
}

// Filters that somebody changed are made again, and go with their last grant; a
// late repeat harms nobody.
//
// Invariant: A2
func TestRowFiltersAreLookedAfter(t *testing.T) {
	w := filtered(t)
	stands := true
	reconcile := func() []string {
		t.Helper()
		said, err := w.c.Reconcile(t.Context(), []*policy.Resource{w.r}, func(context.Context, string) (bool, error) { return stands, nil })
		if err != nil {
			t.Fatal(err)
		}
		return said
	}
	a, b := w.provision(inRegion("eu")), w.provision(inRegion("eu"))
	reader := readerOf(w.scope(a.Grant.ID))
	if said := reconcile(); len(said) != 0 {
		t.Errorf("%v", said)
	}
	for change, want := range map[string]string{
		"alter view $READER.orders set (security_barrier = false)":      "the row filter in the schema " + reader + " was changed by somebody, and was set right",
		"create or replace view $READER.orders as select * from orders": "the row filter in the schema " + reader + " was changed by somebody, and was set right",
		"drop schema $READER cascade":                                   "the row filter in the schema " + reader + " was changed by somebody, and was set right",
		"alter role $READER login password 'x'":                         "was given powers, settings or members by somebody, and was set right",
		"alter role $READER set work_mem = '1GB'":                       "was given powers, settings or members by somebody, and was set right",
		"grant $READER to daypass_grants":                               "was given powers, settings or members by somebody, and was set right",
		"grant pg_read_all_data to $READER":                             "was given powers, settings or members by somebody, and was set right",
	} {
		w.run(strings.ReplaceAll(change, "$READER", ident(reader)))
		said := reconcile()
		if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%s: %v", change, said)
		}
		if said := reconcile(); len(said) != 0 {
			t.Errorf("%s: and again %v", change, said)
		}
		expect(t, w.login(a), map[string]string{"select count(*) from orders": "500", "select count(*) from public.orders": "42501"})
	}
	w.remove(a)
	w.remove(a) // late
	reconcile()
	expect(t, w.login(b), map[string]string{"select count(*) from orders": "500"})
	w.remove(b)
	reconcile()
	for sql, what := range map[string]string{
		"select count(*) from pg_roles where rolname = '" + reader + "'": "roles", "select count(*) from pg_namespace where nspname = '" + reader + "'": "schemas",
		"select count(*) from pg_roles where rolname ~ '^daypass_[sr]_'": "roles in all",
	} {
		if got := w.value(sql); got != "0" {
			t.Errorf("%s %s are left", got, what)
		}
	}
	// One whose scope role is gone goes too.
	w.run(`create role daypass_r_00000000000000000000; create schema daypass_r_00000000000000000000 authorization daypass_r_00000000000000000000; grant select on orders to daypass_r_00000000000000000000`)
	reconcile()
	if got := w.value("select count(*) from pg_roles where rolname ~ '^daypass_r_'"); got != "0" {
		t.Errorf("%s readers are left", got)
	}
}

// A predicate that does not mean anything is found before a grant needs it.
func TestCheckTriesRowFilters(t *testing.T) {
	w := newWorld(t, `rows: {`+
		`good: {table: public.orders, where: "region = :region", literals: {region: text}}, `+
		`no-column: {table: public.orders, where: "regoin = :region", literals: {region: text}}, `+
		`no-operator: {table: public.orders, where: "id = :id", literals: {id: text}}, `+
		`no-table: {table: public.ordres, where: "true"}, `+
		`elsewhere: {table: public.orders, where: "id in (select c.id from public.customers c)"}, `+
		`no-function: {table: public.orders, where: "public.total(id) > 0"}, `+
		`runs-nothing: {table: public.orders, where: "public.climb() or id = 1"}, `+
		`no-condition: {table: public.orders, where: "id"}}`, shelf, `create function up() returns bool language plpgsql as $$ begin execute 'reset role'; execute 'create table public.climbed (a int)'; return true; end $$; create function climb() returns bool language plpgsql immutable as $$ begin return public.up(); end $$`)
	results, err := CheckupOf(t.Context(), w.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"good": "", "no-column": `column "regoin" does not exist`, "no-operator": "operator does not exist", "no-table": "There is no table public.ordres. Near it: public.orders.",
		"elsewhere": "uses public.customers, which the role that reads for it may not", "no-function": "uses public.total(integer), which the role that reads for it may not", "runs-nothing": "", "no-condition": "argument of WHERE must be type boolean",
	}
	seen := 0
	for _, r := range results {
		for name, next := range want {
			if strings.HasPrefix(r.What, "the row filter "+name+" ") {
				seen++
				if r.OK != (next == "") || !strings.Contains(r.Next, next) {
					t.Errorf("%+v", r)
				}
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%+v", results)
	}
	if got := w.value("select count(*) from pg_roles where rolname ~ '^daypass_[sr]_'"); got != "0" {
		t.Errorf("looking left %s roles", got)
	}
	w.provision(`{"actions":["select"],"rows":{"public.orders":{"template":"runs-nothing"}},"tables":["public.orders"]}`)
	if got := w.value("select to_regclass('public.climbed') is null"); got != "t" {
		t.Error("a predicate ran with the rights of our login")
	}
	if _, err := CheckupOf(t.Context(), w.r, &config.Secret{File: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// scope is the scope role of a grant.
func (w *world) scope(grant string) string {
	w.t.Helper()
	return w.value(fmt.Sprintf("select roleid::regrole from pg_auth_members where member = '%s'::regrole and roleid::regrole::text ~ '^daypass_s_'", roleOf(grant)))
}
