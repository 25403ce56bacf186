// Package pgtest starts a PostgreSQL for tests: one for each test binary, which
// ends with it (scratchpg).
//
// It refuses to use a server that it did not start, and to skip: a test that
// needs PostgreSQL fails where there is none.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/scratchpg"
	"github.com/jackc/pgx/v5"
)

// The superuser of a Server.
const (
	Superuser = scratchpg.Superuser
	Password  = "of the superuser"
)

// Server is a running PostgreSQL.
type Server struct{ *scratchpg.Server }

var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Main runs the tests of a package and stops the server that they shared:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		shared.server.Stop()
	}
	return code
}

// Shared is the server of this test binary, started when it is first asked for.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Start()
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// Bin is the folder of the PostgreSQL on this machine, or the one that
// DAYPASS_TEST_POSTGRES names.
func Bin() (string, error) {
	if dir := os.Getenv("DAYPASS_TEST_POSTGRES"); dir != "" {
		return dir, nil
	}
	dir, err := scratchpg.Find()
	if err != nil {
		return "", fmt.Errorf("%w: run tools/setup", err)
	}
	return dir, nil
}

// Start starts a server of the caller's own, with further settings as in
// postgresql.conf ("ssl = on").
func Start(settings ...string) (*Server, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	s, err := scratchpg.Start(context.Background(), bin, Password, settings...)
	if err != nil {
		return nil, err
	}
	return &Server{s}, nil
}

// Standby starts a hot standby of s.
func (s *Server) Standby() (*Server, error) {
	follower, err := s.Server.Standby(context.Background())
	if err != nil {
		return nil, err
	}
	return &Server{follower}, nil
}

// Connect logs in for the length of a test.
func (s *Server) Connect(t testing.TB, user, password, database string) *pgx.Conn {
	t.Helper()
	c, err := s.Try(user, password, database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// Try logs in. The caller closes the connection.
func (s *Server) Try(user, password, database string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return pgx.Connect(ctx, s.DSN(user, password, database))
}

var databases atomic.Int64

// Database makes a database for a test and runs scripts in it.
func (s *Server) Database(t testing.TB, scripts ...string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	s.Run(t, "postgres", "CREATE DATABASE "+name)
	t.Cleanup(func() { s.Run(t, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	s.Run(t, name, scripts...)
	return name
}

// Run runs scripts as the superuser.
func (s *Server) Run(t testing.TB, database string, scripts ...string) {
	t.Helper()
	if err := s.Server.Run(context.Background(), database, scripts...); err != nil {
		t.Fatal(err)
	}
}
