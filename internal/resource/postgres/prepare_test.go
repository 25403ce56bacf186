package pgkind

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
)

// prepared is a world on a server of its own, whose tables belong to an owner
// that is no superuser, with an application, and a login that prepare made.
func prepared(t *testing.T) (*world, Preparation) {
	t.Helper()
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	w := &world{t: t, pg: pg, now: time.Now}
	pg.Run(t, "postgres", "create role app_owner login password 'o'; create role app login password 'a'", "create database shop owner app_owner", "create database other")
	w.database = "shop"
	pg.Run(t, "postgres", "alter database shop set app.region_key = 'region secret'", "alter database shop set work_mem = '5MB'")
	pg.Run(t, "shop", "set role app_owner;"+shop+leaky+`
		create function app_fn() returns int language sql as 'select 7';
		grant usage on schema reporting to app; grant select on all tables in schema public, reporting to app; create extension if not exists plpgsql;`)
	t.Setenv("DAYPASS_TEST_DBA", pgtest.Password)
	return w, Preparation{Upstream: pg.Upstream("shop"), As: pgtest.Superuser, Password: config.Secret{Env: "DAYPASS_TEST_DBA"}, User: "daypass", Harden: true, Rows: true}
}

func planned(t *testing.T, p Preparation) *Plan {
	t.Helper()
	plan, err := Prepare(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plan.Close)
	return plan
}

// A login that is no superuser and owns nothing makes grants real with what
// prepare left it, and applications go on as before.
//
// Invariant: A1, A39
// Attack: PG-06
func TestPrepared(t *testing.T) {
	w, p := prepared(t)
	app := w.pg.Connect(t, "app", "a", "shop")
	works := map[string]string{"select count(*) from orders": "1000", "select app_fn()": "7", "select sd_secret()": "card 1", "do $$ begin perform 1; end $$": "", "create temp table t (a int); drop table t": "", "select total from reporting.daily": "7", "select pg_try_advisory_xact_lock(1)": "t", "select set_config('a.b', 'c', false)": "c",
		"select prosrc from pg_proc where proname = 'app_fn'": "select 7", "select count(rolconfig) from pg_roles where rolname = 'app'": "0"}
	expect(t, app, works)

	first := planned(t, p)
	script := first.Script()
	for _, want := range []string{`CREATE ROLE "daypass" LOGIN CREATEROLE`, "grant_by_", `GRANT CREATE ON DATABASE "shop" TO "daypass"`, "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC", "+daypass_grants", "public.v_public", "has the settings app.region_key, ", `\password daypass`} {
		if !strings.Contains(script, want) {
			t.Errorf("the plan has no %q:\n%s", want, script)
		}
	}
	if got := answerAs(w, "postgres", "select count(*) from pg_roles where rolname ~ '^daypass'"); got != "0" {
		t.Fatal("looking changed something")
	}
	before, err := Checkup(t.Context(), w.pg.Upstream("shop"), pgtest.Superuser, config.Secret{Env: "DAYPASS_TEST_DBA"})
	if err != nil || !slices.ContainsFunc(before, func(r Result) bool { return strings.Contains(r.What, "source of functions") && !r.OK }) {
		t.Errorf("%+v %v", before, err)
	}
	if err := first.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := planned(t, p); len(again.Steps) != 0 {
		t.Errorf("something is left to be done:\n%s", again.Script())
	}
	w.run("alter role daypass password 'd'")
	expect(t, w.pg.Connect(t, "app", "a", "shop"), works)

	w = asLogin(t, w, "daypass", "d")
	w.r = w.resource("daypass", "d", `rows: {mine: {table: public.customers, where: "id = :id", literals: {id: integer}}}`)
	t.Run("a grant", func(t *testing.T) { w.t = t; preparedGrant(t, w) })
	t.Run("what owners leave is not more than they say", func(t *testing.T) { w.t = t; ownersFunction(t, w) })
	t.Run("check", func(t *testing.T) {
		t.Setenv("DAYPASS_TEST_LOGIN", "d")
		results, err := CheckupOf(t.Context(), w.r, &config.Secret{Env: "DAYPASS_TEST_LOGIN"})
		if err != nil || len(results) < 9 || results[len(results)-1].What != "the row filter mine reads public.customers" {
			t.Fatal(results, err)
		}
		for _, r := range results {
			// The view that everybody may read is the owner's to decide.
			if want := !strings.Contains(r.What, "v_public"); r.OK != want || r.OK != (r.Next == "") {
				t.Errorf("%+v", r)
			}
		}
	})
}

func answerAs(w *world, database, sql string) string {
	was := w.database
	w.database = database
	defer func() { w.database = was }()
	return w.value(sql)
}

func asLogin(t *testing.T, w *world, user, password string) *world {
	t.Helper()
	out := &world{t: t, pg: w.pg, database: w.database, now: time.Now, secure: w.secure}
	out.r = out.resource(user, password, "")
	out.c = out.connector("one")
	t.Cleanup(out.c.Close)
	return out
}

func preparedGrant(t *testing.T, w *world) {
	target := w.provision(`{"actions":["execute","select"],"tables":["public.orders","reporting.daily"],"columns":{"public.orders":["id","total"]},"functions":["public.total(integer)"]}`)
	writer := w.provision(`{"actions":["insert"],"tables":["public.customers"]}`)
	c := w.login(target)
	expect(t, c, map[string]string{
		"select sum(total)::int from orders": "500500", "select card from orders": "42501", "select total from reporting.daily": "7", "select total(7)": "7",
		"select sd_secret()": "42501", "do $$ begin end $$": "42501", "create temp table t (a int)": "42501", "select pg_notify('a', 'b')": "42501", "select lo_creat(-1)": "42501",
		"select setconfig from pg_db_role_setting": "42501", "select pg_logical_emit_message(true, 'a', 'b')": "42501",
		"select rolconfig from pg_roles": "42501", "select useconfig from pg_user": "42501", "select prosrc from pg_proc": "42501", "select pg_get_functiondef('app_fn'::regproc)": "42501",
		"select rolcanlogin from pg_roles where rolname = 'app'": "t", "select count(tableoid) + count(xmin) > 0 from pg_proc where proname = 'app_fn'": "t", "show temp_file_limit": "1GB", "select daypass.grant_by_1('a', 'b', 1, 'c', '{}', false)": "42501",
	})
	if c, err := w.pg.Try(roleOf(target.Grant.ID), w.c.password(target.Grant.ID), "other"); err == nil {
		_ = c.Close(t.Context())
		t.Error("a grant connects to another database")
	}
	some := w.provision(`{"actions":["select"],"tables":["public.customers","public.orders"],"rows":{"public.customers":{"template":"mine","id":7}}}`)
	expect(t, w.login(some), map[string]string{"select string_agg(name, ',') from customers": "name 7", "select name from public.customers": "42501", "select count(*) from orders": "1000", "set role \"daypass\"": "42501"})
	if got := w.value("select string_agg(rolname, ',') from pg_roles where not rolsuper and rolname !~ '^daypass_r_' and pg_has_role(oid, '" + readerOf(w.scope(some.Grant.ID)) + "', 'USAGE')"); got != "" {
		t.Errorf("%s has the rights of the role that reads for a row filter", got)
	}
	w.run("revoke create on database shop from daypass")
	other := w.grant(`{"actions":["select"],"tables":["public.customers"],"rows":{"public.customers":{"template":"mine","id":8}}}`, time.Hour)
	if err := w.c.Provision(t.Context(), other); err == nil || !strings.Contains(err.Error(), "daypass may not make the schema of a row filter: run daypass postgres prepare --rows") {
		t.Error(err)
	}
	w.run("grant create on database shop to daypass")
	w.remove(some)
	session := w.login(writer)
	do(t, session, "insert into customers (name) values ('x')")
	do(t, session, "begin")
	do(t, session, "insert into customers (name) values ('y')")
	do(t, session, "prepare transaction 'left'")
	w.remove(target)
	w.remove(writer)
	for _, one := range []string{roleOf(target.Grant.ID), roleOf(writer.Grant.ID)} {
		if left := w.traces(one); left != "0" {
			t.Errorf("%s traces are left", left)
		}
	}
	said, err := w.c.Reconcile(t.Context(), []*policy.Resource{w.r}, func(context.Context, string) (bool, error) { return true, nil })
	if err != nil || len(said) != 0 {
		t.Error(said, err)
	}
	if got := w.value("select count(*) from pg_roles where rolname ~ '^daypass_[sgr]_'"); got != "0" {
		t.Errorf("%s roles are left", got)
	}
}

// ownersFunction calls what an owner left in ways that it must not be called.
func ownersFunction(t *testing.T, w *world) {
	w.run("create role daypass_s_00000000000000000000; create role daypass_s_11111111111111111111 login; create role mallory; create table superusers_own (a int)")
	owner := w.value("select relowner from pg_class where oid = 'orders'::regclass")
	orders, own := w.value("select 'orders'::regclass::oid"), w.value("select 'superusers_own'::regclass::oid")
	c := w.pg.Connect(t, "daypass", "d", "shop")
	call := func(role, sort, object, privilege, columns string, take string) string {
		return answer(c, "select daypass.grant_by_"+owner+"("+literal(role)+", "+literal(sort)+", "+object+", "+literal(privilege)+", "+literal(columns)+", "+take+")")
	}
	const scope = "daypass_s_00000000000000000000"
	if got := call(scope, "TABLE", orders, "SELECT", "{}", "false"); got != "" {
		t.Fatal(got)
	}
	for name, got := range map[string]string{
		"another role":      call("mallory", "TABLE", orders, "SELECT", "{}", "false"),
		"public":            call("public", "TABLE", orders, "SELECT", "{}", "false"),
		"itself":            call("daypass", "TABLE", orders, "SELECT", "{}", "false"),
		"one that logs in":  call("daypass_s_11111111111111111111", "TABLE", orders, "SELECT", "{}", "false"),
		"somebody else's":   call(scope, "TABLE", own, "SELECT", "{}", "false"),
		"a system table":    call(scope, "TABLE", "'pg_authid'::regclass::oid", "SELECT", "{}", "false"),
		"all":               call(scope, "TABLE", orders, "ALL", "{}", "false"),
		"truncate":          call(scope, "TABLE", orders, "TRUNCATE", "{}", "false"),
		"grant option":      call(scope, "TABLE", orders, "SELECT ON orders TO mallory; GRANT SELECT", "{}", "false"),
		"another sort":      call(scope, "ROLE", orders, "SELECT", "{}", "false"),
		"a column as SQL":   call(scope, "TABLE", orders, "SELECT", `{"id) ON orders TO mallory --"}`, "false"),
		"null":              call(scope, "TABLE", "null", "SELECT", "{}", "false"),
		"a null privilege":  answer(c, "select daypass.grant_by_"+owner+"('"+scope+"', 'TABLE', "+orders+", null, '{}', false)"),
		"by somebody else":  answer(w.pg.Connect(t, "app", "a", "shop"), "select daypass.grant_by_"+owner+"('"+scope+"', 'TABLE', "+orders+", 'SELECT', '{}', false)"),
		"the owner's table": answer(c, "select 1 from orders"),
	} {
		if got != "P0001" && got != "42501" && got != "42703" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := w.value("select has_table_privilege('mallory', 'orders', 'SELECT')"); got != "f" {
		t.Error("mallory reads orders")
	}
	w.run("drop owned by " + scope + "; drop role " + scope + ", daypass_s_11111111111111111111, mallory; drop table superusers_own")
}

func TestUnpreparedLoginsAreToldWhatIsMissing(t *testing.T) {
	w := newWorld(t, "")
	w.run("create role poor login password 'p'; create role maker login createrole password 'p'; grant pg_signal_backend to maker")
	t.Cleanup(func() { w.run("drop role poor, maker") })
	for user, want := range map[string]string{"poor": "may not make roles: run daypass postgres prepare", "maker": `maker may not grant on "public"."orders", which belongs to postgres: run daypass postgres prepare`} {
		as := asLogin(t, w, user, "p")
		err := as.c.Provision(t.Context(), as.grant(readOrders, 1e12))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", user, err)
		}
	}
	if left := w.value("select count(*) from pg_roles where rolname ~ '^daypass_g_'"); left != "0" {
		t.Errorf("%s roles of grants", left)
	}
}
