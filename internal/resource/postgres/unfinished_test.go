package pgkind

import (
	"context"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/live"
	"github.com/jackc/pgx/v5"
)

// A statement that its session did not survive is on record too, whoever ended
// it: the grant, or a client that has read enough.
//
// Invariant: A31
// Attack: PG-12
func TestWhatWasCutIsOnRecord(t *testing.T) { onBothWays(t, testWhatWasCutIsOnRecord) }

func testWhatWasCutIsOnRecord(t *testing.T) {
	const sleep, prepared, flood = "select pg_sleep(60)", "select pg_sleep($1)", "select repeat('x', 1000), n from generate_series(1, 10000000) n"
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 2)
	for _, args := range [][]any{{sleep}, {prepared, 60}} {
		c := d.connect(p)
		go func() {
			_, err := c.Exec(ctx, args[0].(string), args[1:]...)
			ended <- err
		}()
	}
	reader := d.connect(p)
	rows, err := reader.Query(ctx, flood, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
	}
	_ = reader.PgConn().Conn().Close()
	rows.Close()
	eventually(t, "both sleep", func() bool {
		return d.value("select count(*) from pg_stat_activity where wait_event = 'PgSleep' and usename = '"+roleOf(p.id)+"'") == "2"
	})
	d.index.End(p.id, d.now(), live.ReasonRevoked)
	for range 2 {
		if <-ended == nil {
			t.Error("a sleep outlived its grant")
		}
	}
	all := d.statements(3)
	found := map[string]audit.Entry{}
	for _, e := range all {
		if e.Details["unfinished"] == true {
			found[e.Details["sql"].(string)] = e
		}
	}
	if len(found) != 3 || found[sleep].Details["rows"] != int64(0) || found[prepared].Details["sql"] == nil {
		t.Errorf("%v", all)
	}
	if n, _ := found[flood].Details["rows"].(int64); n < 1000 {
		t.Errorf("the reader has %d rows on record", n)
	}
}
