//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/scratchpg"
	"github.com/jackc/pgx/v5/pgconn"
)

// idleSessions is how many sessions are weighed.
const idleSessions = 2000

// settle is how long idle sessions are left alone before they are weighed: the
// runtime collects every two minutes when nothing else makes it.
const settle = 130 * time.Second

// sessions measures what the gateway adds beside transactions in clear: TLS,
// much data at once, and sessions that do nothing.
func (b *bench) sessions(ctx context.Context) error {
	b.report.note(b.out, "PostgreSQL sessions: client TLS by pgbench -S with sslmode=require (TLS 1.3, a P-256 certificate, the way to the database in clear) beside pgbouncer with client_tls_sslmode=require; "+
		"bulk by COPY and by SELECT of all of pgbench_accounts with one client that throws the rows away; memory of sessions that do nothing, %s after they were opened, so that the runtime has collected what their logins left.", settle)
	pg, err := b.scratch(ctx, 2*idleSessions+100)
	if err != nil {
		return err
	}
	defer pg.Stop()
	scale := "12" // 1.2 million accounts, more than 100 MB
	if b.scale.short {
		scale = "1"
	}
	direct := directly(pg)
	if out, err := pgbench(ctx, direct, "-i", "-q", "-s", scale).CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench -i: %w: %s", err, out)
	}
	client := newClient()
	defer client.CloseIdleConnections()
	var servers []*server
	routes := []route{direct}
	for _, tls := range []string{"clear", "TLS"} {
		s, err := b.before(ctx, pg, "sessions-"+tls, tls == "TLS")
		if err != nil {
			return err
		}
		defer s.stop()
		r, err := s.route(ctx, client)
		if err != nil {
			return err
		}
		if tls == "TLS" {
			r.name, r.mode = "gateway, TLS", "require"
		}
		servers, routes = append(servers, s), append(routes, r)
	}
	bouncers, stop, err := b.bouncers(ctx, direct)
	if err != nil {
		b.report.note(b.out, "pgbouncer could not be measured: %s", err)
	}
	defer stop()
	routes = append(routes, bouncers...)
	for _, clients := range []int{8, 32} {
		if err := b.secure(ctx, routes, clients); err != nil {
			return err
		}
	}
	if err := b.bulk(ctx, routes); err != nil {
		return err
	}
	return b.idle(ctx, servers)
}

// scratch is a PostgreSQL that takes so many connections.
func (b *bench) scratch(ctx context.Context, connections int) (*scratchpg.Server, error) {
	bin, err := scratchpg.Find()
	if err != nil {
		return nil, err
	}
	pg, err := scratchpg.Start(ctx, bin, superPassword, fmt.Sprintf("max_connections = %d", connections))
	if err != nil {
		return nil, err
	}
	if err := pg.Run(ctx, "postgres", "create database "+benchDatabase); err != nil {
		pg.Stop()
		return nil, err
	}
	return pg, nil
}

func directly(pg *scratchpg.Server) route {
	return route{name: "direct", host: "127.0.0.1", port: strconv.Itoa(pg.Port), user: scratchpg.Superuser, password: superPassword, mode: "disable"}
}

// before is a server in front of a PostgreSQL, whose gateway takes TLS alone or
// none.
func (b *bench) before(ctx context.Context, pg *scratchpg.Server, name string, tls bool) (*server, error) {
	w, err := newWorld(filepath.Join(b.work, name), "http://127.0.0.1:9", 100, few)
	if err != nil {
		return nil, err
	}
	catalog, err := w.read("catalog.yaml")
	if err != nil {
		return nil, err
	}
	of := fmt.Sprintf("resources:\n  - id: orders-db\n    kind: postgres\n    labels: {env: dev}\n    owners: [group:staff]\n    postgres: {upstream: %q, user: %s, password: {file: %q}, max_sessions: 1000}\n    roles:\n      all: {actions: [select], tables: [public.pgbench_accounts, public.pgbench_branches]}\n",
		pg.Upstream(benchDatabase), scratchpg.Superuser, w.path("postgres.password"))
	config, err := w.read("daypass.yaml")
	if err != nil {
		return nil, err
	}
	listen := "  postgres: {listen: 127.0.0.1:0, tls: off}\n"
	if tls {
		listen = "  postgres: {listen: 127.0.0.1:0}\n"
	}
	if err := errors.Join(w.write("postgres.password", []byte(superPassword)), w.write("daypass.yaml", append(config, listen...)),
		w.write("catalog.yaml", []byte(strings.Replace(string(catalog), "resources:\n", of, 1)))); err != nil {
		return nil, err
	}
	return b.start(ctx, w, b.binary)
}

// bouncers are pgbouncer in clear, and with TLS for its clients.
func (b *bench) bouncers(ctx context.Context, to route) ([]route, func(), error) {
	dir, err := os.MkdirTemp("", "daypass-bouncer-tls-")
	if err != nil {
		return nil, func() {}, err
	}
	stop := func() { _ = os.RemoveAll(dir) }
	cert, key, err := selfSigned(dir)
	if err != nil {
		return nil, stop, err
	}
	var out []route
	for _, more := range [][]string{nil, {"client_tls_sslmode = require", "client_tls_cert_file = " + cert, "client_tls_key_file = " + key}} {
		r, end, err := b.bouncer(ctx, to, more...)
		if err != nil {
			return nil, stop, err
		}
		before := stop
		stop = func() { end(); before() }
		if more != nil {
			r.name, r.mode = "pgbouncer, TLS", "require"
		}
		out = append(out, r)
	}
	return out, stop, nil
}

// selfSigned writes a certificate as the gateway's own are, and its key, where
// any user can read them.
func selfSigned(dir string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	raw, err2 := x509.MarshalPKCS8PrivateKey(private)
	cert, key = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	return cert, key, errors.Join(err, err2, os.Chmod(dir, 0o755), //nolint:gosec // pgbouncer runs as another user
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644), //nolint:gosec // likewise
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o644))  //nolint:gosec // a key of this run alone
}

// secure compares transactions over TLS.
func (b *bench) secure(ctx context.Context, routes []route, clients int) error {
	rates, costs := map[string][]float64{}, map[string][]float64{}
	for range b.scale.rounds {
		for _, r := range routes {
			if r.mode == "disable" {
				continue
			}
			before := processorTime(r.process)
			rate, n, err := measure(ctx, r, clients, b.scale.round)
			if err != nil {
				return err
			}
			rates[r.name] = append(rates[r.name], rate)
			costs[r.name] = append(costs[r.name], float64((processorTime(r.process)-before).Microseconds())/float64(max(n, 1)))
		}
	}
	us, bouncer := median(rates["gateway, TLS"]), median(rates["pgbouncer, TLS"])
	what := fmt.Sprintf("PostgreSQL over TLS, %d clients", clients)
	b.report.tell(b.out, what+", processor time a transaction", fmt.Sprintf("%.0f µs; pgbouncer %.0f µs", median(costs["gateway, TLS"]), median(costs["pgbouncer, TLS"])))
	if bouncer > 0 {
		b.report.check(b.out, what+", of pgbouncer with TLS", "≥ 1.0", fmt.Sprintf("%.2f (%.0f/s of %.0f/s)", us/bouncer, us, bouncer), us/bouncer >= 1,
			"what limits transactions in clear, for the cost of TLS itself is near that of pgbouncer's: waking for each message, the scanner, and an entry on record for each statement")
	}
	return nil
}

// bulk compares much data at once.
func (b *bench) bulk(ctx context.Context, routes []route) error {
	rows := int64(0)
	for _, way := range []struct{ name, sql string }{{"COPY", "copy pgbench_accounts to stdout"}, {"SELECT", "select * from pgbench_accounts"}} {
		rates, costs := map[string][]float64{}, map[string][]float64{}
		for range b.scale.rounds {
			for _, r := range routes {
				before := processorTime(r.process)
				bytes, n, took, err := r.all(ctx, way.sql)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", way.name, r.name, err)
				}
				if rows = max(rows, n); n != rows {
					return fmt.Errorf("%s, %s: %d rows of %d", way.name, r.name, n, rows)
				}
				rates[r.name] = append(rates[r.name], float64(bytes)/1e6/took.Seconds())
				costs[r.name] = append(costs[r.name], (processorTime(r.process)-before).Seconds()/(float64(bytes)/1e9))
			}
		}
		us, direct := median(rates["gateway"]), median(rates["direct"])
		figure := fmt.Sprintf("%.2f (%.0f MB/s of %.0f MB/s)", us/direct, us, direct)
		b.report.check(b.out, fmt.Sprintf("PostgreSQL, %s of %d rows, of direct", way.name, rows), "≥ 0.95", figure, us/direct >= 0.95, "the database, the gateway and the client share two cores; directly the client has one to itself")
		for _, r := range routes[1:] {
			b.report.tell(b.out, fmt.Sprintf("PostgreSQL, %s by %s", way.name, r.name), fmt.Sprintf("%.2f of direct (%.0f MB/s), %.1f s of processor a GB", median(rates[r.name])/direct, median(rates[r.name]), median(costs[r.name])))
		}
	}
	return nil
}

// connect logs in by a route, from an address of its own for each number above
// zero: a gateway takes a thousand connections from each.
func (r route) connect(ctx context.Context, number int) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(fmt.Sprintf("host=%s port=%s user='%s' password='%s' dbname=%s sslmode=%s", r.host, r.port, r.user, r.password, benchDatabase, r.mode))
	if err != nil {
		return nil, err
	}
	if number > 0 {
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+number%250))}
		config.DialFunc = (&net.Dialer{Timeout: 10 * time.Second, LocalAddr: from}).DialContext
	}
	return pgconn.ConnectConfig(ctx, config)
}

// all reads all that a statement gives, and returns the bytes and rows of it.
func (r route) all(ctx context.Context, sql string) (bytes, rows int64, took time.Duration, err error) {
	c, err := r.connect(ctx, 0)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	began := time.Now()
	if strings.HasPrefix(sql, "copy ") {
		var n counted
		tag, err := c.CopyTo(ctx, &n, sql)
		return int64(n), tag.RowsAffected(), time.Since(began), err
	}
	results := c.Exec(ctx, sql)
	for results.NextResult() {
		reader := results.ResultReader()
		for reader.NextRow() {
			rows++
			for _, value := range reader.Values() {
				bytes += int64(len(value))
			}
		}
	}
	return bytes, rows, time.Since(began), results.Close()
}

// counted counts what it throws away.
type counted int64

var _ io.Writer = (*counted)(nil)

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

// idle weighs sessions that do nothing, on servers in clear and with TLS.
func (b *bench) idle(ctx context.Context, servers []*server) error {
	n, wait := idleSessions, settle
	if b.scale.short {
		n, wait = b.scale.streams, time.Second
	}
	client := newClient()
	defer client.CloseIdleConnections()
	weights := make([]int64, len(servers))
	var open []*pgconn.PgConn
	defer func() {
		for _, c := range open {
			_ = c.Conn().Close()
		}
	}()
	for i, s := range servers {
		var ways []route
		for range max(1, n/500) {
			r, err := s.route(ctx, client)
			if err != nil {
				return err
			}
			if i == 1 {
				r.mode = "require"
			}
			ways = append(ways, r)
		}
		var err error
		if weights[i], err = s.rss(); err != nil {
			return err
		}
		all, err := crowd(ctx, n, func(i int) (*pgconn.PgConn, error) { return ways[i%len(ways)].connect(ctx, i) })
		open = append(open, all...)
		if err != nil {
			return err
		}
	}
	time.Sleep(wait)
	for i, s := range servers {
		rss, err := s.rss()
		if err != nil {
			return err
		}
		kb := float64(rss-weights[i]) / float64(n) / 1024
		what, target, bound := "in clear", "≤ 4 KB", 4.0
		if i == 1 {
			what, target, bound = "over TLS", "≤ 35 KB", 35
		}
		what = fmt.Sprintf("PostgreSQL, resident memory of an idle session, %s", what)
		if b.scale.short { // of a few it says nothing
			b.report.tell(b.out, what, fmt.Sprintf("%.1f KB", kb))
			continue
		}
		b.report.check(b.out, what, target, fmt.Sprintf("%.1f KB (of %d)", kb, n), kb <= bound, "the state of a session with the guard, of two connections and of what cancels a statement; no goroutine and no buffer")
	}
	return nil
}

// crowd opens n connections, some at a time.
func crowd(ctx context.Context, n int, open func(i int) (*pgconn.PgConn, error)) ([]*pgconn.PgConn, error) {
	all, errs := make([]*pgconn.PgConn, n), make([]error, n)
	var group sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			if errs[i] = ctx.Err(); errs[i] == nil {
				all[i], errs[i] = open(i)
			}
			<-slots
		})
	}
	group.Wait()
	var opened []*pgconn.PgConn
	for _, c := range all {
		if c != nil {
			opened = append(opened, c)
		}
	}
	return opened, errors.Join(errs...)
}
