package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/api"
)

// Files are what a server is started with: the same for many runs, so that each
// need not begin with an empty folder.
type Files struct {
	Program string
	Service *Service
	Tokens  map[string]string // principal → API token
	hook    string            // the webhook's secret
	empty   string            // a folder without data
	born    string            // the same after the first start, without a catalog file
}

// NewFiles makes them in dir. The program is run once to make the first
// catalog, the keys and the schema.
func NewFiles(program, dir string, service *Service) (*Files, error) {
	f := &Files{Program: program, Service: service, Tokens: map[string]string{}, empty: filepath.Join(dir, "empty"), born: filepath.Join(dir, "born")}
	for _, m := range cast {
		f.Tokens[m.ID] = mint()
	}
	f.hook = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for _, folder := range []string{f.empty, f.born} {
		if err := f.write(folder, true); err != nil {
			return nil, err
		}
	}
	p, err := Start(program, f.born)
	if err != nil {
		return nil, err
	}
	p.Terminate()
	<-p.Gone()
	if p.ExitCode() != 0 {
		return nil, fmt.Errorf("the first run ended with %d: %s", p.ExitCode(), p.Log())
	}
	return f, f.write(f.born, false)
}

func (f *Files) write(folder string, catalog bool) error {
	config := "listen: 127.0.0.1:0\ndata: ./data\ngateways:\n  http: {listen: 127.0.0.1:0, domain: localhost}\n"
	config += fmt.Sprintf("notify:\n  webhook: {url: %q, secret: {file: ./hook.key}}\n", f.Service.URL()+"/hook")
	if catalog {
		config += "catalog: ./catalog.yaml\n"
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for name, content := range map[string]string{"daypass.yaml": config, "hook.key": f.hook, "catalog.yaml": catalogText(f.Tokens, f.Service.URL(), 0)} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// secrets are those that are known before anything happens.
func (f *Files) secrets() []string {
	all := []string{f.hook}
	for _, t := range f.Tokens {
		all = append(all, t)
	}
	return all
}

// copyTo copies a folder, for nobody else to read.
func copyTo(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), content, 0o600)
	})
}

// world is one run: a folder, a process, and its clients.
type world struct {
	files *Files
	dir   string
	seed  uint64
	h     *History
	group sync.WaitGroup

	process atomic.Pointer[Process]
	http    atomic.Pointer[http.Client]
	keys    atomic.Int64
}

func (w *world) draw(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, stream)) }

// start starts the server and gives the clients new connections.
func (w *world) start(env ...string) error {
	p, err := Start(w.files.Program, w.dir, env...)
	w.process.Store(p)
	w.http.Store(&http.Client{
		Timeout:       20 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 32},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	return err
}

// gone reports whether the server is.
func (w *world) gone() bool {
	select {
	case <-w.process.Load().Gone():
		return true
	default:
		return false
	}
}

// key is an Idempotency-Key that no other call has.
func (w *world) key() string { return fmt.Sprintf("k%d-%d", w.seed, w.keys.Add(1)) }

// call calls the API and notes it, whatever comes of it.
func (w *world) call(who, method, path string, body any, key string) Call {
	c := Call{Who: who, Method: method, Path: path, Key: key}
	switch body := body.(type) {
	case nil:
	case []byte:
		c.Body = body
	case string:
		c.Body = []byte(body)
	default:
		c.Body, _ = json.Marshal(body) // our own values always marshal
	}
	return w.send(c)
}

// send sends a call and notes it.
func (w *world) send(c Call) Call {
	c.Start = time.Now()
	c.Status, c.Answer, c.End = 0, nil, time.Time{}
	r, err := http.NewRequestWithContext(context.Background(), c.Method, "http://"+w.process.Load().API+c.Path, bytes.NewReader(c.Body))
	if err != nil {
		w.h.AddProblem(err.Error())
		return c
	}
	token := w.files.Tokens[c.Who]
	r.Header.Set("Authorization", "Bearer "+token)
	switch {
	case c.Path == "/v1/catalog":
		r.Header.Set("Content-Type", "application/yaml")
	case c.Path == "/oauth/introspect":
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case len(c.Body) > 0:
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Key != "" {
		r.Header.Set("Idempotency-Key", c.Key)
	}
	if c.Path == "/oauth/introspect" {
		defer func() { c.Body = nil }() // it is a secret
	}
	if resp, err := w.http.Load().Do(r); err == nil {
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was only read
		if err == nil {
			c.Status, c.Answer = resp.StatusCode, answer
		}
	}
	c.End = time.Now()
	w.own(c)
	if c.Status >= 500 && c.Status != http.StatusServiceUnavailable {
		w.h.AddProblem(fmt.Sprintf("%s %s was answered %d: %s", c.Method, c.Path, c.Status, clip(c.Answer)))
	}
	if c.Path != "/oauth/introspect" {
		w.h.AddCall(c)
	}
	return c
}

// own tells the service whose the requests and grants in an answer are.
func (w *world) own(c Call) {
	var r api.Request
	if !c.Into(&r) || !strings.HasPrefix(r.ID, "req_") {
		return
	}
	w.files.Service.Own(r.ID, w.h)
	if r.Grant != nil {
		w.files.Service.Own(r.Grant.ID, w.h)
	}
}

// m is a JSON object.
type m = map[string]any

// ask submits a request; false when nothing came of it.
func (w *world) ask(who, resource, role string, d time.Duration, more m) (api.Request, bool) {
	key := w.key()
	body := m{"resource": resource, "role": role, "duration": api.FormatDuration(d), "reason": "key " + key}
	for k, v := range more {
		body[k] = v
	}
	c := w.call(who, "POST", "/v1/requests", body, key)
	var r api.Request
	return r, c.Acknowledged() && c.Into(&r)
}

// issue gets a credential of a grant.
func (w *world) issue(who, grant, format string) (string, bool) {
	c := w.call(who, "POST", "/v1/grants/"+grant+"/credentials", m{"format": format}, w.key())
	var made api.Credential
	if !c.Acknowledged() || !c.Into(&made) || made.Secret == nil {
		return "", false
	}
	return *made.Secret, true
}

// use sends one request through the gateway and notes it.
func (w *world) use(secret, grant, resource string) int {
	return w.through(Use{Secret: secret, Grant: grant}, resource, "/g/"+grant+"/x")
}

// stream reads a stream until somebody cuts it.
func (w *world) stream(secret, grant, resource string) {
	w.through(Use{Secret: secret, Grant: grant, Stream: true}, resource, "/s/"+grant)
}

func (w *world) through(u Use, resource, path string) int {
	u.Start = time.Now()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+w.process.Load().Gate+path, nil)
	if err != nil {
		w.h.AddProblem(err.Error())
		return 0
	}
	r.Host = resource + ".localhost"
	r.Header.Set("Authorization", "Bearer "+u.Secret)
	resp, err := w.http.Load().Do(r)
	u.End = time.Now()
	if err == nil {
		u.Status = resp.StatusCode
		buffer := make([]byte, 4096)
		for err == nil {
			var n int
			if n, err = resp.Body.Read(buffer); n > 0 {
				u.End = time.Now()
			}
		}
		_ = resp.Body.Close() // it was only read
		if u.Stream && errors.Is(err, io.EOF) && u.Status == http.StatusOK {
			w.h.AddProblem("a stream that was cut looks like one that ended by itself")
		}
	}
	w.h.AddUse(u)
	return u.Status
}

// introspect asks about a token as its resource does.
func (w *world) introspect(secret, grant string) {
	u := Use{Secret: secret, Grant: grant, Introspection: true, Start: time.Now()}
	c := w.call("service:ci-deploy", "POST", "/oauth/introspect", "token="+secret, "")
	u.End = c.End
	var said struct {
		Active bool `json:"active"`
	}
	if c.Status == http.StatusOK && c.Into(&said) {
		u.Status = http.StatusUnauthorized
		if said.Active {
			u.Status = http.StatusOK
		}
	}
	w.h.AddUse(u)
}
