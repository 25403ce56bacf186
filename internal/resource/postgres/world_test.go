package pgkind

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// shop is what most tests find in their database.
const shop = `
create table orders (id int primary key, customer text, total numeric, card text);
insert into orders select n, 'c' || n, n, 'card ' || n from generate_series(1, 1000) n;
create table customers (id serial primary key, name text);
insert into customers (name) select 'name ' || n from generate_series(1, 10) n;
create schema reporting;
create table reporting.daily (day date, total numeric);
insert into reporting.daily values ('2026-11-27', 7);
create table reporting.weekly (week int, total numeric);
create function public.total(int) returns numeric language sql security definer as 'select total from orders where id = $1';
revoke execute on function public.total(int) from public;
`

// world is a database, a connector, and the resource that both belong to.
type world struct {
	t        *testing.T
	pg       *pgtest.Server
	database string
	c        *connector
	r        *policy.Resource
	now      func() time.Time
	secure   string // in place of sslmode=disable, on the way to the database
}

// upstream is where the database is, as a catalog says it.
func (w *world) upstream() string {
	at := w.pg.Upstream(w.database)
	if w.secure != "" {
		at = strings.Replace(at, "sslmode=disable", w.secure, 1)
	}
	return at
}

func newWorld(t *testing.T, more string, scripts ...string) *world {
	t.Helper()
	pg := pgtest.Shared(t)
	return worldAs(t, pg.Database(t, append([]string{shop}, scripts...)...), pgtest.Superuser, pgtest.Password, more)
}

func worldAs(t *testing.T, database, user, password, more string) *world {
	t.Helper()
	w := &world{t: t, pg: pgtest.Shared(t), database: database, now: time.Now}
	w.r = w.resource(user, password, more)
	w.c = w.connector("one")
	t.Cleanup(func() { // before the database goes
		_, _ = w.c.Reconcile(context.Background(), []*policy.Resource{w.r}, func(context.Context, string) (bool, error) { return false, nil })
		w.c.Close()
	})
	return w
}

func (w *world) resource(user, password, more string) *policy.Resource {
	w.t.Helper()
	w.t.Setenv("DAYPASS_TEST_PASSWORD_"+user, password)
	c, err := parseConfig(fmt.Sprintf("upstream: %s\nuser: %s\npassword: {env: DAYPASS_TEST_PASSWORD_%s}\n%s", w.upstream(), user, user, more))
	if err != nil {
		w.t.Fatal(err)
	}
	return &policy.Resource{ID: "orders-db", Kind: Kind{}, Config: c}
}

func parseConfig(text string) (*Config, error) {
	node, err := config.Parse("test", []byte(text), config.MaxServerSize)
	if err != nil {
		return nil, err
	}
	c, err := Kind{}.ParseConfig(node)
	if err != nil {
		return nil, err
	}
	return c.(*Config), nil
}

// connector is one of a Daypass with these keys.
func (w *world) connector(keys string) *connector {
	return newConnector(resource.ConnectorDeps{
		Key: func(purpose string) []byte { sum := sha256.Sum256([]byte(keys + w.database + purpose)); return sum[:] },
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now() },
	})
}

func mustScope(t testing.TB, text string) *Scope {
	t.Helper()
	s, err := parseScope([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var grants int

// grant inspects a scope and returns the target of a grant of it.
func (w *world) grant(scope string, length time.Duration) resource.Target {
	w.t.Helper()
	s := mustScope(w.t, scope)
	finding, err := w.c.Inspect(context.Background(), w.r, s)
	if err != nil {
		w.t.Fatal(err)
	}
	return resource.Target{Grant: w.newGrant(s), Resource: w.r, Found: finding.Target, ExpiresAt: w.now().Add(length)}
}

func (w *world) newGrant(s *Scope) *live.Grant {
	grants++
	sum := sha256.Sum256(fmt.Append(nil, w.database, grants))
	return &live.Grant{ID: "grt_" + idText.EncodeToString(sum[:16]), Resource: w.r.ID, Kind: "postgres", Scope: s.JSON()}
}

// again is another grant of a scope, which is looked at once.
func (w *world) again(like resource.Target, scope string) resource.Target {
	w.t.Helper()
	if like.Grant == nil {
		return w.grant(scope, 15*time.Minute)
	}
	like.Grant = w.newGrant(mustScope(w.t, scope))
	return like
}

// provision makes a grant real.
func (w *world) provision(scope string) resource.Target {
	w.t.Helper()
	t := w.grant(scope, 15*time.Minute)
	if err := w.c.Provision(context.Background(), t); err != nil {
		w.t.Fatal(err)
	}
	return t
}

// login is a session of the grant, without the gateway.
func (w *world) login(t resource.Target) *pgx.Conn {
	w.t.Helper()
	return w.pg.Connect(w.t, roleOf(t.Grant.ID), w.c.password(t.Grant.ID), w.database)
}

// answer runs one statement and returns the first value, or the SQLSTATE.
func answer(c *pgx.Conn, sql string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	results, err := c.PgConn().Exec(ctx, sql).ReadAll()
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	for _, r := range results {
		if len(r.Rows) > 0 {
			return string(r.Rows[0][0])
		}
	}
	return ""
}

// do runs one statement that must succeed.
func do(t testing.TB, c *pgx.Conn, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := c.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func expect(t testing.TB, c *pgx.Conn, want map[string]string) {
	t.Helper()
	for sql, value := range want {
		if got := answer(c, sql); got != value {
			t.Errorf("%s: %q, want %q", sql, got, value)
		}
	}
}

// value asks the database as its superuser.
func (w *world) value(sql string) string {
	w.t.Helper()
	c, err := w.pg.Try(pgtest.Superuser, pgtest.Password, w.database)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	return answer(c, sql)
}

func (w *world) run(sql string) { w.t.Helper(); w.pg.Run(w.t, w.database, sql) }

// traces counts what there is of a role in the cluster.
func (w *world) traces(role string) string {
	return w.value(fmt.Sprintf(`select (select count(*) from pg_roles where rolname = '%[1]s')
		+ (select count(*) from pg_stat_activity where usename = '%[1]s') + (select count(*) from pg_prepared_xacts where owner = '%[1]s')`, role))
}

func (w *world) remove(t resource.Target) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.c.Remove(ctx, t); err != nil {
		w.t.Fatal(err)
	}
}

func decoded(t testing.TB, raw json.RawMessage) found {
	t.Helper()
	var f found
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	return f
}
