package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
	"github.com/jackc/pgx/v5"
)

// ledger is a database whose rows say which statement wrote them, and when.
const ledger = "create table ledger (n bigint, writer text, at timestamptz default clock_timestamp())"

// writers write through the gateway: some by statements that are each other
// text, some by one prepared statement.
const writers = 4

// killedWhileItWrites kills a server with statements running through it, at
// random moments, and returns what the database has and what is on record.
func killedWhileItWrites(t *testing.T, mode string, rounds int) (g *guarded, wrote []written, events []api.Event) {
	t.Helper()
	g = guard(t)
	g.pg.Run(t, g.database, ledger)
	g.term()
	catalog := g.read("catalog.yaml")
	for _, change := range [][2]string{
		{"password: {env: DAYPASS_TEST_ORDERS_PASSWORD}", "password: {env: DAYPASS_TEST_ORDERS_PASSWORD}\n      record: " + mode},
		{"write: {actions: [insert, select], tables: [public.orders]}", "write: {actions: [insert], tables: [public.ledger]}"},
	} {
		if !strings.Contains(catalog, change[0]) {
			t.Fatalf("the catalog has no %q", change[0])
		}
		catalog = strings.Replace(catalog, change[0], change[1], 1)
	}
	g.write("catalog.yaml", catalog)
	g.start()
	r := g.granted("user:ana", "orders-db", "write", time.Hour)
	token := g.token("user:ana", r)
	for range rounds {
		dsn := g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request().Grant.Connect.DSN
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() { g.writer(dsn, token, w) })
		}
		time.Sleep(300*time.Millisecond + rand.N(500*time.Millisecond))
		g.kill()
		group.Wait()
		for until := time.Now().Add(patience); g.backends(r.Grant.ID) != "0"; {
			if time.Now().After(until) {
				t.Fatal("a backend outlives the gateway")
			}
		}
		g.verify()
		g.start()
	}
	return g, g.written(), g.events("")
}

// writer writes rows, one after another, until the server is gone.
func (g *guarded) writer(dsn, token string, w int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		g.t.Error(err)
		return
	}
	config.Password = token
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return // killed before it began
	}
	defer func() { _ = c.Close(ctx) }()
	for n := time.Now().UnixNano(); ; n++ {
		if w%2 == 0 {
			_, err = c.Exec(ctx, fmt.Sprintf("insert into ledger values (%d, 'text %d')", n, w), pgx.QueryExecModeSimpleProtocol)
		} else {
			_, err = c.Exec(ctx, fmt.Sprintf("insert into ledger values ($1, 'prepared %d')", w), n)
		}
		if err != nil {
			return
		}
	}
}

// written is a row of the ledger.
type written struct {
	n      int64
	writer string
	at     time.Time
}

// statement is the text that has written it.
func (r written) statement() string {
	if strings.HasPrefix(r.writer, "text") {
		return fmt.Sprintf("insert into ledger values (%d, '%s')", r.n, r.writer)
	}
	return fmt.Sprintf("insert into ledger values ($1, '%s')", r.writer)
}

func (g *guarded) written() []written {
	g.t.Helper()
	c := g.pg.Connect(g.t, pgtest.Superuser, pgtest.Password, g.database)
	rows, err := c.Query(context.Background(), "select n, writer, at from ledger order by at")
	if err != nil {
		g.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r written, err error) { return r, row.Scan(&r.n, &r.writer, &r.at) })
	if err != nil {
		g.t.Fatal(err)
	}
	if len(all) < 50 {
		g.t.Fatalf("only %d rows were written", len(all))
	}
	return all
}

// statements calls f with each entry of a statement.
func statements(t *testing.T, events []api.Event, f func(e api.Event, sql, intent, tag string)) {
	t.Helper()
	for _, e := range events {
		if e.Type != "session.query" {
			continue
		}
		var d struct{ SQL, Intent, Tag string }
		if err := json.Unmarshal(e.Details, &d); err != nil {
			t.Fatal(err)
		}
		f(e, d.SQL, d.Intent, d.Tag)
	}
}

// In strict mode a statement is on record, durably, before the database gets
// it: whatever the database has done, the record says, however the server died.
//
// Invariant: A20, A31
func TestStrictLosesNoStatementWhenKilled(t *testing.T) {
	rounds := 4
	if long() {
		rounds = 40
	}
	_, rows, events := killedWhileItWrites(t, "strict", rounds)
	intended, did := map[string]int{}, map[string]int{}
	statements(t, events, func(_ api.Event, sql, intent, _ string) {
		if intent == "run" {
			intended[sql]++
		}
	})
	for _, r := range rows {
		did[r.statement()]++
	}
	for sql, n := range did {
		if intended[sql] < n {
			t.Errorf("%d executions of %q are on record, the database has %d", intended[sql], sql, n)
		}
	}
	t.Logf("%d rows were written in %d lives, each by a statement on record", len(rows), rounds)
}

// In bounded mode a kill may lose the last entries, and the record says of which
// time.
//
// Invariant: A30, A31
func TestBoundedSaysWhatItMayHaveLostWhenKilled(t *testing.T) {
	rounds := 4
	if long() {
		rounds = 40
	}
	_, rows, events := killedWhileItWrites(t, "bounded", rounds)
	type window struct{ from, to time.Time }
	var gaps []window
	for _, e := range events {
		if e.Type != "audit.possible_gap" {
			continue
		}
		var d struct{ From, To api.Time }
		if err := json.Unmarshal(e.Details, &d); err != nil {
			t.Fatal(err)
		}
		gaps = append(gaps, window{d.From.Time, d.To.Time})
	}
	if len(gaps) != rounds {
		t.Fatalf("%d possible gaps, of %d kills", len(gaps), rounds)
	}
	// Of a prepared statement the first executions are those that are on record:
	// entries are lost at the end of a life. A life's are found by the gaps.
	life := func(at time.Time) int {
		n, _ := slices.BinarySearchFunc(gaps, at, func(w window, at time.Time) int { return w.to.Compare(at) })
		return n
	}
	recorded := map[string]int{} // by life
	statements(t, events, func(e api.Event, sql, _, tag string) {
		if tag == "INSERT 0 1" {
			recorded[fmt.Sprint(life(e.Time.Time), sql)]++
		}
	})
	lost := 0
	for _, r := range rows {
		in := life(r.at)
		if in >= len(gaps) {
			t.Fatalf("a row was written at %v, after the last kill", r.at)
		}
		key := fmt.Sprint(in, r.statement())
		if recorded[key]--; recorded[key] >= 0 {
			continue
		}
		lost++
		// The row was made before the answer came, and the entry after it.
		if slack := 50 * time.Millisecond; r.at.Before(gaps[in].from.Add(-slack)) || r.at.After(gaps[in].to) {
			t.Errorf("%+v is not on record, and not within a possible gap such as %+v", r, gaps[in])
		}
	}
	t.Logf("%d rows were written in %d lives, %d entries are lost, all within possible gaps", len(rows), rounds, lost)
}

// Those whose business it is see what runs through the gateway, statement by
// statement; to others there is nothing.
func TestWatchingADatabaseSession(t *testing.T) {
	g := guard(t)
	r := g.granted("user:ana", "orders-db", "read", time.Hour)
	token := g.token("user:ana", r)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	config, err := pgx.ParseConfig(g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200).request().Grant.Connect.DSN)
	if err != nil {
		t.Fatal(err)
	}
	config.Password = token
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	for _, sql := range []string{"select * from orders where id <= 3", "listen x", "select * from customers"} {
		_, _ = c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	}
	list := decode[api.List[api.Session]](g.call("user:cy", "GET", "/v1/sessions", nil).is(200))
	if len(list.Items) != 1 || list.Items[0].Statements != 3 || list.Items[0].Rows != 3 {
		t.Fatalf("%+v", list.Items)
	}
	path := "/v1/sessions/" + list.Items[0].ID
	for _, who := range []string{"user:ana", "user:cy", "user:bo", "user:ada"} { // the grantee, an owner, an auditor, an admin
		s := decode[api.Session](g.call(who, "GET", path, nil).is(200))
		if len(s.Recent) != 3 || s.Recent[0].SQL != "select * from orders where id <= 3" || s.Recent[0].Rows != 3 || s.Recent[0].DurationMS <= 0 || !s.Recent[1].Refused || s.Recent[2].SQLState != "42501" {
			t.Errorf("%s: %+v", who, s)
		}
	}
	for _, who := range []string{"user:dan", "user:eve"} {
		g.call(who, "GET", path, nil).is(404)
	}
	_ = c.Close(ctx)
	soon(t, "the session is over", func() bool { return g.call("user:ana", "GET", path, nil).status == 404 })
}
