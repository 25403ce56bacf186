package daemon_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/forward"
)

const proxySecret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// asked is a server that other proxies may ask, and one of them in front of
// the upstream.
type asked struct {
	*server
	addr string
}

// behind starts a proxy with a configuration of examples, with other ports.
// more is what it reads beside.
func behind(t *testing.T, tool, example string, args func(dir, conf string) []string, more map[string]string) *asked {
	t.Helper()
	binary, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("this test needs %s: make setup installs it", tool)
	}
	s := files(t)
	s.write("proxy.secret", proxySecret+"\n")
	s.configure("authz:\n  domain: localhost\n  proxies:\n    - {name: edge, secrets: [{file: proxy.secret}], resources: [orders-api]}\n")
	s.start()
	dir, addr := t.TempDir(), freeAddr(t)
	if err := os.Chmod(dir, 0o755); err != nil { // for the workers of an nginx that root starts
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join("..", "..", "examples", example))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	text := string(raw)
	for _, change := range [][2]string{
		{"127.0.0.1:7400", s.api}, {"127.0.0.1:9000", strings.TrimPrefix(s.upstream.URL, "http://")}, {"127.0.0.1:8080", addr}, {"localhost:8080", "localhost:" + port},
	} {
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	more[filepath.Base(example)] = text
	for name, content := range more {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := &logged{}
	proxy := exec.Command(binary, args(dir, filepath.Join(dir, filepath.Base(example)))...)
	proxy.Env = append(os.Environ(), "DAYPASS_PROXY_SECRET="+proxySecret, "HOME="+dir)
	proxy.Stdout, proxy.Stderr = said, said
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = proxy.Process.Signal(syscall.SIGTERM)
		_ = proxy.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", tool, said)
		}
	})
	soon(t, tool+" answers", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return &asked{s, addr}
}

// get calls the service by way of the proxy, byte for byte.
func (a *asked) get(method, host, target, token string, header ...string) answer {
	a.t.Helper()
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n"
	if token != "" {
		text += "Authorization: Bearer " + token + "\r\n"
	}
	for i := 0; i < len(header); i += 2 {
		text += header[i] + ": " + header[i+1] + "\r\n"
	}
	if method == "POST" {
		text += "Content-Length: 0\r\n"
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text+"\r\n"); err != nil {
		a.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return answer{t: a.t, what: method + " " + host + target, status: resp.StatusCode, header: resp.Header, body: body}
}

// holds is what every proxy must do that asks Daypass.
func (a *asked) holds(t *testing.T) {
	const host = "orders-api.localhost"
	r := a.granted("user:ana", "orders-api", "read", 15*time.Minute)
	token := a.token("user:ana", r)
	lies := []string{}
	for _, name := range forward.IdentityHeaders {
		lies = append(lies, name, "lie", strings.ToLower(name), "lie", strings.ReplaceAll(name, "-", "_"), "lie")
	}
	lies = append(lies, "X-Original-URI", "/v1/orders/7", "X-Forwarded-Uri", "/v1/orders/7", "X-Forwarded-Method", "GET", "X-Original-Method", "GET",
		"X-Forwarded-Host", host, "X-Original-Host", host, "Daypass-Resource", "open-api", "Daypass-Proxy-Secret", "x")
	a.get("GET", host, "/v1/orders/7?q=1", token, lies...).is(200)
	got, _ := a.upstream.last()
	want := map[string]string{"Remote-User": "user:ana", "Daypass-Subject": "user:ana", "Daypass-Grant": r.Grant.ID, "Daypass-Request": r.ID, "Daypass-Expires-At": r.Grant.ExpiresAt.String()}
	for name, value := range want {
		if all := got.header[name]; len(all) != 1 || all[0] != value {
			t.Errorf("the service sees %s %q, want %q", name, all, value)
		}
	}
	if groups := got.header.Get("Remote-Groups"); !strings.Contains(groups, "group:sre") || strings.Contains(groups, "lie") {
		t.Errorf("Remote-Groups %q", groups)
	}
	if jwt := got.header.Get("Daypass-Assertion"); strings.Count(jwt, ".") != 2 {
		t.Errorf("Daypass-Assertion %q", jwt)
	}
	for name, values := range got.header {
		for _, v := range values {
			if v == "lie" || strings.Contains(v, token) || strings.Contains(v, proxySecret) {
				t.Errorf("the service sees %s: %s", name, v)
			}
		}
	}
	_, seen := a.upstream.last()
	for _, c := range []struct {
		method, host, target, token string
		status                      int
	}{
		{"GET", host, "/v1/orders/7", "", 401},
		{"GET", host, "/v1/orders/7", mint("dpgt_"), 401},
		{"POST", host, "/v1/orders/7", token, 403},
		{"GET", host, "/admin", token, 403},
		{"GET", host, "/admin?x=/v1/orders/7", token, 403},
		{"GET", host, "/v1/orders/%2e%2e/admin", token, 403},
		{"GET", host, "/v1//orders/7", token, 403},
		{"GET", host, "/v1/orders/..%2fadmin", token, 403},
		{"GET", "open-api.localhost", "/v1/orders/7", token, 0},
		{"GET", "evil.example", "/v1/orders/7", token, 0},
	} {
		got := a.get(c.method, c.host, c.target, c.token, lies...)
		switch {
		case c.status == 0 && got.status == 200 && len(got.body) > 0, c.status != 0 && got.status != c.status:
			t.Errorf("%s %s%s: %d %s", c.method, c.host, c.target, got.status, got.body)
		case c.status != 0 && !strings.Contains(got.header.Get("Link"), `rel="request-access"`):
			t.Errorf("%s %s: nothing says how to ask: %v", c.method, c.target, got.header)
		case c.status == 401 && len(got.header["Www-Authenticate"]) != 1:
			t.Errorf("the challenges are %q", got.header["Www-Authenticate"])
		}
	}
	if _, now := a.upstream.last(); now != seen {
		t.Errorf("%d denied requests reached the service", now-seen)
	}
	a.call("user:ana", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil).is(200)
	a.get("GET", host, "/v1/orders/7", token, lies...).is(401)
	_ = a.term()
	if got := a.get("GET", host, "/v1/orders/7", token); got.status < 400 {
		t.Errorf("without Daypass: %d", got.status)
	}
	if _, now := a.upstream.last(); now != seen {
		t.Errorf("%d requests reached the service that nobody allowed", now-seen)
	}
}

// A real nginx with the configuration that examples/nginx-auth has.
//
// Invariant: A5, A25, A26
// Attack: FWD-01, FWD-02, FWD-03, FWD-04, FWD-05, FWD-11, INT-08
func TestNginxAsks(t *testing.T) {
	a := behind(t, "nginx", "nginx-auth/nginx.conf", func(dir, conf string) []string { return []string{"-p", dir, "-c", conf} },
		map[string]string{"proxy-secret.conf": `proxy_set_header Daypass-Proxy-Secret "` + proxySecret + `";` + "\n"})
	a.holds(t)
}

// A real Caddy with the configuration that examples/caddy has.
//
// Invariant: A5, A25, A26
// Attack: FWD-01, FWD-02, FWD-03, FWD-04, FWD-05, FWD-11, INT-08
func TestCaddyAsks(t *testing.T) {
	a := behind(t, "caddy", "caddy/Caddyfile", func(_, conf string) []string { return []string{"run", "--config", conf, "--adapter", "caddyfile"} }, map[string]string{})
	a.holds(t)
}

// Without proxies in the configuration there is nothing to ask, and a secret
// that cannot be read keeps the server from starting.
//
// Attack: FWD-10, FWD-12
func TestWithoutProxies(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/authz/nginx", "/authz/forward", "/authz/envoy/x"} {
		s.call("", "GET", path, nil, "Daypass-Proxy-Secret", "").is(404)
	}
	s.term()
	const one = "authz: {domain: localhost, proxies: [{name: edge, secrets: [{file: proxy.secret}]}]}\n"
	s.configure(one)
	if said := s.refused(); !strings.Contains(said, "proxy.secret") {
		t.Errorf("it said %s", said)
	}
	s.write("proxy.secret", "short")
	if said := s.refused(); !strings.Contains(said, "less than 32 characters") || strings.Contains(said, "short\"") {
		t.Errorf("it said %s", said)
	}
}
