package pgkind

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
	"github.com/jackc/pgx/v5/pgproto3"
)

// selfSigned writes a self-signed certificate for a name and its key.
func selfSigned(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// Attack: PG-14
func TestServersProveThemselves(t *testing.T) {
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	certs := t.TempDir()
	right, key := selfSigned(t, certs, "127.0.0.1")
	wrong, _ := selfSigned(t, certs, "elsewhere.internal")
	for from, to := range map[string]string{right: "server.crt", key: "server.key"} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := pg.Write(to, content); err != nil {
			t.Fatal(err)
		}
	}
	pg.Run(t, "postgres", "alter system set ssl = on", "select pg_reload_conf()")
	time.Sleep(200 * time.Millisecond)
	t.Setenv("DAYPASS_TEST_DBA", pgtest.Password)
	try := func(mode string) error {
		c, err := parseConfig(fmt.Sprintf("upstream: host=127.0.0.1 port=%d dbname=postgres %s\nuser: postgres\npassword: {env: DAYPASS_TEST_DBA}\n", pg.Port, mode))
		if err != nil {
			t.Fatal(err)
		}
		s := lone(c.upstream, c.user, c.password)
		defer s.close()
		return s.with(t.Context(), func(on conn) error {
			row, err := on.one(t.Context(), "select ssl from pg_stat_ssl where pid = pg_backend_pid()")
			if err == nil && yes(row[0]) == strings.Contains(mode, "disable") {
				t.Errorf("%s: TLS is %s", mode, row[0])
			}
			return err
		})
	}
	for mode, ok := range map[string]bool{
		"sslmode=verify-full sslrootcert=" + right: true, "sslmode=verify-ca sslrootcert=" + right: true, "sslmode=require": true, "sslmode=disable": true,
		"sslmode=verify-full": false, "sslmode=verify-full sslrootcert=" + wrong: false, "sslmode=verify-ca sslrootcert=" + wrong: false, "sslmode=require sslrootcert=" + wrong: false, "sslmode=verify-ca": false,
		"sslmode=verify-full sslrootcert=" + filepath.Join(certs, "none"): false,
	} {
		if err := try(mode); (err == nil) != ok {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// Sessions go to the standby, and end there too.
//
// Invariant: A1
func TestStandby(t *testing.T) {
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	follower, err := pg.Standby()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(follower.Stop)
	pg.Run(t, "postgres", "create database shop")
	pg.Run(t, "shop", shop)
	w := &world{t: t, pg: pg, database: "shop", now: time.Now}
	w.r = w.resource(pgtest.Superuser, pgtest.Password, "standby: "+follower.Upstream("shop")+"\n"+regions)
	w.c = w.connector("one")
	t.Cleanup(w.c.Close)
	target := w.provision(readOrders)
	hijacked, err := w.c.dialUpstream(t.Context(), w.r, target.Grant.ID, map[string]string{"application_name": "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hijacked.Conn.Close() }()
	f := hijacked.Frontend
	f.Send(&pgproto3.Query{String: "select pg_is_in_recovery() and (select count(*) from orders) = 1000"})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if row := received[*pgproto3.DataRow](t, f); string(row.Values[0]) != "t" {
		t.Errorf("%s", row.Values[0])
	}
	some := w.provision(`{"actions":["select"],"tables":["public.customers"],"rows":{"public.customers":{"template":"mine"}}}`)
	eventually(t, "the role of a row filter arrives", func() bool {
		c, err := follower.Try(roleOf(some.Grant.ID), w.c.password(some.Grant.ID), "shop")
		if err != nil {
			return false
		}
		defer func() { _ = c.Close(context.Background()) }()
		expect(t, c, map[string]string{"select count(*) from customers": "1", "select count(*) from public.customers": "42501", "create temp table customers (id int)": "25006"})
		return true
	})
	w.remove(some)
	began := time.Now()
	if err := <-w.c.cut(w.r, roleOf(target.Grant.ID)); err != nil {
		t.Fatal(err)
	}
	if e := received[*pgproto3.ErrorResponse](t, f); e.Code != "57P01" {
		t.Errorf("%+v", e)
	}
	t.Logf("gone after %v", time.Since(began))
	w.remove(target)
	if _, err := w.c.dialUpstream(t.Context(), w.r, target.Grant.ID, nil); err == nil {
		t.Error("a role that is gone logs in")
	}
	if _, err := w.c.Reconcile(t.Context(), []*policy.Resource{w.r}, func(context.Context, string) (bool, error) { return true, nil }); err != nil {
		t.Error(err)
	}
}

// received reads until a message of type T comes.
func received[T pgproto3.BackendMessage](t *testing.T, f *pgproto3.Frontend) T {
	t.Helper()
	for {
		m, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if one, ok := m.(T); ok {
			return one
		}
	}
}

// A host that answers with nothing, or with nonsense, is given up.
//
// Attack: PG-14, PG-15
func TestUpstreamThatIsNoServer(t *testing.T) {
	for name, answer := range map[string]string{"silence": "", "nonsense": "HTTP/1.1 400 Bad Request\r\n\r\n", "huge frame": "R\x7f\xff\xff\xff\x00\x00\x00\x00", "negative frame": "R\xff\xff\xff\xff", "hard SCRAM": "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Write([]byte(answer))
					go func() { time.Sleep(3 * time.Second); _ = c.Close() }()
				}
			}()
			t.Setenv("DAYPASS_TEST_P", "x")
			c, err := parseConfig(fmt.Sprintf("upstream: host=127.0.0.1 port=%d dbname=shop sslmode=disable\nuser: u\npassword: {env: DAYPASS_TEST_P}\n", l.Addr().(*net.TCPAddr).Port))
			if err != nil {
				t.Fatal(err)
			}
			w := &world{t: t, now: time.Now}
			connector := w.connector("one")
			defer connector.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := connector.dialUpstream(ctx, &policy.Resource{ID: "x", Kind: Kind{}, Config: c}, "grt_x", nil); err == nil || strings.Contains(err.Error(), connector.password("grt_x")) {
				t.Errorf("%v", err)
			}
		})
	}
}
