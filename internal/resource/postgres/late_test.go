package pgkind

import (
	"context"
	"testing"
	"time"
)

// What hangs up may come late, on a machine that gives the process no time.
// Here it never comes: no statement that arrives after the end reaches the
// database all the same, and the answer of none reaches the client.
//
// Invariant: A1, A4
func TestNoStatementPassesAfterTheEndThoughNothingHangsUp(t *testing.T) {
	onBothWays(t, testNoStatementPassesAfterTheEndThoughNothingHangsUp)
}

func testNoStatementPassesAfterTheEndThoughNothingHangsUp(t *testing.T) {
	d := newDesk(t, deskOptions{plain: true})
	p := d.pass(writeOrders, 10*time.Minute)
	idle, waiting := d.connect(p), d.connect(p)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		var n int
		answer <- waiting.QueryRow(ctx, "select 1 from pg_sleep(1)").Scan(&n)
	}()
	eventually(t, "the statement runs", func() bool {
		return d.value("select count(*) from pg_stat_activity where query like 'select 1 from pg_sleep%' and state = 'active' and usename = '"+roleOf(p.id)+"'") == "1"
	})
	d.index.Close() // nobody is told of ends any more
	d.skew.Store(int64(time.Hour))
	if err := <-answer; err == nil {
		t.Error("the client got an answer after the end")
	}
	if _, err := idle.Exec(ctx, "update orders set total = -7 where id = 1"); err == nil {
		t.Error("a statement of after the end was answered")
	}
	if total := d.value("select total from orders where id = 1"); total == "-7" {
		t.Errorf("the statement of after the end was carried out")
	}
}
