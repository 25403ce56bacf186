package pgkind

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/live"
	"github.com/jackc/pgx/v5"
)

// Invariant: A20
// Attack: PG-06, PG-16
func TestASessionIsThatOfItsGrant(t *testing.T) { onBothWays(t, testASessionIsThatOfItsGrant) }

func testASessionIsThatOfItsGrant(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	c := d.connect(p, "application_name=tests")
	expect(t, c, map[string]string{
		"select count(*) from orders":    "1000",
		"select current_user":            roleOf(p.id),
		"select count(*) from customers": "42501",
		"update orders set total = 0":    "42501",
	})
	var total int
	if err := c.QueryRow(context.Background(), "select sum(id)::int from orders where id < $1", 1234567).Scan(&total); err != nil || total != 500500 {
		t.Fatalf("%d %v", total, err)
	}
	if e := d.rec.of("access.allowed"); len(e) != 1 || !d.rec.durable[0] || e[0].Actor != "user:ana" || e[0].Grant != p.id || e[0].Source.Channel != "gateway:postgres" ||
		e[0].Details["application"] != "tests" || e[0].Details["tls"] != true {
		t.Errorf("%+v", e)
	}
	if e := d.rec.of(audit.SessionStarted); len(e) != 1 {
		t.Errorf("%+v", e)
	}
	all := d.statements(5)
	last := all[4].Details
	if last["sql"] != "select sum(id)::int from orders where id < $1" || last["tag"] != "SELECT 1" || last["rows"] != int64(1) || last["duration_ms"] == nil {
		t.Errorf("%v", last)
	}
	for _, e := range d.rec.entries {
		for k, v := range e.Details {
			if text, _ := v.(string); strings.Contains(text, "1234567") || strings.Contains(text, p.token) {
				t.Errorf("%s tells a secret: %s", k, text)
			}
		}
	}
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
	eventually(t, "the end is on record", func() bool { return len(d.rec.of(audit.SessionEnded)) == 1 })
	if e := d.rec.of(audit.SessionEnded)[0].Details; e["ended_by"] != "closed" || e["bytes_out"].(int64) == 0 {
		t.Errorf("%v", e)
	}
}

// Who has no token learns nothing: neither whether a grant exists nor whether it
// lives.
//
// Invariant: A22, A28
// Attack: PG-05, TOK-03
func TestAWrongTokenAndAnUnknownUserLookAlike(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p, ended := d.pass(readOrders, time.Hour), d.pass(readOrders, time.Hour)
	d.index.End(ended.id, d.now(), live.ReasonRevoked)
	other := d.pass(readOrders, time.Hour)
	users := []string{p.id, ended.id, "grt_aaaaaaaaaaaaaaaaaaaaaaaaaa", "ana@orders-db", "bo@orders-db", "ana@no-such", "postgres", strings.ToUpper(p.id), p.id + " ", "@", "ana@"}
	for i, user := range users {
		e := d.refused(d.dsn(user, other.token[:len(other.token)-1]+"x"))
		if e.Code != "28P01" || e.Message != `password authentication failed for user "`+user+`"` || e.Hint != "" || e.Severity != "FATAL" {
			t.Errorf("%s: %+v", user, e)
		}
		if n := d.rec.denied("unknown_token"); n != i+1 {
			t.Errorf("%s: %d counted", user, n)
		}
	}
	// The token of another grant is as wrong.
	if e := d.refused(d.dsn(p.id, other.token)); e.Code != "28P01" {
		t.Errorf("%+v", e)
	}
	if len(d.rec.of("access.allowed")) != 0 {
		t.Error("somebody was let in")
	}
}

// Invariant: A1, A22
func TestWhoProvesATokenOfAnEndedGrantIsToldHowToAskAgain(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, 14*time.Minute)
	d.index.End(p.id, d.now(), live.ReasonRevoked)
	e := d.refused(d.dsn(p.id, p.token))
	if e.Code != "28000" || !strings.HasPrefix(e.Message, "the Daypass grant "+p.id+" was revoked at 20") ||
		e.Hint != "Ask again: daypass request orders-db --role read --for 15m --reason TEXT, or https://daypass.example/request?resource=orders-db&role=read" {
		t.Errorf("%+v", e)
	}
	expired := d.pass(readOrders, time.Minute)
	d.skew.Store(int64(time.Minute))
	if e := d.refused(d.dsn(expired.id, expired.token)); e.Code != "28000" || !strings.Contains(e.Message, " expired at ") || e.Hint == "" {
		t.Errorf("%+v", e)
	}
}

// Attack: PG-05
func TestNamesOfUsersAndDatabases(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	for _, user := range []string{p.id, "ana@orders-db", "user:ana@orders-db"} {
		c, err := d.try(d.dsn(user, p.token))
		if err != nil {
			t.Fatalf("%s: %v", user, err)
		}
		if got := answer(c, "select current_user"); got != roleOf(p.id) {
			t.Errorf("%s is %s", user, got)
		}
		_ = c.Close(context.Background())
	}
	for _, database := range []string{"postgres", strings.ToUpper(d.database), "dbname=" + d.database, d.database + " "} {
		config, err := pgx.ParseConfig(d.dsn(p.id, p.token))
		if err != nil {
			t.Fatal(err)
		}
		config.Database = database
		if _, err := pgx.ConnectConfig(context.Background(), config); err == nil || !strings.Contains(err.Error(), "28000") || !strings.Contains(err.Error(), "it is for the database "+d.database) {
			t.Errorf("%q: %v", database, err)
		}
	}
	// A newer grant is the one that the name stands for.
	newer := d.pass(readOrders, time.Hour)
	if e := d.refused(d.dsn("ana@orders-db", p.token)); e.Code != "28P01" {
		t.Errorf("%+v", e)
	}
	c, err := d.try(d.dsn("ana@orders-db", newer.token))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close(context.Background())
}
