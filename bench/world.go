//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/daypass/daypass/internal/credential"
)

const (
	principals = 1000
	resources  = 100
	few        = 10                // of each, for a server that nobody uses yet
	checker    = "service:checker" // introspects
	admin      = "user:admin"
)

// world is a folder with a server's files.
type world struct {
	dir    string
	tokens map[string]string // API tokens: of checker, admin and user:u0 …
}

// newWorld writes the files of a server for so many people and resources.
// Every resource is decided by policy, and its upstream is the address given.
func newWorld(dir, upstream string, people, things int) (*world, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	w := &world{dir: dir, tokens: map[string]string{}}
	var b strings.Builder
	b.WriteString("principals:\n")
	add := func(id, more string) {
		secret, hash := credential.NewToken(credential.PrincipalToken)
		w.tokens[id] = secret.Reveal()
		fmt.Fprintf(&b, "  - {id: %q, %stoken_sha256: %q}\n", id, more, hash)
	}
	add(admin, "admin: true, ")
	add(checker, "owner: user:admin, ")
	for i := range people {
		add(fmt.Sprintf("user:u%d", i), "groups: [group:staff], ")
	}
	b.WriteString("resources:\n")
	for i := range things {
		fmt.Fprintf(&b, "  - id: res-%d\n    kind: http\n    labels: {env: dev}\n    owners: [group:staff]\n    introspect: [%s]\n    http: {upstream: %q}\n    roles:\n", i, checker, upstream)
		fmt.Fprintf(&b, "      all: {methods: [GET, HEAD, POST], paths: [\"/**\"]}\n      read: {methods: [GET, HEAD], paths: [\"/v1/%d/**\"]}\n", i)
	}
	b.WriteString("policy:\n  rules:\n    - {name: open, when: 'resource.labels.env == \"dev\" && \"group:staff\" in principal.groups', approve: auto, max_duration: 8760h}\n")
	tokens, err := json.Marshal(w.tokens)
	if err != nil {
		return nil, err
	}
	config := "listen: 127.0.0.1:0\ndata: ./data\ncatalog: ./catalog.yaml\ngateways:\n  http: {listen: 127.0.0.1:0, domain: localhost}\n"
	return w, errors.Join(w.write("catalog.yaml", []byte(b.String())), w.write("daypass.yaml", []byte(config)), w.write("tokens.json", tokens))
}

// openWorld opens a folder that newWorld has written.
func openWorld(dir string) (*world, error) {
	w := &world{dir: dir}
	content, err := os.ReadFile(w.path("tokens.json"))
	if err != nil {
		return nil, err
	}
	return w, json.Unmarshal(content, &w.tokens)
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name string, content []byte) error {
	return os.WriteFile(w.path(name), content, 0o600)
}

func (w *world) read(name string) ([]byte, error) { return os.ReadFile(w.path(name)) }

// server is a running daypass.
type server struct {
	w         *world
	cmd       *exec.Cmd
	log       *output
	api, gate string
	ready     time.Duration // from the start of the process until it served
	exited    chan struct{}
}

// output keeps what a process says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var serving = regexp.MustCompile(`msg=serving api=http://(\S+) http_gateway=(\S+)`)

// start starts the server and waits until it serves.
func (b *bench) start(ctx context.Context, w *world, program string, env ...string) (*server, error) {
	s := &server{w: w, log: &output{}, exited: make(chan struct{})}
	// Without a context: it is stopped by stop, and ends with this process.
	s.cmd = exec.Command(program, "serve", "--config", w.path("daypass.yaml")) //nolint:noctx // see above
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	for {
		if m := serving.FindStringSubmatch(s.log.String()); m != nil {
			s.ready, s.api, s.gate = time.Since(began), m[1], m[2]
			if strings.HasSuffix(s.api, ":0") || !strings.Contains(s.api, ":") {
				return nil, fmt.Errorf("the server does not say its address: %s", s.api)
			}
			return s, nil
		}
		select {
		case <-s.exited:
			return nil, fmt.Errorf("the server ended:\n%s", s.log)
		case <-ctx.Done():
			s.stop()
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
		if time.Since(began) > 3*time.Minute {
			s.stop()
			return nil, errors.New("the server does not serve after three minutes")
		}
	}
}

// stop ends the server and waits for it.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(40 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// rss is the resident memory of the server in bytes.
func (s *server) rss() (int64, error) {
	text := field(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid), "VmRSS")
	kb, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	return kb << 10, err
}

// answer is what the API said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// call makes one call of the API.
func (s *server) call(ctx context.Context, client *http.Client, who, method, path string, body any) (answer, error) {
	var reader io.Reader
	kind := "application/json"
	switch body := body.(type) {
	case nil:
	case string:
		kind, reader = "application/x-www-form-urlencoded", strings.NewReader(body)
	default:
		content, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(content)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.api+path, reader)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+s.w.tokens[who])
	r.Header.Set("Content-Type", kind)
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, content}, err
}
