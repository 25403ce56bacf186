// Package scratchpg runs a PostgreSQL to be thrown away: on a loopback port and
// a socket in a folder of its own, without waiting for the disk. It ends, and
// its folder goes, with the process that started it, however that ends.
//
// It refuses to touch a server or a folder that it did not make, to listen
// beyond loopback, and to run as root: what root starts runs as postgres or as
// nobody.
package scratchpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that may do everything on a Server.
const Superuser = "postgres"

// Server is a running PostgreSQL.
type Server struct {
	Host string // 127.0.0.1
	Port int
	Dir  string // holds data, the socket and the log
	Bin  string // folder of the server's programs

	password string
	stop     io.Closer
	wait     func() error
}

// patience is how long a server may take until it answers.
const patience = 30 * time.Second

// watch runs the server until its own standard input ends, and clears up: that
// server, or the one that Up has put in its place. It is a shell, so that it
// outlives a process that is killed.
const watch = `"$1/postgres" -D "$2/data" >"$2/log" 2>&1 & pid=$!
read -r _
pid=$(head -n 1 "$2/data/postmaster.pid" 2>/dev/null || echo $pid)
kill -INT $pid 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
rm -rf "$2" 2>/dev/null`

// Start starts a server from the programs in bin, whose superuser has the
// given password, with further settings as in postgresql.conf ("ssl = on").
func Start(ctx context.Context, bin, password string, settings ...string) (*Server, error) {
	return start(ctx, bin, password, func(s *Server) error { return s.initialise(ctx, settings) })
}

// start starts a server whose data folder is made by prepare.
func start(ctx context.Context, bin, password string, prepare func(*Server) error) (s *Server, err error) {
	dir, err := folder(ctx)
	if err != nil {
		return nil, err
	}
	s = &Server{Host: "127.0.0.1", Dir: dir, Bin: bin, password: password}
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
	// Not tied to ctx: it is stopped by Stop, in order, or by our own end.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", watch, "sh", bin, dir)
	if err := unprivileged(cmd); err != nil {
		return nil, err
	}
	if s.stop, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	s.wait = cmd.Wait
	if err := s.ready(ctx); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log")) // what there is of it
		s.Stop()
		return nil, fmt.Errorf("PostgreSQL is not ready: %w\n%s", err, log)
	}
	return s, nil
}

// folder makes a folder that whoever will run the server can reach. The
// temporary folder of root may be closed to all others.
func folder(ctx context.Context) (string, error) {
	var errs []error
	for _, parent := range []string{"", "/tmp", "/var/tmp"} {
		dir, err := os.MkdirTemp(parent, "daypass-pg-")
		if err == nil {
			if err = reachable(ctx, dir); err == nil {
				return dir, nil
			}
			err = errors.Join(err, os.Remove(dir))
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("making a folder for PostgreSQL: %w", errors.Join(errs...))
}

func (s *Server) initialise(ctx context.Context, settings []string) error {
	secret := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(secret, []byte(s.password+"\n"), 0o600); err != nil {
		return err
	}
	if err := handOver(secret); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, "initdb"), "-D", filepath.Join(s.Dir, "data"), "-U", Superuser, "--pwfile", secret,
		"--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err := unprivileged(cmd); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return errors.Join(os.Remove(secret), s.configure(append([]string{
		"listen_addresses = '127.0.0.1'", fmt.Sprintf("port = %d", s.Port), "unix_socket_directories = '" + s.Dir + "'",
		"fsync = off", "full_page_writes = off", "max_connections = 300", "max_prepared_transactions = 10", "shared_buffers = 64MB",
		"timezone = 'UTC'", "log_min_messages = 'warning'",
	}, settings...)...))
}

func (s *Server) configure(settings ...string) error {
	f, err := os.OpenFile(filepath.Join(s.Dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + strings.Join(settings, "\n") + "\n")
	return errors.Join(err, f.Close())
}

func (s *Server) ready(ctx context.Context) error {
	for until := time.Now().Add(patience); ; {
		c, err := s.Connect(ctx, "postgres")
		if err == nil {
			return c.Close(ctx)
		}
		if time.Now().After(until) || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() {
	_ = s.stop.Close() // which is what the watching shell waits for
	_ = s.wait()
	_ = os.RemoveAll(s.Dir) // a folder within one that is root's alone
}

// DSN is a connection string.
func (s *Server) DSN(user, password, database string) string {
	return fmt.Sprintf("host=%s port=%d user='%s' password='%s' dbname='%s' sslmode=disable", s.Host, s.Port, user, password, database)
}

// Upstream is the keyword string of a catalog for a database.
func (s *Server) Upstream(database string) string {
	return fmt.Sprintf("host=%s port=%d dbname=%s sslmode=disable", s.Host, s.Port, database)
}

// Connect logs in as the superuser. The caller closes the connection.
func (s *Server) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return pgx.Connect(ctx, s.DSN(Superuser, s.password, database))
}

// Run runs scripts as the superuser.
func (s *Server) Run(ctx context.Context, database string, scripts ...string) error {
	c, err := s.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	for _, script := range scripts {
		if _, err := c.PgConn().Exec(ctx, script).ReadAll(); err != nil {
			return fmt.Errorf("%w in\n%s", err, script)
		}
	}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
