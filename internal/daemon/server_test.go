package daemon_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come soon on a busy machine.
const patience = 20 * time.Second

// server is one folder with a server's files, and the process that serves it.
type server struct {
	t        testing.TB
	program  string
	dir      string
	scheme   string // http, or https
	data     string // the data folder, as the configuration names it
	env      []string
	tokens   map[string]string // principal → API token
	upstream *upstream
	skewed   []byte // what sets the clock of a server that has one to set

	api, gate string // addresses; they change with each start
	cmd       *exec.Cmd
	log       *logged
	exited    chan struct{}
	code      int // of the exit
	http      *http.Client
}

// people are the cast of CONTRACT §4, and a few more.
var people = []struct{ id, more string }{
	{"user:ana", "groups: [group:payments, group:sre], email: ana@example.com"},
	{"user:bo", "groups: [group:dba], auditor: true, email: bo@example.com"},
	{"user:cy", "groups: [group:payments], email: cy@example.com"},
	{"user:dan", "groups: [group:dba], email: dan@example.com"},
	{"user:eve", "groups: [group:guests]"},
	{"user:ana-admin", "person: user:ana, groups: [group:dba], admin: true"},
	{"user:ada", "groups: [group:security], admin: true"},
	{"service:ci-deploy", "owner: user:ana, groups: [group:dba]"},
	{"service:orders", "owner: user:cy"},
}

// aCatalog is the catalog of CONTRACT §4 with the HTTP resource, and resources
// that make tests short: open-api is decided by policy, two-api by two people.
func aCatalog(tokens map[string]string, upstream, key string) string {
	var b strings.Builder
	b.WriteString("principals:\n")
	for _, p := range people {
		sum := sha256.Sum256([]byte(tokens[p.id]))
		fmt.Fprintf(&b, "  - {id: %q, %s, token_sha256: %q}\n", p.id, p.more, hex.EncodeToString(sum[:]))
	}
	fmt.Fprintf(&b, `groups:
  - {id: group:oncall, members: [user:ana, group:sre]}
resources:
  - id: orders-api
    kind: http
    labels: {env: prod}
    owners: [group:payments]
    introspect: [service:orders]
    http: {upstream: %[1]q, inject: {Authorization: {file: %[2]s}}}
    roles:
      read: {methods: [GET, HEAD], paths: ["/v1/orders/**"]}
      write: {methods: [GET, HEAD, POST], paths: ["/v1/orders/**"]}
  - id: open-api
    kind: http
    labels: {env: dev}
    owners: [group:payments]
    introspect: [service:ci-deploy]
    http: {upstream: %[1]q}
    roles:
      all: {methods: [GET, HEAD, POST, PUT, PATCH, DELETE], paths: ["/**"]}
      docs: {methods: [GET], paths: ["/docs/*"]}
  - id: two-api
    kind: http
    labels: {env: test}
    owners: [group:payments]
    http: {upstream: %[1]q}
    roles:
      all: {methods: [GET], paths: ["/**"]}
policy:
  guardrails:
    - {name: production needs a ticket, when: 'resource.labels.env == "prod"', require: {reason: true, ticket: '^(INC|CHG)-[0-9]+$', max_duration: 8h}}
    - {name: no deletes, kind: http, when: 'resource.id == "orders-api" && scope.methods.exists(m, m == "DELETE")', deny: ask the owners to delete}
  rules:
    - {name: on-call reads, kind: http, when: 'resource.id == "orders-api" && "group:oncall" in principal.groups && scope.methods.all(m, m in ["GET", "HEAD"])', approve: auto, max_duration: 15m}
    - name: production writes
      when: 'resource.labels.env == "prod" && !("group:guests" in principal.groups)'
      approve: {stages: [{name: dba, from: [group:dba], quorum: 1}, {name: owner, from: [resource.owners], quorum: 1}]}
      max_duration: 1h
      approve_within: 4h
    - {name: two of many, when: 'resource.id == "two-api"', approve: {stages: [{name: all, from: [group:dba, group:payments, group:security], quorum: 2}]}, max_duration: 1h}
    - {name: open to all but guests, when: 'resource.id == "open-api" && !("group:guests" in principal.groups)', approve: auto, max_duration: 1h, max_total: 90m}
`, upstream, key)
	return b.String()
}

// mint makes a token as CONTRACT §1 and issue 2 describe it, independently of
// the server's code.
func mint(prefix string) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	base62 := func(n *big.Int, width int) string {
		digits := make([]byte, width)
		for i := width - 1; i >= 0; i-- {
			var rest big.Int
			n, _ = new(big.Int).DivMod(n, big.NewInt(62), &rest)
			digits[i] = alphabet[rest.Int64()]
		}
		return string(digits)
	}
	raw := make([]byte, 32)
	rand.Read(raw)
	body := prefix + base62(new(big.Int).SetBytes(raw), 43)
	return body + base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), 6)
}

// files writes the files of a server, to be changed before it starts.
func files(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, program: program, dir: t.TempDir(), data: "./data", scheme: "http", tokens: map[string]string{}, upstream: newUpstream(t)}
	for _, p := range people {
		s.tokens[p.id] = mint("dpat_")
	}
	s.write("orders.key", s.upstream.key)
	s.write("catalog.yaml", aCatalog(s.tokens, s.upstream.URL, s.path("orders.key")))
	s.configure("")
	s.http = &http.Client{Timeout: time.Minute}
	t.Cleanup(s.stop)
	return s
}

// configure writes daypass.yaml with more lines at its end.
func (s *server) configure(more string) {
	s.write("daypass.yaml", "listen: 127.0.0.1:0\ndata: "+s.data+"\ncatalog: ./catalog.yaml\ngateways:\n  http: {listen: 127.0.0.1:0, domain: localhost}\n"+more)
}

// serve starts a server with the files that everybody uses.
func serve(t testing.TB) *server {
	t.Helper()
	s := files(t)
	s.start()
	return s
}

// dataFolder is where the data folder is.
func (s *server) dataFolder() string {
	if filepath.IsAbs(s.data) {
		return s.data
	}
	return s.path(s.data)
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

var serving = regexp.MustCompile(`msg=serving api=https?://(\S+) http_gateway=(\S+)`)

// launch starts the process and does not wait for anything.
func (s *server) launch() {
	s.t.Helper()
	s.log = &logged{}
	s.cmd = exec.Command(s.program, "serve", "--config", s.path("daypass.yaml"))
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		_ = cmd.Wait()
		s.code = cmd.ProcessState.ExitCode()
		close(exited)
	}()
}

// start starts the server and waits until it serves.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.await()
}

func (s *server) await() {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if m := serving.FindStringSubmatch(s.log.String()); m != nil {
			s.api, s.gate = m[1], m[2]
			return
		}
		select {
		case <-s.exited:
			s.t.Fatalf("the server ended with %d:\n%s", s.code, s.log)
		case <-time.After(2 * time.Millisecond):
		}
	}
	s.t.Fatalf("the server does not serve:\n%s", s.log)
}

// refused starts the server, which must end by itself with exit code 1 or 2,
// and returns what it said.
func (s *server) refused() string {
	s.t.Helper()
	s.launch()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatalf("the server should have refused to start:\n%s", s.log)
	}
	if s.code != 1 {
		s.t.Errorf("it ended with %d", s.code)
	}
	return s.log.String()
}

func (s *server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// kill ends the process as a power switch does.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// term asks the server to end and returns its exit code.
func (s *server) term() int {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(40 * time.Second):
		s.kill()
		s.t.Fatalf("the server did not end:\n%s", s.log)
	}
	return s.code
}

func (s *server) stop() {
	if s.t.Failed() && s.log != nil {
		s.t.Logf("the server's log:\n%s", s.log)
	}
	s.kill()
}

// daypass runs another command of the binary and returns its exit code and all
// it printed.
func (s *server) daypass(args ...string) (int, string) {
	s.t.Helper()
	cmd := exec.Command(s.program, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+s.dir)
	cmd.Env = append(cmd.Env, s.env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// verify runs the offline check of the record, which must find it whole.
func (s *server) verify(more ...string) {
	s.t.Helper()
	code, out := s.daypass(append([]string{"audit", "verify", "--data", s.dataFolder()}, more...)...)
	if code != 0 || !strings.HasPrefix(out, "whole: ") {
		s.t.Errorf("audit verify ended with %d: %s", code, out)
	}
}

// logged is what a process printed.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
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

// lines is every line of text.
func lines(text string) []string {
	var out []string
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		out = append(out, s.Text())
	}
	return out
}

// soon waits until ok.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// position is a place in a file, as errors name it.
var position = regexp.MustCompile(`\.yaml:[0-9]+:[0-9]+: `)

// freeAddr is an address of loopback that nobody listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// dev starts `daypass dev` in the folder of s, and waits until it is ready.
func (s *server) dev(more ...string) *server {
	s.t.Helper()
	d := &server{t: s.t, program: s.program, dir: s.dir, scheme: "http", log: &logged{}, exited: make(chan struct{}), http: s.http}
	d.cmd = exec.Command(s.program, append([]string{"dev", "-o", "json", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--postgres", "off"}, more...)...)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = d.cmd.Wait(); close(d.exited) }()
	s.t.Cleanup(d.kill)
	soon(s.t, "dev is ready", func() bool { return strings.Contains(d.log.String(), "}\n") })
	return d
}

// exitedNow reports whether the process is gone.
func (s *server) exitedNow() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}
