//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/daypass/daypass/internal/scratchpg"
)

const (
	superPassword = "of the superuser"
	benchDatabase = "bench"
)

// route is one way to the same database.
type route struct {
	name       string
	host, port string
	user       string
	password   string
	mode       string // sslmode
	root       string // sslrootcert
	process    int    // whose processor time is counted; 0: nobody's
}

// databases loads PostgreSQL by pgbench: directly, through pgbouncer with a
// session each, through a relay that only copies, and through the gateway with
// enforcement and record.
func (b *bench) databases(ctx context.Context) error {
	b.report.note(b.out, "PostgreSQL: pgbench -S (one SELECT by key a transaction), a PostgreSQL on this machine without fsync; directly, through pgbouncer in session mode, through a relay of io.Copy in a process of its own, and through the gateway with roles, gate and a record of each statement.")
	pg, direct, err := scratch(ctx)
	if err != nil {
		return err
	}
	defer pg.Stop()
	s, err := b.before(ctx, pg, "postgres", false)
	if err != nil {
		return err
	}
	defer s.stop()
	client := newClient()
	defer client.CloseIdleConnections()
	ours, err := s.route(ctx, client)
	if err != nil {
		return err
	}
	relay, err := startBare(ctx, "relay", net.JoinHostPort(direct.host, direct.port))
	if err != nil {
		return err
	}
	defer relay.stop()
	copied := direct
	copied.name = "io.Copy"
	copied.host, copied.port, _ = net.SplitHostPort(relay.addr)
	routes := []route{direct, copied, ours}
	if bouncer, stop, err := b.bouncer(ctx, direct); err != nil {
		b.report.note(b.out, "pgbouncer could not be measured: %s", err)
	} else {
		defer stop()
		routes = append(routes, bouncer)
	}
	for _, clients := range []int{1, 8, 32} {
		if err := b.transactions(ctx, routes, clients); err != nil {
			return err
		}
	}
	return nil
}

// scratch starts a PostgreSQL with the database of pgbench.
func scratch(ctx context.Context) (*scratchpg.Server, route, error) {
	bin, err := scratchpg.Find()
	if err != nil {
		return nil, route{}, err
	}
	pg, err := scratchpg.Start(ctx, bin, superPassword, "max_connections = 200")
	if err != nil {
		return nil, route{}, err
	}
	direct := route{name: "direct", host: "127.0.0.1", port: strconv.Itoa(pg.Port), user: scratchpg.Superuser, password: superPassword, mode: "disable"}
	err = pg.Run(ctx, "postgres", "create database "+benchDatabase)
	if err == nil {
		if out, failed := pgbench(ctx, direct, "-i", "-q", "-s", "1").CombinedOutput(); failed != nil {
			err = fmt.Errorf("pgbench -i: %w: %s", failed, out)
		}
	}
	if err != nil {
		pg.Stop()
		return nil, route{}, err
	}
	return pg, direct, nil
}

// transactions compares the routes in turns.
func (b *bench) transactions(ctx context.Context, routes []route, clients int) error {
	rates, costs := map[string][]float64{}, map[string][]float64{}
	for range b.scale.rounds {
		for _, r := range routes {
			before := processorTime(r.process)
			rate, n, err := measure(ctx, r, clients, b.scale.round)
			if err != nil {
				return err
			}
			rates[r.name] = append(rates[r.name], rate)
			costs[r.name] = append(costs[r.name], float64((processorTime(r.process)-before).Microseconds())/float64(max(n, 1)))
		}
	}
	us, direct := median(rates["gateway"]), median(rates["direct"])
	what := fmt.Sprintf("PostgreSQL, %d clients", clients)
	const limit = "the processor, which clients and servers share: a transaction costs two reads, two writes and a wait, as it does pgbouncer, then the scanner, the question whether the grant still lives before each piece, and an entry on record for each statement"
	if clients == 1 {
		added := time.Duration(1e9/us - 1e9/direct)
		b.report.check(b.out, what+", added to a statement", "≤ 50 µs", added.Round(time.Microsecond).String(), added <= 50*time.Microsecond, limit)
	} else {
		cost := median(costs["gateway"])
		b.report.check(b.out, what+", processor time a transaction", "≤ 24 µs", fmt.Sprintf("%.0f µs", cost), cost <= 24, limit)
	}
	b.report.tell(b.out, what+", of direct", fmt.Sprintf("%.2f (%.0f/s of %.0f/s); io.Copy %.2f", us/direct, us, direct, median(rates["io.Copy"])/direct))
	if bouncer := rates["pgbouncer"]; len(bouncer) > 0 {
		ratio := us / median(bouncer)
		figure := fmt.Sprintf("%.2f (%.0f/s of %.0f/s)", ratio, us, median(bouncer))
		if clients == 1 {
			b.report.tell(b.out, what+", of pgbouncer", figure)
		} else {
			b.report.check(b.out, what+", of pgbouncer", "≥ 0.95", figure, ratio >= 0.95, limit)
		}
	}
	return nil
}

// route asks for a grant and says how its database is reached.
func (s *server) route(ctx context.Context, client *http.Client) (route, error) {
	grant, _, err := s.grant(ctx, client, "user:u1", "orders-db", map[string]any{"duration": "1h"})
	if err != nil {
		return route{}, err
	}
	return s.routeOf(ctx, client, "user:u1", grant)
}

// routeOf gets a credential of a grant and says how its database is reached.
func (s *server) routeOf(ctx context.Context, client *http.Client, who, grant string) (route, error) {
	var issued struct {
		Secret  string
		Connect struct {
			Host string
			Port int
			User string
		}
	}
	err := s.create(ctx, client, who, "/v1/grants/"+grant+"/credentials", map[string]any{"format": "token"}, &issued)
	c := issued.Connect
	return route{name: "gateway", host: c.Host, port: strconv.Itoa(c.Port), user: c.User, password: issued.Secret, mode: "disable", process: s.cmd.Process.Pid}, err
}

// pgbench is pgbench by a route.
func pgbench(ctx context.Context, r route, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "pgbench", append(args, "-h", r.host, "-p", r.port, "-U", r.user, benchDatabase)...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+r.password, "PGSSLMODE="+r.mode)
	if r.root != "" {
		cmd.Env = append(cmd.Env, "PGSSLROOTCERT="+r.root)
	}
	return cmd
}

var (
	tps          = regexp.MustCompile(`tps = ([0-9.]+) \(without`)
	transactions = regexp.MustCompile(`transactions actually processed: (\d+)`)
)

// measure runs pgbench -S and returns transactions a second, and how many there
// were.
func measure(ctx context.Context, r route, clients int, length time.Duration) (float64, int, error) {
	out, err := pgbench(ctx, r, "-S", "-n", "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(max(1, int(length.Seconds())))).CombinedOutput()
	rate, n := tps.FindSubmatch(out), transactions.FindSubmatch(out)
	if err != nil || rate == nil || n == nil {
		return 0, 0, fmt.Errorf("pgbench, %s: %w: %s", r.name, err, out)
	}
	perSecond, err := strconv.ParseFloat(string(rate[1]), 64)
	count, err2 := strconv.Atoi(string(n[1]))
	return perSecond, count, errors.Join(err, err2)
}

// processorTime is what a process has used of the processor.
func processorTime(pid int) time.Duration {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(content), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime (proc_pid_stat(5)), 100 a second
		n, _ := strconv.ParseInt(f, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// bouncer starts pgbouncer in session mode in front of a database, with further
// lines of its configuration.
func (b *bench) bouncer(ctx context.Context, to route, more ...string) (route, func(), error) {
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		return route{}, nil, errors.New("it is not installed: run tools/setup")
	}
	port, err := freePort()
	if err != nil {
		return route{}, nil, err
	}
	dir, err := os.MkdirTemp("", "daypass-bouncer-")
	if err != nil {
		return route{}, nil, err
	}
	config := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n%s = host=%s port=%s user=%s password='%s'\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = session\nmax_client_conn = 200\ndefault_pool_size = 100\n%s\n",
		benchDatabase, to.host, to.port, to.user, to.password, port, strings.Join(more, "\n"))
	cmd := exec.Command(path, config) //nolint:noctx // stopped below, and it ends with this process
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := &output{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o600), unprivileged(cmd, dir, config), cmd.Start()); err != nil {
		return route{}, nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	r := route{name: "pgbouncer", host: "127.0.0.1", port: strconv.Itoa(port), user: to.user, mode: "disable", process: cmd.Process.Pid}
	for range 100 {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(r.host, r.port))
		if err == nil {
			return r, stop, conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return route{}, nil, fmt.Errorf("it does not listen: %s", said)
}

// unprivileged has cmd run as nobody where we are root, which pgbouncer
// refuses to be.
func unprivileged(cmd *exec.Cmd, files ...string) error {
	if os.Getuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(nobody.Uid)
	gid, err2 := strconv.Atoi(nobody.Gid)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)} //nolint:gosec // IDs of users are 32 bits
	for _, f := range slices.Backward(files) {
		err = errors.Join(err, os.Chown(f, uid, gid))
	}
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	addr, _ := l.Addr().(*net.TCPAddr)
	return addr.Port, l.Close()
}
