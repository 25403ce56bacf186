package pgkind

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/policy"
	"github.com/gowebpki/jcs"
)

const leaky = `
create view v_public as select count(*) n from customers;
grant select on v_public to public;
create function sd_secret() returns text language sql security definer as 'select card from orders limit 1';
`

func TestInspectSaysWhatARoleWouldReach(t *testing.T) {
	w := newWorld(t, "", leaky)
	finding, err := w.c.Inspect(t.Context(), w.r, mustScope(t, readOrders))
	if err != nil {
		t.Fatal(err)
	}
	if canonical, err := jcs.Transform(finding.Target); err != nil || string(canonical) != string(finding.Target) {
		t.Errorf("%s is not RFC 8785", finding.Target)
	}
	f := decoded(t, finding.Target)
	if want := w.value("select 'public.orders'::regclass::oid"); fmt.Sprint(f.Tables["public.orders"]) != want || len(f.Tables) != 1 || f.Database != w.database {
		t.Errorf("%+v", f)
	}
	e := f.Effective
	if e.Relations != 2 || !slices.Equal(e.RelationNames, []string{"public.v_public"}) || e.OwnerFunctions != 1 || !slices.Equal(e.OwnerFunctionNames, []string{"public.sd_secret()"}) ||
		e.RiskyFunctions < 20 || !slices.Equal(e.Languages, []string{"plpgsql"}) || !slices.Contains(e.Connect, w.database) || !e.Temp {
		t.Errorf("%+v", e)
	}
	if want := "Asked for 1 table; effectively 2 relations (also public.v_public), 1 function with the rights of its owner (public.sd_secret()), "; !strings.HasPrefix(f.Summary, want) ||
		!strings.HasSuffix(f.Summary, " functions that can do more than read, code in plpgsql, temporary tables.") {
		t.Errorf("in a sentence: %s", f.Summary)
	}
	// What it says is what a role then has.
	c := w.login(w.provision(readOrders))
	expect(t, c, map[string]string{"select n from v_public": "10", "select sd_secret()": "card 1", "select count(*) from customers": "42501"})
}

// Invariant: A21
func TestInspectRefusesWhatIsNotThere(t *testing.T) {
	w := newWorld(t, "")
	for scope, want := range map[string][2]string{
		`{"actions":["select"],"tables":["public.orderss"]}`:                                         {"tables", "There is no table public.orderss. Near it: public.orders."},
		`{"actions":["select"],"tables":["reporting.orders"]}`:                                       {"tables", "Near it: public.orders"},
		`{"actions":["select"],"tables":["public.Orders"]}`:                                          {"tables", "Near it: public.orders"},
		`{"actions":["select"],"tables":["public.zzzzzzzz"]}`:                                        {"tables", "There is no table public.zzzzzzzz."},
		`{"actions":["select"],"schemas":["reportin"]}`:                                              {"schemas", "Near it: reporting."},
		`{"actions":["select"],"tables":["public.orders"],"columns":{"public.orders":["costumer"]}}`: {"columns", "public.orders has no column costumer. Near it: customer."},
		`{"actions":["execute"],"functions":["public.total(text)"]}`:                                 {"functions", "Near it: public.total(integer)"},
		`{"actions":["execute"],"functions":["public.total(nosuchtype)"]}`:                           {"functions", "There is no function"},
		`{"actions":["select"],"tables":["public.orders"],"database":"other"}`:                       {"database", "This resource is the database " + w.database},
	} {
		_, err := w.c.Inspect(t.Context(), w.r, mustScope(t, scope))
		unfit, ok := errors.AsType[*policy.Unfit](err)
		if !ok || unfit.Field != want[0] || !strings.Contains(unfit.Message, want[1]) {
			t.Errorf("%s: %v", scope, err)
		}
	}
}

func TestInspectRefusesOverTheThreshold(t *testing.T) {
	for more, want := range map[string]string{
		"effective: {relations: 1}":                     "effectively 2 relations (also public.v_public), and this resource allows 1",
		"effective: {owner_functions: 0}":               "1 function with the rights of its owner (public.sd_secret())",
		"effective: {relations: 2, owner_functions: 1}": "",
	} {
		t.Run(more, func(t *testing.T) {
			w := newWorld(t, more, leaky)
			_, err := w.c.Inspect(t.Context(), w.r, mustScope(t, readOrders))
			if _, ok := errors.AsType[*policy.Unfit](err); ok != (want != "") || want != "" && !strings.Contains(err.Error(), want) || want == "" && err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// Names are bound to what they stood for: who swaps a table after the approval
// gains nothing.
//
// Invariant: A20
// Attack: PG-05
func TestWhatWasSwappedIsRefused(t *testing.T) {
	columns := `{"actions":["select"],"tables":["public.orders"],"columns":{"public.orders":["id"]}}`
	for name, c := range map[string]struct{ scope, change, want string }{
		"renamed":          {readOrders, "alter table orders rename to orders_old", "There is no table public.orders"},
		"swapped":          {readOrders, "alter table orders rename to orders_old; create view orders as select * from customers", "public.orders was renamed, dropped or replaced"},
		"dropped":          {readOrders, "drop table orders", "There is no table public.orders"},
		"moved":            {readOrders, "alter table orders set schema reporting", "There is no table public.orders"},
		"column":           {columns, "alter table orders rename id to nr; alter table orders rename card to id", "the column id of public.orders was"},
		"function":         {`{"actions":["execute"],"functions":["public.total(integer)"]}`, "drop function total(int); create function total(int) returns numeric language sql as 'select 1.0'", "public.total(integer) was"},
		"table of schemas": {`{"actions":["select"],"schemas":["reporting"]}`, "drop table reporting.weekly", "There is no table reporting.weekly"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			before := w.provision(c.scope)
			after := w.again(before, c.scope)
			s := mustScope(t, c.scope)
			if err := w.c.check(t.Context(), w.r, s, before.Found); err != nil {
				t.Fatal(err)
			}
			w.run(c.change)
			for what, err := range map[string]error{
				"a session": w.c.check(t.Context(), w.r, s, before.Found), "an activation": w.c.Provision(t.Context(), after),
			} {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "ask again") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if left := w.traces(roleOf(after.Grant.ID)); left != "0" {
				t.Errorf("%s traces of what was refused", left)
			}
			w.remove(before)
		})
	}
	w := newWorld(t, "")
	for _, raw := range []string{``, `null`, `{}`, `{"oid":1,"tables":{"public.orders":1}}`} {
		if err := w.c.check(t.Context(), w.r, mustScope(t, readOrders), []byte(raw)); err == nil {
			t.Errorf("%q was taken for what was found", raw)
		}
	}
}

// Invariant: A1
// Attack: PG-06, PG-07
func TestScopesBecomePrivileges(t *testing.T) {
	w := newWorld(t, "")
	for scope, want := range map[string]map[string]string{
		`{"actions":["select"],"tables":["public.orders"],"columns":{"public.orders":["id","total"]}}`: {
			"select sum(total)::int from orders": "500500", "select count(*) from orders": "1000", "select * from orders": "42501", "select o from orders o": "42501", "select to_jsonb(o) from orders o": "42501",
			"select id from orders where card = 'x'": "42501", "select id from orders order by customer": "42501", "copy orders to stdout": "42501", "copy orders (id) to stdout": "",
			"select count(*) from pg_stats where tablename = 'orders' and attname = 'card'": "0",
		},
		`{"actions":["insert"],"tables":["public.customers"]}`: {
			"insert into customers (name) values ('new')": "", "select count(*) from customers": "42501", "insert into customers (name) values ('x') returning id": "42501", "delete from customers": "42501",
		},
		`{"actions":["select","update"],"tables":["public.orders"],"columns":{"public.orders":["id","total"]}}`: {
			"update orders set total = 2 where id = 2": "", "update orders set card = ''": "42501", "update orders set total = 1 where card = 'x'": "42501", "insert into orders values (0)": "42501",
		},
		`{"actions":["delete","select"],"tables":["public.orders"]}`:                 {"begin; delete from orders where id = 1000; rollback": "", "truncate orders": "42501"},
		`{"actions":["select"],"schemas":["reporting"]}`:                             {"select total from reporting.daily": "7", "select count(*) from reporting.weekly": "0", "select 1 from orders": "42501", "create table reporting.x (a int)": "25006"},
		`{"actions":["execute"],"functions":["public.total(int)"]}`:                  {"select total(7)": "7", "select 1 from orders": "42501"},
		`{"actions":["select"],"tables":["public.orders"],"statement_timeout":"2s"}`: {"show statement_timeout": "2s"},
	} {
		t.Run(scope, func(t *testing.T) {
			target := w.provision(scope)
			expect(t, w.login(target), want)
			w.remove(target)
		})
	}
	// A table that comes into the schema later is not what was asked for.
	target := w.provision(`{"actions":["select"],"schemas":["reporting"]}`)
	w.run("create table reporting.later (a int)")
	expect(t, w.login(target), map[string]string{"select 1 from reporting.later": "42501", "select total from reporting.daily": "7"})
}

func TestGrantsWithTheSamePrivilegesShareARole(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.provision(readOrders), w.provision(`{"actions":["select"],"tables":["public.orders"],"max_rows":10}`)
	other := w.provision(`{"actions":["select"],"tables":["public.customers"]}`)
	if got := w.value("select count(*) from pg_roles where rolname ~ '^daypass_s_'"); got != "2" {
		t.Errorf("%s scope roles", got)
	}
	w.remove(a)
	w.remove(b)
	w.remove(other)
}
