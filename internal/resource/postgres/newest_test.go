package pgkind

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
	"github.com/jackc/pgx/v5/pgconn"
)

// onNewest are the tests that run on the newest PostgreSQL too: what makes and
// removes roles, what carries and ends sessions, and the ways out of a grant.
const onNewest = `^(TestAGrantIsARoleThatReachesItsScope|TestARoleEndsWithItsGrant|TestScopesBecomePrivileges|TestInspectSaysWhatARoleWouldReach|TestPrepared` +
	`|TestRowFilters|TestRowFiltersDoNotLeak|TestRowFiltersAreLookedAfter|TestRemoveWhateverASessionLeft|TestCutEndsSessionsTogether|TestReconcileSweepsAndMends|TestEndsOfOneSession|TestARefusedStatementKeepsTheOrderOfAnswers` +
	`|TestTheRecordHasWhatRan|TestCopyBothWaysAndLargeValues|TestPsql|TestCancelRequests|TestMembershipsOfAGrant|TestKeysOfTheNewestProtocol|TestAttempts)$`

// Grants hold on the newest PostgreSQL as they do on that of the machine.
//
// Invariant: A1, A4, A29, A39
// Attack: PG-06, PG-07, PG-17
func TestTheNewestPostgres(t *testing.T) {
	if os.Getenv("DAYPASS_TEST_POSTGRES") != "" {
		t.Skip("this is one of its runs already, or a server was chosen")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run", onNewest, "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), "DAYPASS_TEST_POSTGRES="+pgtest.Newest(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := strings.Count(onNewest, "Test")
	if n := strings.Count(string(out), "\n--- PASS: Test") + strings.Count(string(out), "\n--- SKIP: Test"); n != want {
		t.Errorf("%d of %d tests ran:\n%s", n, want, out)
	}
}

// A grant's role has what its scope role may read, and may not become it, nor
// hand it on, where PostgreSQL can say so (16).
//
// Invariant: A29
func TestMembershipsOfAGrant(t *testing.T) {
	w := newWorld(t, "")
	target := w.provision(writeOrders)
	role := roleOf(target.Grant.ID)
	of := " from pg_auth_members m where member = '" + role + "'::regrole"
	if got := w.value("select count(*) = 2 and not bool_or(admin_option)" + of); got != "t" {
		t.Errorf("its memberships: %s", w.value("select string_agg(roleid::regrole || ' ' || admin_option, ', ')"+of))
	}
	if w.value("select current_setting('server_version_num')::int >= 160000") != "t" {
		return
	}
	if got := w.value("select bool_and(inherit_option and not set_option)" + of); got != "t" {
		t.Errorf("inherits and may not become: %s", got)
	}
	scope := w.value("select roleid::regrole" + of + " and roleid::regrole::text ~ '^daypass_s_'")
	c := w.login(target)
	expect(t, c, map[string]string{
		"select count(*) from orders":                       "1000",
		"set role " + scope:                                 "42501",
		"select set_config('role', '" + scope + "', false)": "42501",
		"grant " + scope + " to current_user":               "42501",
	})
}

// With protocol 3.2 clients get long keys, and cancel with them.
//
// Attack: PG-10
func TestKeysOfTheNewestProtocol(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	for version, size := range map[string]int{"3.0": 4, "3.2": 32} {
		c := d.connect(p, "min_protocol_version="+version, "max_protocol_version="+version)
		if key := c.PgConn().SecretKey(); len(key) != size {
			t.Errorf("%s: a key of %d bytes", version, len(key))
		}
		done := make(chan error, 1)
		go func() {
			_, err := c.Exec(context.Background(), "select pg_sleep(60)")
			done <- err
		}()
		eventually(t, "it sleeps", func() bool {
			return d.value("select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active' and usename = '"+roleOf(p.id)+"'") == "1"
		})
		if err := c.PgConn().CancelRequest(t.Context()); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Fatal(err)
		}
		if e, ok := errors.AsType[*pgconn.PgError](<-done); !ok || e.Code != "57014" {
			t.Errorf("%s: %v", version, e)
		}
		if got := answer(c, "select 1"); got != "1" {
			t.Errorf("%s: the session is lost: %s", version, got)
		}
	}
	d.index.End(p.id, d.now(), live.ReasonRevoked)
}
