package pgkind

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
)

// peer is a driver that people use, run by a program in testdata/peers that
// says what came of each step.
type peer struct {
	name string
	args func(t *testing.T) []string
	want map[string]string // beyond everyStep: what this driver shows otherwise; "" where it has no such step
}

// everyStep is what all drivers show, as regular expressions.
var everyStep = map[string]string{
	"wrong ca":       `(?i)certificat|PKIX`,
	"wrong name":     `(?i)does not match|could not be verified|altnames`,
	"simple":         `^1000$`,
	"prepared":       `^210$`,
	"batch":          `^500$`,
	"cursor":         `^1000$`,
	"copy in":        `^3$`,
	"copy out":       `^1000 1000$`,
	"large out":      `^16777216$`,
	"large in":       `^16777216$`,
	"cancel":         `^(ERROR|error) 57014: canceling statement due to user request`,
	"after cancel":   `^here$`,
	"denied":         `^(ERROR|error) 42501: permission denied for table customers HINT: The Daypass grant grt_\w+ is for `,
	"listen":         `^(ERROR|error) 42501: LISTEN `,
	"begun":          `^1$`,
	"refused within": `^(ERROR|error) 42501: LISTEN `,
	"failed within":  `25P02: current transaction is aborted`,
	"after rollback": `^3$`,
	"end":            `^FATAL 57P01: terminating connection: the Daypass grant grt_\w+ was revoked at \S+ HINT: Ask again: daypass request orders-db `,
	"usable":         `(?i)false|not queryable|closed`,
	"again":          `(?s)the Daypass grant grt_\w+ was revoked at .* ?(HINT|Hint): +Ask again: daypass request orders-db `,
}

var peers = []peer{
	{"JDBC", java, map[string]string{"again": `^FATAL 28000: the Daypass grant grt_\w+ was revoked at \S+ HINT: Ask again: daypass request orders-db `}},
	{"psycopg 2", python("2", "psycopg2"), map[string]string{
		"large in": `^15728640$`,
		// libpq reads the end of the connection together with the message, and
		// psycopg 2 keeps the former; so it does without a gateway.
		"end": `^OperationalError None: .*(terminating connection|server closed the connection unexpectedly|SSL)`,
	}},
	{"psycopg 3", python("3", "psycopg"), map[string]string{
		"end":      `^OperationalError None: .*terminating connection: the Daypass grant grt_\w+ was revoked at \S+ HINT: Ask again: daypass request orders-db `,
		"pipeline": `^19900$`, "pipeline refused": `^ERROR 42501: LISTEN `, "after pipeline": `^here$`,
	}},
	{"node-postgres", node, map[string]string{"again": `^FATAL 28000: the Daypass grant grt_\w+ was revoked at \S+ HINT: Ask again: daypass request orders-db `}},
}

func java(t *testing.T) []string {
	jars, _ := filepath.Glob("/usr/share/java/*.jar") // the pattern is sound
	var path []string
	for _, jar := range jars {
		if name := filepath.Base(jar); name == "postgresql.jar" || strings.HasPrefix(name, "ongres-") || strings.HasPrefix(name, "scram-") || strings.HasPrefix(name, "saslprep") || strings.HasPrefix(name, "stringprep") {
			path = append(path, jar)
		}
	}
	program, err := exec.LookPath("java")
	if err != nil || len(path) == 0 {
		t.Fatalf("there is no Java, or no JDBC driver, on this machine: run tools/setup (%v)", err)
	}
	// Quick to start rather than quick to run.
	return []string{program, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp", strings.Join(path, ":"), "testdata/peers/Peer.java"}
}

func python(version, module string) func(*testing.T) []string {
	return func(t *testing.T) []string {
		var said []byte
		for _, program := range []string{"/usr/bin/python3", "python3"} {
			out, err := exec.Command(program, "-c", "import "+module).CombinedOutput()
			if err == nil {
				return []string{program, "testdata/peers/peer.py", version}
			}
			said = append(said, out...)
		}
		t.Fatalf("there is no %s on this machine: run tools/setup (%s)", module, said)
		return nil
	}
}

func node(t *testing.T) []string {
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%v: run tools/setup", err)
	}
	return []string{program, "testdata/peers/peer.js"}
}

// running is a peer at work.
type running struct {
	cmd  *exec.Cmd
	pass pass
	said map[string]string
	took time.Duration
	err  error
	errs bytes.Buffer
	done chan struct{}
}

// start has a peer take its steps; its grant ends when it waits for that.
func (p peer) start(ctx context.Context, t *testing.T, d *desk) *running {
	t.Helper()
	args := p.args(t)
	r := &running{cmd: exec.CommandContext(ctx, args[0], args[1:]...), pass: d.pass(peersScope, time.Hour), said: map[string]string{}, done: make(chan struct{})}
	host, port, _ := net.SplitHostPort(d.addr)
	_, _, wrong := certificate(t)
	r.cmd.Env = append(os.Environ(), "PEER_HOST="+host, "PEER_PORT="+port, "PEER_USER="+r.pass.id, "PEER_PASSWORD="+r.pass.token, "PEER_DATABASE="+d.database,
		"PEER_CA="+d.ca, "PEER_WRONG_CA="+wrong, "NODE_PATH="+filepath.Join(pgtest.Peers(t), "node_modules"))
	r.cmd.Stderr = &r.errs
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	go func() {
		defer close(r.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), "\t")
			if key == "waiting" {
				time.AfterFunc(300*time.Millisecond, func() { d.index.End(r.pass.id, d.now(), live.ReasonRevoked) })
				continue
			}
			r.said[key] = value
		}
		r.err = r.cmd.Wait()
		r.took = time.Since(began)
	}()
	return r
}

// peersScope is what the grant of a peer is for.
const peersScope = `{"actions":["insert","select"],"tables":["public.blobs","public.orders"]}`

// What people connect with works through the gateway as it does without, and
// shows them what the gateway says.
//
// Invariant: A1, A4, A25
// Attack: PG-01, PG-06, PG-10
func TestPeers(t *testing.T) {
	d := newDesk(t, deskOptions{script: []string{"create table blobs (id int, body text)"}})
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	var all []*running
	for _, p := range peers {
		all = append(all, p.start(ctx, t, d))
	}
	for i, p := range peers {
		r := all[i]
		<-r.done
		t.Run(p.name, func(t *testing.T) {
			if r.err != nil {
				t.Errorf("it ended with %v: %s", r.err, r.errs.String())
			}
			want := map[string]string{}
			for step, how := range everyStep {
				want[step] = how
			}
			for step, how := range p.want {
				want[step] = how
			}
			for step, how := range want {
				said, told := r.said[step]
				if !told || !regexp.MustCompile(how).MatchString(said) {
					t.Errorf("%s: %q, want %s", step, said, how)
				}
			}
			for step, said := range r.said {
				if want[step] == "" {
					t.Errorf("%s, of which nothing is known: %s", step, said)
				}
			}
			if strings.Contains(fmt.Sprint(r.said), r.pass.token) {
				t.Error("a token is in what the driver shows")
			}
			recorded := map[string]bool{}
			for _, e := range d.rec.of(audit.SessionQuery) {
				if e.Grant == r.pass.id && e.Outcome == audit.Denied {
					recorded[fmt.Sprint(e.Details["sql"])] = true
				}
			}
			if !recorded["listen x"] {
				t.Errorf("the refusal is not on record: %v", recorded)
			}
			t.Logf("%v", r.took.Round(10*time.Millisecond))
			for _, step := range []string{"end", "again", "denied"} {
				t.Logf("%s: %s", step, r.said[step])
			}
		})
	}
	if got := d.value("select count(*) from blobs where id > 0"); got != fmt.Sprint(3*len(peers)) {
		t.Errorf("%s rows came by COPY", got)
	}
}
