// Package pgtest starts a PostgreSQL for tests: one for each test binary, on a
// loopback port and a socket in a folder of its own, without waiting for the
// disk. It ends, and its folder goes, with the process that started it, however
// that ends.
//
// It refuses to use a server that it did not start, and to skip: a test that
// needs PostgreSQL fails where there is none.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The superuser of a Server.
const (
	Superuser = "postgres"
	Password  = "of the superuser"
)

// Server is a running PostgreSQL.
type Server struct {
	Host string // 127.0.0.1
	Port int
	Dir  string // holds data, the socket and the log
	Bin  string // folder of the server's programs

	stop io.Closer
	wait func() error
}

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

// Bin is the folder of the newest PostgreSQL on this machine, or the one that
// DAYPASS_TEST_POSTGRES names.
func Bin() (string, error) {
	if dir := os.Getenv("DAYPASS_TEST_POSTGRES"); dir != "" {
		return dir, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is sound
	slices.Sort(found)
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", errors.New("there is no PostgreSQL on this machine: run tools/setup")
	}
	return filepath.Dir(path), nil
}

// watch runs the server until its own standard input ends, and clears up. It
// is a shell, so that it outlives a test that is killed.
const watch = `"$1/postgres" -D "$2/data" >"$2/log" 2>&1 & pid=$!
read -r _
kill -INT $pid 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
rm -rf "$2"`

// Start starts a server of the caller's own, with further settings as in
// postgresql.conf ("ssl = on").
func Start(settings ...string) (*Server, error) {
	return start(func(s *Server) error { return s.initialise(settings) })
}

// Standby starts a hot standby of s.
func (s *Server) Standby() (*Server, error) {
	return start(func(follower *Server) error {
		cmd := exec.CommandContext(context.Background(), filepath.Join(s.Bin, "pg_basebackup"), "-D", filepath.Join(follower.Dir, "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync",
			"-h", s.Dir, "-p", strconv.Itoa(s.Port), "-U", Superuser)
		if err := handOver(follower.Dir); err != nil {
			return err
		}
		if err := unprivileged(cmd); err != nil {
			return err
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("pg_basebackup: %w\n%s", err, out)
		}
		return follower.configure(fmt.Sprintf("port = %d", follower.Port), "unix_socket_directories = '"+follower.Dir+"'")
	})
}

func start(prepare func(*Server) error) (s *Server, err error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "daypass-pg-")
	if err != nil {
		return nil, err
	}
	s = &Server{Host: "127.0.0.1", Dir: dir, Bin: bin}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if s.Port, err = freePort(); err != nil {
		return nil, err
	}
	if err := prepare(s); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), "sh", "-c", watch, "sh", bin, dir)
	if err := unprivileged(cmd); err != nil {
		return nil, err
	}
	if s.stop, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.wait = cmd.Wait
	if err := s.ready(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log")) // what there is of it
		s.Stop()
		return nil, fmt.Errorf("PostgreSQL is not ready: %w\n%s", err, log)
	}
	return s, nil
}

func (s *Server) initialise(settings []string) error {
	if err := handOver(s.Dir); err != nil {
		return err
	}
	secret := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(secret, []byte(Password+"\n"), 0o600); err != nil {
		return err
	}
	if err := handOver(secret); err != nil {
		return err
	}
	data := filepath.Join(s.Dir, "data")
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.Bin, "initdb"), "-D", data, "-U", Superuser, "--pwfile", secret,
		"--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err := unprivileged(cmd); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s.configure(append([]string{
		"listen_addresses = '127.0.0.1'", fmt.Sprintf("port = %d", s.Port), "unix_socket_directories = '" + s.Dir + "'",
		"fsync = off", "full_page_writes = off", "max_connections = 300", "max_prepared_transactions = 10", "shared_buffers = 64MB",
		"timezone = 'UTC'", "log_min_messages = 'warning'",
	}, settings...)...)
}

func (s *Server) configure(settings ...string) error {
	f, err := os.OpenFile(filepath.Join(s.Dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + strings.Join(settings, "\n") + "\n")
	return errors.Join(err, f.Close())
}

func (s *Server) ready() error {
	for until := time.Now().Add(30 * time.Second); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		c, err := pgx.Connect(ctx, s.DSN(Superuser, Password, "postgres"))
		if err == nil {
			err = c.Close(ctx)
		}
		cancel()
		if err == nil || time.Now().After(until) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Write puts a private file into the server's data folder.
func (s *Server) Write(name string, content []byte) error {
	path := filepath.Join(s.Dir, "data", name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return handOver(path)
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() {
	_ = s.stop.Close() // which is what the watching shell waits for
	_ = s.wait()
}

// DSN is a connection string.
func (s *Server) DSN(user, password, database string) string {
	return fmt.Sprintf("host=%s port=%d user='%s' password='%s' dbname='%s' sslmode=disable", s.Host, s.Port, user, password, database)
}

// Upstream is the keyword string of a catalog for a database.
func (s *Server) Upstream(database string) string {
	return fmt.Sprintf("host=%s port=%d dbname=%s sslmode=disable", s.Host, s.Port, database)
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
	c, err := s.Try(Superuser, Password, database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	for _, script := range scripts {
		if _, err := c.PgConn().Exec(context.Background(), script).ReadAll(); err != nil {
			t.Fatalf("%v\n%s", err, script)
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
