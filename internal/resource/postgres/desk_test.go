package pgkind

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// patience is how long anything may take that is not measured.
const patience = 15 * time.Second

// desk is a gateway in front of a world.
type desk struct {
	*world
	gw    *Gateway
	addr  string
	index *live.Index
	rec   *record
	guard *gateway.Guard
	skew  atomic.Int64 // added to the clock
	ca    string       // file of the authority; "" without TLS
	roots *x509.CertPool
	log   logged

	mu        sync.Mutex
	verifiers map[string][]credential.Verifier
	found     map[string]json.RawMessage
}

type deskOptions struct {
	plain  bool   // no TLS
	more   string // lines of the postgres block
	limits resource.Limits
	target target // in place of the connector
	wrap   func(*connector) target
	script []string // for the database
	panics uint64   // that there will be
	world  *world   // in place of a new one
	user   string   // the login of world
	spent  func(context.Context, string) (gateway.Spent, error)
}

func newDesk(t *testing.T, o deskOptions) *desk {
	t.Helper()
	if o.world == nil {
		o.world, o.user = newWorld(t, o.more, o.script...), pgtest.Superuser
	}
	d := &desk{world: o.world, rec: &record{}, verifiers: map[string][]credential.Verifier{}, found: map[string]json.RawMessage{}}
	d.world.now = func() time.Time { return time.Now().Add(time.Duration(d.skew.Load())).UTC() }
	d.index = live.New(d.world.now)
	d.guard = gateway.New(d.index, d.rec, d.world.now, false)
	catalog, err := policy.Parse(fmt.Appendf(nil, `
principals:
  - {id: user:ana, groups: [group:payments]}
resources:
  - id: orders-db
    kind: postgres
    owners: [group:payments]
    postgres:
      upstream: %s
      user: %s
      password: {env: DAYPASS_TEST_PASSWORD_%s}
      %s
    roles:
      read: %s
`, d.upstream(), o.user, o.user, o.more, readOrders), []policy.Kind{Kind{}})
	if err != nil {
		t.Fatal(err)
	}
	d.r, _ = catalog.Resource("orders-db")
	deps := resource.Deps{
		Guard: d.guard, Catalog: func() *policy.Catalog { return catalog }, Incarnation: func(id string) string { return "inc-" + id },
		Connector: d.c, Held: func(principal, of string) *live.Grant {
			return d.index.Held(principal, of, func(string, json.RawMessage) bool { return true })
		},
		Grant: func(id string) *live.Grant { g, _ := d.index.Grant(id); return g },
		Found: func(_ context.Context, request string) (json.RawMessage, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.found[request], nil
		},
		Verifiers: func(_ context.Context, grant string) ([]credential.Verifier, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.verifiers[grant], nil
		},
		Spent: o.spent, PublicURL: "https://daypass.example", Limits: o.limits, Now: d.world.now,
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(testWriter{t}, &d.log), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = l.Addr().String()
	deps.Site = resource.Site{Addr: d.addr, TLS: !o.plain}
	if !o.plain {
		deps.TLS, d.roots, d.ca = certificate(t)
	}
	use := target(d.c)
	switch {
	case o.target != nil:
		use = o.target
	case o.wrap != nil:
		use = o.wrap(d.c)
	}
	if d.gw, err = newGateway(deps, use, []byte("mock")); err != nil {
		t.Fatal(err)
	}
	d.gw.carrier.off = goroutines
	served := make(chan error, 1)
	go func() { served <- d.gw.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := d.gw.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		d.index.Close()
		if n := d.guard.Counts(); n.Sessions != 0 || n.Panics != o.panics {
			t.Errorf("%d sessions are left, %d panics", n.Sessions, n.Panics)
		}
	})
	return d
}

// goroutines says how desks carry their sessions.
var goroutines bool

// onBothWays runs a test on each way in which a session can be carried.
func onBothWays(t *testing.T, f func(*testing.T)) {
	t.Helper()
	for _, way := range []string{"loop", "goroutines"} {
		t.Run(way, func(t *testing.T) {
			goroutines = way == "goroutines"
			defer func() { goroutines = false }()
			f(t)
		})
	}
}

// pass is a grant of user:ana's with a token.
type pass struct{ id, token string }

func (d *desk) pass(scope string, length time.Duration) pass {
	d.t.Helper()
	target := d.world.grant(scope, length)
	if err := d.c.Provision(context.Background(), target); err != nil {
		d.t.Fatal(err)
	}
	return d.put(target, length)
}

// put makes a grant live that needs no role.
func (d *desk) put(target resource.Target, length time.Duration) pass {
	d.t.Helper()
	g := *target.Grant
	g.Request, g.Principal, g.Incarnation, g.StartsAt = "req_"+g.ID[4:], "user:ana", "inc-"+d.r.ID, d.now().Add(-time.Minute)
	d.mu.Lock()
	d.found[g.Request] = target.Found
	d.mu.Unlock()
	d.index.Put(g, d.now().Add(length))
	return pass{g.ID, d.token(g.ID)}
}

func (d *desk) token(grant string) string {
	d.t.Helper()
	secret, hash := credential.NewToken(credential.GrantToken)
	v, err := credential.NewVerifier(secret, grant)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	d.verifiers[grant] = append(d.verifiers[grant], v)
	d.mu.Unlock()
	d.index.PutCredential(live.Credential{Hash: live.Hash(hash), ID: "jti", Grant: grant, Kind: live.KindToken})
	return secret.Reveal()
}

// dsn is how to connect with a token.
func (d *desk) dsn(user, token string, more ...string) string {
	h, port, _ := net.SplitHostPort(d.addr)
	s := fmt.Sprintf("host=%s port=%s user='%s' password='%s' dbname=%s connect_timeout=10", h, port, user, token, d.database)
	if d.ca == "" {
		s += " sslmode=disable"
	} else {
		s += " sslmode=verify-full sslrootcert=" + d.ca
	}
	return s + " " + strings.Join(more, " ")
}

func (d *desk) try(dsn string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return pgx.Connect(ctx, dsn)
}

// connect is a session through the gateway.
func (d *desk) connect(p pass, more ...string) *pgx.Conn {
	d.t.Helper()
	c, err := d.try(d.dsn(p.id, p.token, more...))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// refused is the error with which a login fails.
func (d *desk) refused(dsn string) *pgconn.PgError {
	d.t.Helper()
	c, err := d.try(dsn)
	if err == nil {
		_ = c.Close(context.Background())
		d.t.Fatal("let in")
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		d.t.Fatalf("no answer of the protocol: %v", err)
	}
	return e
}

// statements are the entries of statements that are over, once there are n.
func (d *desk) statements(n int) []audit.Entry {
	d.t.Helper()
	var all []audit.Entry
	eventually(d.t, fmt.Sprintf("%d statements are on record", n), func() bool {
		all = nil
		for _, e := range d.rec.of(audit.SessionQuery) {
			if e.Details["intent"] == nil {
				all = append(all, e)
			}
		}
		return len(all) >= n
	})
	if len(all) != n {
		d.t.Fatalf("%d statements are on record, not %d: %v", len(all), n, all)
	}
	return all
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// logged keeps what a gateway logs.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var errDisk = errors.New("disk")

// record keeps entries in memory, and can be made to fail or to wait.
type record struct {
	mu      sync.Mutex
	entries []audit.Entry
	durable []bool
	counted map[string]int
	fail    error
	before  func(e *audit.Entry, durable bool)
	room    func() bool // nil: always
}

func (r *record) Room() bool {
	r.mu.Lock()
	room := r.room
	r.mu.Unlock()
	return room == nil || room()
}

func (r *record) Record(ctx context.Context, e *audit.Entry, _ string, durable bool) error {
	if e.Statement != nil { // as it is read from the record
		long := *e
		long.Details, long.Statement = e.Statement.Details(), nil
		e = &long
	}
	r.mu.Lock()
	before := r.before
	r.mu.Unlock()
	if before != nil {
		before(e, durable)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.entries = append(r.entries, *e)
	r.durable = append(r.durable, durable)
	return nil
}

func (r *record) CountDenied(_, channel, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted == nil {
		r.counted = map[string]int{}
	}
	r.counted[channel+" "+what]++
}

func (r *record) of(typ string) []audit.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []audit.Entry
	for _, e := range r.entries {
		if e.Type == typ {
			all = append(all, e)
		}
	}
	return all
}

func (r *record) denied(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counted["gateway:postgres "+what]
}

func (r *record) set(f func(*record)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

// certificate is one for 127.0.0.1, and the authority that signed it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots, file
}

func query(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }
