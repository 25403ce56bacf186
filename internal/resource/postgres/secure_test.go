package pgkind

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
)

// The way to the database is as secure as the catalog says, or there is none:
// a session is refused, the client learns nothing of the cause, the log names
// it, and no role has logged in.
//
// Invariant: A28
// Attack: PG-14
func TestTheWayToTheDatabase(t *testing.T) {
	pg, err := pgtest.Start("log_connections = on")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	certs := t.TempDir()
	right, key := selfSigned(t, certs, "127.0.0.1")
	wrong, wrongKey := selfSigned(t, certs, "elsewhere.internal")
	show := func(cert, key string) {
		for from, to := range map[string]string{cert: "server.crt", key: "server.key"} {
			content, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := pg.Write(to, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	show(right, key)
	pg.Run(t, "postgres", "create database shop")
	pg.Run(t, "shop", shop)
	turn := func(how string) {
		pg.Run(t, "postgres", "alter system set ssl = "+how, "select pg_reload_conf()")
		eventually(t, "ssl is "+how, func() bool {
			c := pg.Connect(t, pgtest.Superuser, pgtest.Password, "postgres")
			return answer(c, "show ssl") == how
		})
	}
	turn("on")
	at := func(t *testing.T, how string) *desk {
		w := &world{t: t, pg: pg, database: "shop", now: time.Now, secure: how}
		return newDesk(t, deskOptions{world: asLogin(t, w, pgtest.Superuser, pgtest.Password), user: pgtest.Superuser})
	}
	let := func(t *testing.T, how string) {
		d := at(t, how)
		p := d.pass(readOrders, time.Hour)
		if got := d.value("select ssl from pg_stat_ssl join pg_stat_activity using (pid) where usename = '" + roleOf(p.id) + "'"); got != "" {
			t.Fatalf("somebody is there already: %s", got)
		}
		c := d.connect(p)
		if got := answer(c, "select count(*) from orders"); got != "1000" {
			t.Errorf("%s", got)
		}
		if got := d.value("select ssl from pg_stat_ssl join pg_stat_activity using (pid) where usename = '" + roleOf(p.id) + "'"); got != "t" {
			t.Errorf("its session has TLS: %q", got)
		}
	}
	for _, how := range []string{"sslmode=verify-full sslrootcert=" + right, "sslmode=require"} {
		t.Run(how[:strings.IndexByte(how+" ", ' ')], func(t *testing.T) { let(t, how) })
	}
	// The role is made by a way that works, and the session goes one that does not.
	target := asLogin(t, &world{t: t, pg: pg, database: "shop"}, pgtest.Superuser, pgtest.Password).provision(readOrders)
	refuse := func(name, how, cause string) {
		t.Run(name, func(t *testing.T) {
			d := at(t, how)
			p := d.put(target, time.Hour)
			e := d.refused(d.dsn(p.id, p.token))
			if e.Code != "08004" || e.Severity != "FATAL" || e.Message != "the database of orders-db cannot be reached, or does not let this grant in" {
				t.Errorf("%+v", e)
			}
			for _, told := range []string{"certificate", "TLS", "127.0.0.1", certs, "x509"} {
				if strings.Contains(e.Message+e.Detail+e.Hint, told) {
					t.Errorf("the client learns of %s: %+v", told, e)
				}
			}
			if log := d.log.String(); !strings.Contains(log, cause) || !strings.Contains(log, p.id) {
				t.Errorf("the log does not name the cause %q: %s", cause, log)
			}
			log, err := os.ReadFile(pg.Dir + "/log")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(log), "connection authorized: user="+pgtest.Superuser) || strings.Contains(string(log), "user="+roleOf(p.id)) {
				t.Error("the role of the grant came to the server in some other way")
			}
		})
	}
	refuse("another authority", "sslmode=verify-full sslrootcert="+wrong, "certificate signed by unknown authority")
	refuse("the system's authorities", "sslmode=verify-full", "certificate signed by unknown authority")
	refuse("no such file", "sslmode=verify-full sslrootcert="+right+".none", "no such file")
	show(wrong, wrongKey)
	turn("on")
	pg.Run(t, "postgres", "select pg_reload_conf()")
	time.Sleep(200 * time.Millisecond)
	refuse("another name", "sslmode=verify-full sslrootcert="+wrong, "IP SANs")
	turn("off")
	refuse("no TLS, though verify-full", "sslmode=verify-full sslrootcert="+right, "refused TLS")
	refuse("no TLS, though require", "sslmode=require", "refused TLS")
}
