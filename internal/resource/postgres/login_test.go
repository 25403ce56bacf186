package pgkind

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/jackc/pgx/v5/pgconn"
)

// The token itself is taken where the catalog says so, over TLS alone.
//
// Attack: PG-02, PG-16
func TestCleartext(t *testing.T) {
	d := newDesk(t, deskOptions{more: "cleartext: true"})
	p, other := d.pass(readOrders, time.Hour), d.pass(readOrders, time.Hour)
	// "require_auth" makes the client insist on what it gets.
	if got := answer(d.connect(p, "require_auth=password"), "select 1"); got != "1" {
		t.Error(got)
	}
	for user, want := range map[string]string{p.id: "28000", "ana@orders-db": "28P01", "bo@orders-db": "28P01"} {
		token := other.token
		if want == "28P01" {
			token = token[:len(token)-1] + "x"
		}
		if e := d.refused(d.dsn(user, token)); e.Code != want {
			t.Errorf("%s: %+v", user, e)
		}
	}
	d.index.End(p.id, d.now(), live.ReasonRevoked)
	if e := d.refused(d.dsn(p.id, p.token)); e.Code != "28000" || !strings.Contains(e.Hint, "Ask again") {
		t.Errorf("%+v", e)
	}
	plain := newDesk(t, deskOptions{more: "cleartext: true", plain: true})
	q := plain.pass(readOrders, time.Hour)
	if _, err := plain.try(plain.dsn(q.id, q.token, "require_auth=password")); err == nil {
		t.Error("a token is taken in clear without TLS")
	}
	if got := answer(plain.connect(q, "require_auth=scram-sha-256"), "select 1"); got != "1" {
		t.Error(got)
	}
}

// What was prepared while a grant lived does not run after its end.
//
// Invariant: A1
// Attack: PG-11
func TestWhatWasPreparedDoesNotOutliveTheGrant(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(writeOrders, time.Hour)
	c := d.connect(p)
	ctx := context.Background()
	if _, err := c.PgConn().Prepare(ctx, "later", "update orders set total = -7", nil); err != nil {
		t.Fatal(err)
	}
	d.index.End(p.id, d.now(), live.ReasonExpired)
	r := c.PgConn().ExecPrepared(ctx, "later", nil, nil, nil).Read()
	if e, ok := errors.AsType[*pgconn.PgError](r.Err); !ok || e.Code != "57P01" {
		t.Errorf("%v", r.Err)
	}
	if got := d.value("select count(*) from orders where total = -7"); got != "0" {
		t.Errorf("%s rows were changed", got)
	}
}

// A table that was swapped for another is not what was approved.
//
// Invariant: A23
func TestASessionDoesNotFollowANameToAnotherTable(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	d.run("alter table orders rename to old; alter table customers rename to orders")
	e := d.refused(d.dsn(p.id, p.token))
	if e.Code != "28000" || !strings.Contains(e.Message, "public.orders") || !strings.Contains(e.Hint, "Ask again") {
		t.Errorf("%+v", e)
	}
}

// Invariant: A20
func TestWhatCannotBeRecordedIsNotLetIn(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	d.rec.set(func(r *record) { r.fail = errDisk })
	if e := d.refused(d.dsn(p.id, p.token)); e.Code != "57P03" || strings.Contains(e.Message, "disk") {
		t.Errorf("%+v", e)
	}
	if got := d.value("select count(*) from pg_stat_activity where usename = '" + roleOf(p.id) + "'"); got != "0" {
		t.Error("it came as far as the database")
	}
}

func TestSessionsOfAGrantAreBounded(t *testing.T) {
	d := newDesk(t, deskOptions{more: "max_sessions: 2"})
	p := d.pass(readOrders, time.Hour)
	d.connect(p)
	c := d.connect(p)
	if e := d.refused(d.dsn(p.id, p.token)); e.Code != "53300" || strings.Contains(e.Message, roleOf(p.id)) {
		t.Errorf("%+v", e)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room again", func() bool {
		c, err := d.try(d.dsn(p.id, p.token))
		if err == nil {
			_ = c.Close(context.Background())
		}
		return err == nil
	})
}

// absent is a target whose server is not there; mad one that panics.
type absent struct{ evil }

func (absent) dialUpstream(context.Context, *policy.Resource, string, map[string]string) (*pgconn.HijackedConn, error) {
	return nil, &net.OpError{Op: "dial", Err: errors.New("10.1.2.3 is on fire")}
}

type mad struct{ evil }

func (mad) check(context.Context, *policy.Resource, *Scope, json.RawMessage) error { panic("mad") }

func TestADatabaseThatIsNotThere(t *testing.T) {
	d := newDesk(t, deskOptions{target: &absent{}})
	if e := d.refused(func() string { p := d.pass(readOrders, time.Hour); return d.dsn(p.id, p.token) }()); e.Code != "08004" || strings.Contains(e.Message, "10.1.2.3") {
		t.Errorf("%+v", e)
	}
	eventually(t, "nothing is left", func() bool { return d.guard.Counts().Sessions == 0 })
}

// A panic costs its own connection.
//
// Invariant: A40
func TestAPanicIsIsolated(t *testing.T) {
	d := newDesk(t, deskOptions{target: &mad{}, panics: 1})
	p := d.pass(readOrders, time.Hour)
	if _, err := d.try(d.dsn(p.id, p.token)); err == nil {
		t.Error("let in")
	}
	eventually(t, "nothing is left", func() bool { return d.guard.Counts().Sessions == 0 && len(d.gw.all()) == 0 })
}
