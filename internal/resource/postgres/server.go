package pgkind

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/dial"
	"github.com/jackc/pgx/v5/pgconn"
)

// How many connections to one server make and remove roles at once, and how many
// others look: who asks for access, or begins a session, waits for no role. With
// four, one commit carries the work of several.
const (
	workConns = 4
	lookConns = 4
)

// adminParams hold for connections of ours: how statements are read, and that
// none waits or runs for ever.
var adminParams = map[string]string{
	"application_name": "daypass", "client_encoding": "UTF8", "standard_conforming_strings": "on", "search_path": "pg_catalog, pg_temp",
	"default_transaction_read_only": "off", "default_transaction_isolation": "read committed", "DateStyle": "ISO", "TimeZone": "UTC",
	"lock_timeout": "10s", "statement_timeout": "40s", "idle_in_transaction_session_timeout": "60s",
}

// server is one database of one PostgreSQL server, as the login of a resource
// sees it. It keeps connections: that for cutting is there before it is needed.
type server struct {
	c        *connector
	at       endpoint
	user     string
	database string

	work, looks pool
	makes       together[*making]
	removes     together[*removal]

	mu       sync.Mutex
	password config.Secret
	facts    *facts
	scopes   map[string]bool   // roles that are known to be there, with their privileges
	reaches  map[string]*reach // of what was looked at not long ago
	closed   bool

	cutter cutter
}

func newServer(c *connector, at endpoint, user string) *server {
	s := &server{c: c, at: at, user: user, database: at.database, scopes: map[string]bool{}, reaches: map[string]*reach{}}
	s.work, s.looks = newPool(s, workConns), newPool(s, lookConns)
	s.makes.take, s.removes.take = s.makeAll, s.removeAll
	s.cutter.s = s
	return s
}

// with runs f on a connection that makes and removes: see pool.with.
func (s *server) with(ctx context.Context, f func(conn) error) error { return s.work.with(ctx, f) }

func hangUp(one *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = one.Close(ctx) // a connection that does not close in time is closed hard
}

func (s *server) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cutter.close()
	s.work.close()
	s.looks.close()
}

// connect logs in as the resource's own login.
func (s *server) connect(ctx context.Context, database string) (*pgconn.PgConn, error) {
	s.mu.Lock()
	secret := s.password
	s.mu.Unlock()
	password, err := secret.Value()
	if err != nil {
		return nil, fmt.Errorf("the password of %s: %w", s.user, err)
	}
	c, err := s.c.config(s.at, database, s.user, password, adminParams)
	if err != nil {
		return nil, err
	}
	one, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("logging in to %s as %s: %w", s.at.addr(), s.user, err)
	}
	return one, nil
}

// config is how pgconn connects to a server. Nothing of the environment or of
// files in a home folder takes part.
func (c *connector) config(at endpoint, database, user, password string, params map[string]string) (*pgconn.Config, error) {
	out, err := pgconn.ParseConfig("host=localhost port=5432 user=u password=p dbname=d sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("preparing a connection: %w", err)
	}
	port, err := strconv.ParseUint(at.port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("preparing a connection: %w", err)
	}
	out.Host, out.Port, out.Database, out.User, out.Password = at.host, uint16(port), database, user, password
	out.RuntimeParams = params
	out.Fallbacks, out.ValidateConnect, out.AfterConnect, out.OnNotice = nil, nil, nil, nil
	out.SSLNegotiation, out.KerberosSrvName, out.KerberosSpn = "postgres", "", ""
	out.MinProtocolVersion, out.MaxProtocolVersion, out.ChannelBinding = "3.0", "3.0", "prefer"
	out.ConnectTimeout = dial.Timeout
	// The name is resolved where the address is checked, and only there.
	out.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	out.DialFunc = pgconn.DialFunc(dial.New(at.addr()).DialContext)
	if c.deps.Dial != nil {
		out.DialFunc = pgconn.DialFunc(c.deps.Dial(at.addr()))
	}
	dialled := out.DialFunc
	out.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialled(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return rideable(conn), nil
	}
	if out.TLSConfig, err = at.tls(); err != nil {
		return nil, err
	}
	return out, nil
}

// tls is how a server proves itself.
func (e endpoint) tls() (*tls.Config, error) {
	if e.sslmode == "disable" {
		return nil, nil //nolint:nilnil // what pgconn takes for no TLS
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: e.host}
	if e.rootCert != "" {
		pem, err := os.ReadFile(e.rootCert)
		if err != nil {
			return nil, fmt.Errorf("reading sslrootcert: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("sslrootcert %s holds no certificate", e.rootCert)
		}
	}
	switch {
	case e.sslmode == "verify-full":
	case e.sslmode == "verify-ca", e.rootCert != "": // require with an authority is verify-ca, as in libpq
		out.InsecureSkipVerify = true // the name alone: the chain is checked below
		out.VerifyConnection = func(state tls.ConnectionState) error {
			rest := x509.NewCertPool()
			for _, one := range state.PeerCertificates[1:] {
				rest.AddCert(one)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: out.RootCAs, Intermediates: rest})
			return err
		}
	default:
		out.InsecureSkipVerify = true // require: encrypted, whoever it is
	}
	return out, nil
}
