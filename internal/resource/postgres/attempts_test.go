package pgkind

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var updateAttempts = flag.Bool("update", false, "write docs/postgres-attempts.md")

// attempt is one way out of a grant. It worked when an answer to one of its
// statements matches got, when what is asked of the superuser is true while the
// session still lives, or when act says so.
type attempt struct {
	name string
	sql  []string
	got  string
	sees string
	act  func(s *siege, c *pgx.Conn, a attempt) bool
	undo string // by the superuser, once it worked
}

// victim is a database that has what real ones have.
const victim = `
create table secrets (card text); insert into secrets select 'the secret' from generate_series(1, 100); analyze secrets; analyze orders;
create view v_public as select card from secrets; grant select on v_public to public;
create view v_private as select card from secrets;
create function sd_secret() returns text language sql security definer as 'select card from secrets limit 1';
create table admins (name text);
create function sd_sp() returns text language sql security definer as 'select s.card from secrets s where exists (select 1 from admins where name = session_user) limit 1';
create function run_any(q text) returns text language plpgsql as 'declare r text; begin execute q into r; return r; end';
grant select on secrets to app;
`

const victimsExtensions = `
reset role; create extension dblink; create extension postgres_fdw; create extension file_fdw; create extension pg_stat_statements;
create server files foreign data wrapper file_fdw;
alter role app set app.api_key = 'guc secret'; alter database shop set app.region_key = 'region secret';
`

// siege is a gateway before such a database, with neighbours at work in it.
type siege struct {
	*desk
	mine, others pass
	few          pass   // of mine, with a row filter
	reader       string // that its view belongs to
	rows         string // that whoever tries has in orders
	role         string // whose session tries
	extended     bool   // by Parse, Bind and Execute
	admin        *pgx.Conn
	app, other   *pgx.Conn
}

func besieged(t *testing.T, hardened bool) *siege {
	t.Helper()
	pg, err := pgtest.Start("shared_preload_libraries = 'pg_stat_statements'", "wal_level = logical")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	pg.Run(t, "postgres", "create role app_owner login password 'o'; create role app login password 'a'; create role bob login password 'b'; create role root superuser login", "create database shop owner app_owner")
	pg.Run(t, "shop", "set role app_owner;"+shop+victim, victimsExtensions)
	w, user, password := &world{t: t, pg: pg, database: "shop", now: time.Now}, pgtest.Superuser, pgtest.Password
	if hardened {
		t.Setenv("DAYPASS_TEST_DBA", pgtest.Password)
		plan := planned(t, Preparation{Upstream: pg.Upstream("shop"), As: pgtest.Superuser, Password: config.Secret{Env: "DAYPASS_TEST_DBA"}, User: "daypass", Harden: true, Rows: true})
		if err := plan.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		user, password = "daypass", "d"
		pg.Run(t, "shop", "alter role daypass password 'd'")
	}
	const filter = `rows: {first: {table: public.orders, where: "total <= :most", literals: {most: integer}}}`
	s := &siege{desk: newDesk(t, deskOptions{world: asLogin(t, w, user, password), user: user, more: filter}), rows: "1000"}
	s.mine, s.others = s.pass(readOrders, time.Hour), s.pass(readOrders, time.Hour)
	s.few = s.pass(`{"actions":["select"],"rows":{"public.orders":{"most":500,"template":"first"}},"tables":["public.orders"]}`, time.Hour)
	s.role, s.reader = roleOf(s.mine.id), readerOf(s.world.scope(s.few.id))
	s.admin = pg.Connect(t, pgtest.Superuser, pgtest.Password, "shop")
	return s
}

// neighbours has an application and another grant at work, again where an
// attempt ended them.
func (s *siege) neighbours() {
	if s.app == nil || answer(s.app, "select 'query of the app'") != "query of the app" {
		s.app = s.pg.Connect(s.t, "app", "a", "shop")
		do(s.t, s.app, "listen app_channel; select 'query of the app'")
	}
	if s.other == nil || answer(s.other, "select 'query of the other'") != "query of the other" {
		s.other = s.connect(s.others)
		do(s.t, s.other, "select 'query of the other'")
	}
}

func (s *siege) fill(text string) string {
	return strings.NewReplacer("$ROLE", s.role, "$SCOPE", s.scope(), "$READER", s.reader, "$OTHER", roleOf(s.others.id), "$DB", s.database, "$PORT", fmt.Sprint(s.pg.Port), "$DIR", s.pg.Dir).Replace(text)
}

func (s *siege) scope() string {
	return answer(s.admin, "select roleid::regrole from pg_auth_members where member = '"+roleOf(s.mine.id)+"'::regrole and roleid::regrole::text ~ '^daypass_s_'")
}

// run sends all statements, whatever becomes of those before, and returns all
// that came back.
func (s *siege) run(c *pgx.Conn, statements ...string) []string {
	var got []string
	for _, sql := range statements {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		var results []*pgconn.Result // a refusal is an outcome: what counts is what is seen
		if s.extended {
			results = []*pgconn.Result{c.PgConn().ExecParams(ctx, s.fill(sql), nil, nil, nil, nil).Read()}
		} else {
			results, _ = c.PgConn().Exec(ctx, s.fill(sql)).ReadAll()
		}
		cancel()
		for _, r := range results {
			for _, row := range r.Rows {
				for _, value := range row {
					got = append(got, string(value))
				}
			}
		}
	}
	return got
}

// attempt reports whether an attempt works in one of the two ways to send a
// statement.
func (s *siege) attempt(a attempt, with pass) bool {
	for _, s.extended = range []bool{false, true} {
		if s.try(a, func() *pgx.Conn { return s.connect(with) }) {
			return true
		}
	}
	return false
}

// try reports whether an attempt works in a session that open makes.
func (s *siege) try(a attempt, open func() *pgx.Conn) bool {
	s.t.Helper()
	s.neighbours()
	c := open()
	if got := answer(c, "select count(*) from orders"); got != s.rows { // a session that is dead would make all of them fail
		s.t.Fatalf("%s: orders has %s rows", a.name, got)
	}
	worked := s.worked(a, c)
	_ = c.Close(context.Background()) // it may be gone already
	if worked && a.undo != "" {
		if _, err := s.admin.PgConn().Exec(context.Background(), s.fill(a.undo)).ReadAll(); err != nil {
			s.t.Errorf("%s: undone: %v", a.name, err)
		}
	}
	return worked
}

func (s *siege) worked(a attempt, c *pgx.Conn) bool {
	if a.act != nil {
		return a.act(s, c, a)
	}
	got := s.run(c, a.sql...)
	if a.got != "" {
		want := regexp.MustCompile(s.fill(a.got))
		for _, one := range got {
			if want.MatchString(one) {
				return true
			}
		}
		return false
	}
	for range 5 { // an end takes effect a moment later
		if v := answer(s.admin, s.fill(a.sees)); v == "t" {
			return true
		} else if v != "f" && v != "" {
			s.t.Fatalf("%s: %s: %s", a.name, a.sees, v)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// Each of 77 ways out of a grant of "SELECT on public.orders" is tried by a client
// at the gateway, on a database as it is and on one that prepare hardened, and
// on record is which of them work, and why. Each also works for a superuser who
// comes without the gateway: what looks for it can see it.
//
// Invariant: A28, A29
// Attack: PG-06, PG-07
func TestAttempts(t *testing.T) {
	if n, m := len(escapes), len(walls); n != 41 || m != 36 {
		t.Fatalf("%d and %d attempts", n, m)
	}
	all := append(append(append([]attempt{}, escapes...), walls...), further...)
	outcomes := make(map[string][2]bool, len(all))
	for i, hardened := range []bool{false, true} {
		t.Run([]string{"as it is", "hardened"}[i], func(t *testing.T) {
			s := besieged(t, hardened)
			newer := answer(s.admin, "select current_setting('server_version_num')::int >= 160000") == "t"
			for _, a := range all {
				o := outcomes[a.name]
				o[i] = s.attempt(a, s.mine)
				if on, differs := since16[a.name]; newer && differs {
					if o[i] != on.newer[i] {
						t.Errorf("%s: on this version it works: %v", a.name, o[i])
					}
					o[i] = on.older[i] // which the page is about
				}
				outcomes[a.name] = o
			}
			s.rows = "500"
			for _, a := range pastFilters {
				o := outcomes[a.name]
				o[i] = s.attempt(a, s.few)
				outcomes[a.name] = o
			}
			if hardened {
				return
			}
			s.role, s.rows, s.extended = "root", "1000", false
			for _, a := range slices.Concat(all, pastFilters) {
				worked := s.try(a, func() *pgx.Conn {
					s.pg.Run(t, "shop", "alter role root password 'r'")
					return s.pg.Connect(t, "root", "r", "shop")
				})
				if _, never := nobodys[a.name]; worked == never {
					t.Errorf("%s: for a superuser it works: %v", a.name, worked)
				}
			}
		})
	}
	if t.Failed() {
		return
	}
	page := attemptsPage(t, outcomes)
	const file = "../../../docs/postgres-attempts.md"
	if *updateAttempts {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil { //nolint:gosec // a page for everybody
			t.Fatal(err)
		}
	}
	onRecord, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(onRecord) != page {
		t.Errorf("%s is not what was seen: look at what changed, then\n  go test ./internal/resource/postgres -run TestAttempts -update\n%s", file, page)
	}
}
