package pgkind

import (
	"testing"
	"time"
)

const readOrders = `{"actions":["select"],"tables":["public.orders"]}`

// Invariant: A1
// Attack: PG-06, PG-17, PG-18
func TestAGrantIsARoleThatReachesItsScope(t *testing.T) {
	w := newWorld(t, "")
	target := w.provision(readOrders)
	role := roleOf(target.Grant.ID)
	c := w.login(target)
	expect(t, c, map[string]string{
		"select count(*) from orders":                "1000",
		"select current_user":                        role,
		"select count(*) from customers":             "42501",
		"update orders set total = 0":                "25006",
		"set role postgres":                          "42501",
		"set session authorization postgres":         "42501",
		"reset role; select count(*) from customers": "42501",
		"copy orders to program 'true'":              "42501",
		"select pg_read_file('/etc/passwd')":         "42501",
		"select rolpassword from pg_authid":          "42501",
		"show client_connection_check_interval":      "250ms",
		"show idle_in_transaction_session_timeout":   "5min",
		"show temp_file_limit":                       "1GB",
	})
	if got := answer(c, "set default_transaction_read_only = off"); got != "" {
		t.Error(got) // which is the gate's to refuse: it is no boundary
	}
	expect(t, c, map[string]string{
		"delete from orders": "42501",
		"create function f() returns int language sql security definer as 'select 1'": "42501",
	})
	w.remove(target)
	if left := w.traces(role); left != "0" {
		t.Errorf("%s traces of the role are left", left)
	}
	if got := answer(c, "select 1"); got == "1" {
		t.Error("the session lives on")
	}
	w.remove(target) // again
}

// Invariant: A1
func TestARoleEndsWithItsGrant(t *testing.T) {
	w := newWorld(t, "max_sessions: 2")
	target := w.grant(readOrders, 90*time.Second+700*time.Millisecond)
	if err := w.c.Provision(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	ask := "select rolvaliduntil = '" + target.ExpiresAt.UTC().Truncate(time.Second).Format(time.RFC3339) + "' and rolconnlimit = 2 from pg_roles where rolname = '" + roleOf(target.Grant.ID) + "'"
	if got := w.value(ask); got != "t" {
		t.Errorf("the role ends otherwise: %s", got)
	}
	target.ExpiresAt = target.ExpiresAt.Add(time.Hour) // an extension
	if err := w.c.Provision(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if got := w.value("select rolvaliduntil > now() + interval '1 hour' from pg_roles where rolname = '" + roleOf(target.Grant.ID) + "'"); got != "t" {
		t.Errorf("the role does not end later: %s", got)
	}
}
