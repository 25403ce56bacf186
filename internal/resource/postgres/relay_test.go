package pgkind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A statement that the gate refuses fails like one that PostgreSQL refuses: in
// its place, with what must be skipped skipped, and the rest as it was.
//
// Attack: PG-06, PG-07
func TestARefusedStatementKeepsTheOrderOfAnswers(t *testing.T) {
	onBothWays(t, testARefusedStatementKeepsTheOrderOfAnswers)
}

func testARefusedStatementKeepsTheOrderOfAnswers(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(writeOrders, time.Hour)
	c := d.connect(p)
	ctx := context.Background()

	_, err := c.Exec(ctx, "listen x")
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || e.Code != "42501" || e.Severity != "ERROR" || e.Message == "" || strings.Contains(e.Message, "syntax") {
		t.Fatalf("%v", err)
	}
	// Nothing of a query of several runs.
	if got := answer(c, "update orders set total = -1; listen x"); got != "42501" {
		t.Errorf("%s", got)
	}
	if got := answer(c, "select count(*) from orders where total = -1"); got != "0" {
		t.Errorf("%s rows were changed", got)
	}
	// Within a transaction it fails the transaction.
	for _, step := range []struct{ sql, want string }{
		{"begin", ""}, {"select 1", "1"}, {"listen x", "42501"}, {"select 2", "25P02"}, {"listen x", "42501"}, {"rollback", ""}, {"select 3", "3"},
	} {
		if got := answer(c, step.sql); got != step.want {
			t.Errorf("%s: %q, want %q", step.sql, got, step.want)
		}
	}
	// Within a pipeline it skips to the next Sync.
	pipe := c.PgConn().StartPipeline(ctx)
	send := func(sql string) { pipe.SendQueryParams(sql, nil, nil, nil, nil) }
	send("select 1")
	send("listen x")
	send("select 2")
	if err := pipe.Sync(); err != nil {
		t.Fatal(err)
	}
	send("select 3")
	if err := pipe.Sync(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 5 {
		results, err := pipe.GetResults()
		switch r := results.(type) {
		case *pgconn.ResultReader:
			rows := r.Read()
			if rows.Err != nil {
				err = rows.Err
			} else {
				got = append(got, string(rows.Rows[0][0]))
			}
		case *pgconn.PipelineSync:
			got = append(got, "sync")
		}
		if e, ok := errors.AsType[*pgconn.PgError](err); ok {
			got = append(got, e.Code)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := pipe.Close(); err != nil {
		t.Error(err)
	}
	if want := []string{"1", "42501", "sync", "3", "sync"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := answer(c, "select 4"); got != "4" {
		t.Error(got)
	}
	refused := 0
	for _, e := range d.rec.of(audit.SessionQuery) {
		if e.Outcome == audit.Denied {
			if refused++; e.Details["sqlstate"] != "42501" || e.Details["refused"] == "" || !strings.Contains(e.Details["sql"].(string), "listen x") {
				t.Errorf("%v", e.Details)
			}
		}
	}
	if refused != 5 {
		t.Errorf("%d refusals on record", refused)
	}
}

// Names are what the server makes of them: a Parse that fails has not taken the
// place of the statement before it, and SQL shares the names of the protocol.
func TestTheRecordHasWhatRan(t *testing.T) { onBothWays(t, testTheRecordHasWhatRan) }

func testTheRecordHasWhatRan(t *testing.T) {
	d := newDesk(t, deskOptions{})
	c := d.connect(d.pass(readOrders, time.Hour))
	ctx := context.Background()
	long := strings.Repeat("a", 80)
	for _, one := range []struct{ name, sql string }{{"a", "select 'first'"}, {"a", "select 'hidden'"}, {long + "x", "select 'long'"}, {long + "y", "select 'hidden'"}} {
		_, err := c.PgConn().Prepare(ctx, one.name, one.sql, nil)
		if hidden := strings.Contains(one.sql, "hidden"); hidden != (err != nil) {
			t.Fatalf("%s: %v", one.sql, err)
		}
	}
	for _, name := range []string{"a", long + "y"} {
		if r := c.PgConn().ExecPrepared(ctx, name, nil, nil, nil).Read(); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	var ran []string
	for _, e := range d.rec.of(audit.SessionQuery) {
		if e.Details["tag"] == "SELECT 1" {
			ran = append(ran, e.Details["sql"].(string))
		}
	}
	if want := []string{"select 'first'", "select 'long'"}; !slices.Equal(ran, want) {
		t.Errorf("%q, want %q", ran, want)
	}
	if _, err := c.Exec(ctx, "select 1; select 2 from orders where id < 4;  select 1/0", pgx.QueryExecModeSimpleProtocol); err == nil {
		t.Error("1/0 is no error")
	}
	all := d.rec.of(audit.SessionQuery)
	all = all[len(all)-3:]
	if all[0].Details["part"] != nil || all[1].Details["part"] != 2 || all[1].Details["rows"] != int64(3) || all[2].Details["sqlstate"] != "22012" || all[2].Details["part"] != 3 {
		t.Errorf("%v", all)
	}
	sql := "select '" + strings.Repeat("x", 20_000) + "'"
	if _, err := c.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
	all = d.rec.of(audit.SessionQuery)
	if last := all[len(all)-1].Details; len(last["sql"].(string)) != 8<<10 || last["sql_length"] != len(sql) {
		t.Errorf("%d of %v", len(last["sql"].(string)), last["sql_length"])
	}
}

// Invariant: A20
func TestCopyBothWaysAndLargeValues(t *testing.T) { onBothWays(t, testCopyBothWaysAndLargeValues) }

func testCopyBothWaysAndLargeValues(t *testing.T) {
	for _, plain := range []bool{false, true} {
		d := newDesk(t, deskOptions{plain: plain, script: []string{"create table blobs (id int, body text); create table twin (like blobs)"}})
		c := d.connect(d.pass(`{"actions":["insert","select"],"tables":["public.blobs","public.twin"]}`, time.Hour))
		ctx := context.Background()
		var in bytes.Buffer
		for i := range 3000 {
			fmt.Fprintf(&in, "%d\t%s\n", i, strings.Repeat(string(rune('a'+i%26)), i%3000))
		}
		want := in.String()
		if tag, err := c.PgConn().CopyFrom(ctx, &in, "copy blobs from stdin"); err != nil || tag.RowsAffected() != 3000 {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := c.PgConn().CopyTo(ctx, &out, "copy (select * from blobs order by id) to stdout"); err != nil || out.String() != want {
			t.Fatalf("%v, %d bytes of %d", err, out.Len(), len(want))
		}
		if _, err := c.PgConn().CopyFrom(ctx, strings.NewReader("1\ta\nx\tb\n"), "copy blobs from stdin"); err == nil {
			t.Error("a bad line is no error")
		}
		if _, err := c.PgConn().CopyFrom(ctx, failing{}, "copy blobs from stdin"); err == nil {
			t.Error("a copy that the client gives up is no error")
		}
		large := strings.Repeat("0123456789", 3_000_000)
		if _, err := c.Exec(ctx, "insert into twin values (1, $1)", large); err != nil {
			t.Fatal(err)
		}
		var back string
		if err := c.QueryRow(ctx, "select body from twin").Scan(&back); err != nil || back != large {
			t.Fatalf("%v, %d bytes", err, len(back))
		}
		batch := &pgx.Batch{}
		for i := range 5000 { // more than the gateway keeps track of at once
			batch.Queue("select $1::int", i)
		}
		results := c.SendBatch(ctx, batch)
		for i := range 5000 {
			var n int
			if err := results.QueryRow().Scan(&n); err != nil || n != i {
				t.Fatalf("%d: %d %v", i, n, err)
			}
		}
		if err := results.Close(); err != nil {
			t.Error(err)
		}
		rows := int64(0)
		for _, e := range d.rec.of(audit.SessionQuery) {
			if tag, _ := e.Details["tag"].(string); strings.HasPrefix(tag, "COPY 3000") {
				rows += e.Details["rows"].(int64)
			}
		}
		if rows != 3000 {
			t.Errorf("%d rows went out by COPY, by the record", rows)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no more") }

// What one session reads never is another's: buffers are shared, and spoilt when
// they go back.
//
// Attack: PG-13
func TestSharedBuffersCarryNothingOver(t *testing.T) {
	onBothWays(t, testSharedBuffersCarryNothingOver)
}

func testSharedBuffersCarryNothingOver(t *testing.T) {
	released = func(b *[largeBuffer]byte) {
		for i := range b {
			b[i] = 0xdb
		}
	}
	t.Cleanup(func() { released = nil })
	d := newDesk(t, deskOptions{})
	var group sync.WaitGroup
	for n := range 6 {
		c := d.connect(d.pass(readOrders, time.Hour))
		group.Go(func() {
			mark := strings.Repeat(string(rune('A'+n)), 500)
			for i := range 60 {
				rows, err := c.Query(context.Background(), "select $1::text || id::text, repeat($1::text, id % 80) from orders where id <= $2", mark, 1+i*i%400)
				if err != nil {
					t.Error(err)
					return
				}
				for k := 1; rows.Next(); k++ {
					var a, b string
					if err := rows.Scan(&a, &b); err != nil || a != mark+fmt.Sprint(k) || b != strings.Repeat(mark, k%80) {
						t.Errorf("session %d got another's bytes: %v", n, err)
						return
					}
				}
				if rows.Err() != nil {
					t.Error(rows.Err())
				}
			}
		})
	}
	group.Wait()
}

// Invariant: A20
func TestStrictRecordsBeforeItForwards(t *testing.T) {
	d := newDesk(t, deskOptions{more: "record: strict"})
	c := d.connect(d.pass(writeOrders, time.Hour))
	ctx := context.Background()
	var mu sync.Mutex
	var intents []string
	d.rec.set(func(r *record) {
		r.before = func(e *audit.Entry, durable bool) {
			if e.Details["intent"] == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if !durable {
				t.Error("an intent is not durable")
			}
			intents = append(intents, fmt.Sprint(e.Details["intent"], ": ", e.Details["sql"]))
		}
	})
	if got := answer(c, "select 1"); got != "1" {
		t.Fatal(got)
	}
	if _, err := c.Exec(ctx, "update orders set total = $1 where id = 1", 5); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	want := []string{"run: select 1", "prepare: update orders set total = $1 where id = 1", "run: update orders set total = $1 where id = 1"}
	if !slices.Equal(intents, want) {
		t.Errorf("%q", intents)
	}
	mu.Unlock()
	d.rec.set(func(r *record) { r.fail = errDisk })
	_, err := c.Exec(ctx, "update orders set total = 777")
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "57P01" {
		t.Errorf("%v", err)
	}
	d.rec.set(func(r *record) { r.fail, r.before = nil, nil })
	if got := d.value("select count(*) from orders where total = 777"); got != "1" { // the one of the shop
		t.Errorf("a statement that is not on record changed %s rows", got)
	}
}

// A result that is cut off never looks complete.
func TestBudgets(t *testing.T) { onBothWays(t, testBudgets) }

func testBudgets(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(`{"actions":["select"],"max_rows":1500,"tables":["public.orders"]}`, time.Hour)
	ctx := context.Background()
	c := d.connect(p)
	if got := answer(c, "select * from orders"); got != "1" {
		t.Fatal(got)
	}
	seen := 0
	rows, err := c.Query(ctx, "select * from orders")
	for err == nil && rows.Next() {
		seen++
	}
	if err == nil {
		err = rows.Err()
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "54000" || seen > 500 || !strings.Contains(e.Message, "1500 rows") {
		t.Fatalf("%v after %d rows", err, seen)
	}
	again := d.connect(p) // gets no more
	var out bytes.Buffer
	if _, err := again.PgConn().CopyTo(ctx, &out, "copy orders to stdout"); err == nil || bytes.Count(out.Bytes(), []byte("\n")) > 500 {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
	// How much is left by now depends on how the server's bytes came. What was too
	// much has taken nothing of it.
	one := &budget{maxRows: 1500}
	if one.spend(1490, 1) != "" || one.spend(11, 1) == "" || one.spend(10, 1) != "" || one.spend(1, 1) == "" {
		t.Error("less than what is left is not to be had, or more than that")
	}
	b := d.pass(`{"actions":["select"],"max_bytes":20000,"tables":["public.orders"]}`, time.Hour)
	if got := answer(d.connect(b), "select repeat('x', 30000)"); got != "54000" {
		t.Errorf("bytes: %s", got)
	}
}

// A grant has no more to read because Daypass was started again, and nothing where
// it is not known how much that is.
//
// Invariant: A20, A29
func TestBudgetsGoOnWhereTheyWere(t *testing.T) {
	asked := map[string]int{}
	var mu sync.Mutex
	var before gateway.Spent
	var down error
	d := newDesk(t, deskOptions{plain: true, spent: func(_ context.Context, request string) (gateway.Spent, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[request]++
		return before, down
	}})
	limited := func() pass {
		return d.pass(`{"actions":["select"],"max_bytes":1000000,"max_rows":1500,"tables":["public.orders"]}`, time.Hour)
	}
	before = gateway.Spent{Rows: 1495, Bytes: 9}
	p := limited()
	c := d.connect(p)
	expect(t, c, map[string]string{"select id from orders where id <= 5": "1"})
	d.connect(p) // asked once
	expect(t, d.connect(p), map[string]string{"select id from orders where id = 1": "54000"})
	if n := asked["req_"+p.id[4:]]; n != 1 {
		t.Errorf("the record was asked %d times", n)
	}
	before = gateway.Spent{Rows: 1, Bytes: 999_999}
	expect(t, d.connect(limited()), map[string]string{"select id from orders where id = 1": "54000"})
	refused := func(p pass, code, want string) {
		t.Helper()
		_, err := d.try(d.dsn(p.id, p.token))
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != code || !strings.Contains(e.Message, want) {
			t.Errorf("%v", err)
		}
	}
	before = gateway.Spent{Unknown: true}
	p = limited()
	refused(p, "54000", "has a limit, and Daypass stopped without a record of how much its sessions had read")
	before = gateway.Spent{}
	refused(p, "54000", "has a limit")
	p, down = limited(), errDisk
	refused(p, "57P03", "cannot decide or record this now")
	down = nil
	expect(t, d.connect(p), map[string]string{"select id from orders where id = 1": "1"})
	// Who has no limit is asked nothing, and its start waits for no disk.
	before = gateway.Spent{Unknown: true}
	expect(t, d.connect(d.pass(readOrders, time.Hour)), map[string]string{"select count(*) from orders": "1000"})
	d.rec.mu.Lock()
	defer d.rec.mu.Unlock()
	durable := map[string]int{}
	for i, e := range d.rec.entries {
		if e.Type == audit.SessionStarted {
			durable[fmt.Sprint(d.rec.durable[i])]++
		}
	}
	if durable["true"] < 4 || durable["false"] != 1 {
		t.Errorf("beginnings that are on disk before anything is read: %v", durable)
	}
}

// psql runs the client with which people come.
func (d *desk) psql(p pass, stdin string, args ...string) *exec.Cmd {
	cmd := exec.Command("psql", append([]string{d.dsn(p.id, p.token), "-X", "-A", "-t"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	return cmd
}

func TestPsql(t *testing.T) { onBothWays(t, testPsql) }

func testPsql(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(writeOrders, time.Hour)
	file := filepath.Join(t.TempDir(), "orders.tsv")
	out, err := d.psql(p, `\d orders
\dt
\conninfo
\copy orders to '`+file+`'
\copy orders from program 'printf "5000\\tx\\t1\\ty\\n"'
select count(*) from orders;
`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for _, want := range []string{"id|integer", "COPY 1000", "COPY 1\n", "1001\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if got, err := os.ReadFile(file); err != nil || bytes.Count(got, []byte("\n")) != 1000 {
		t.Errorf("%v, %d bytes", err, len(got))
	}

	// Ctrl-C cancels the statement and keeps the session.
	cmd := d.psql(p, "select pg_sleep(60);\nselect 'still here';\n")
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it sleeps", func() bool {
		return d.value("select count(*) from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active' and usename = '"+roleOf(p.id)+"'") == "1"
	})
	start := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := both.String(); !strings.Contains(got, "canceling statement due to user request") || time.Since(start) > 5*time.Second {
		t.Errorf("%v: %s", time.Since(start), got)
	}
}

func TestPgbench(t *testing.T) { onBothWays(t, testPgbench) }

func testPgbench(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	script := filepath.Join(t.TempDir(), "one.sql")
	if err := os.WriteFile(script, []byte("\\set id random(1, 1000)\nselect total from orders where id = :id;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const each = 100
	for i, mode := range []string{"simple", "extended", "prepared"} {
		cmd := exec.Command(pgbench(t), "-n", "-f", script, "-M", mode, "-c", "4", "-j", "2", "-t", fmt.Sprint(each), d.dsn(p.id, p.token))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "number of transactions actually processed: 400/400") {
			t.Fatalf("%s: %v %s", mode, err, out)
		}
		all := d.statements(4 * each * (i + 1))
		if last := all[len(all)-1].Details; !strings.HasPrefix(last["sql"].(string), "select total from orders where id = ") || last["rows"] != int64(1) {
			t.Errorf("%s: %v", mode, last)
		}
	}
}

func TestPgDump(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	out, err := exec.Command(filepath.Join(filepath.Dir(pgbench(t)), "pg_dump"), "-d", d.dsn(p.id, p.token), "-t", "public.orders", "--no-owner").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "CREATE TABLE public.orders") || strings.Count(string(out), "card ") < 1000 {
		t.Errorf("%v %.2000s", err, out)
	}
}

// pgbench is in the path, or among the programs of a server.
func pgbench(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench") // the pattern is sound
	if len(found) == 0 {
		t.Fatal("there is no pgbench on this machine: run tools/setup")
	}
	return found[len(found)-1]
}
