package daemon_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestGateway: 401, 403, 421, 400, and what reaches the upstream.
//
// Invariant: A25, A26
// Attack: FWD-01, FWD-02, FWD-09, FWD-11, HTT-01, HTT-03, HTT-05, HTT-06, TOK-10
func TestGateway(t *testing.T) {
	s := serve(t)
	r := s.granted("user:ana", "orders-api", "read", 5*time.Minute)
	token := s.token("user:ana", r)
	forwarded := func() int { _, n := s.upstream.last(); return n }

	a := s.through(token, "GET", "orders-api", "/v1/orders/7?x=%2F&y=a+b", "X-Forwarded-User", "eve", "daypass-subject", "user:eve", "Daypass_Subject", "user:eve",
		"DAYPASS-GRANT", "grt_x", "Daypass-Anything", "1", "Cookie", "a=b; daypass=x; __Host-daypass=y").is(200)
	if a.header.Get("Set-Cookie") != "app=1" {
		t.Error("the application's cookie is lost")
	}
	got, _ := s.upstream.last()
	h := got.header
	if got.uri != "/v1/orders/7?x=%2F&y=a+b" || got.method != "GET" {
		t.Errorf("upstream saw %s %s", got.method, got.uri)
	}
	for name, want := range map[string]string{
		"Authorization": s.upstream.key, "Daypass-Subject": "user:ana", "Daypass-Request": r.ID, "Daypass-Grant": r.Grant.ID, "Daypass-Expires-At": r.Grant.ExpiresAt.String(),
	} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("upstream saw %s %q, want %q", name, got, want)
		}
	}
	if h.Get("Cookie") != "a=b" {
		t.Errorf("upstream saw the cookies %q", h.Get("Cookie"))
	}
	ours := map[string]bool{"Daypass-Subject": true, "Daypass-Request": true, "Daypass-Grant": true, "Daypass-Expires-At": true, "Daypass-Assertion": true}
	for name, values := range h {
		if strings.HasPrefix(strings.ToLower(strings.ReplaceAll(name, "_", "-")), "daypass-") && !ours[name] {
			t.Errorf("upstream saw %s: %q", name, values)
		}
		if strings.Contains(strings.Join(values, " "), token) {
			t.Errorf("upstream saw the token in %s", name)
		}
	}
	before := forwarded()
	for name, c := range map[string]struct {
		token, method, host, path string
		status                    int
	}{
		"no token":             {"", "GET", "orders-api", "/v1/orders/7", 401},
		"no such token":        {mint("dpgt_"), "GET", "orders-api", "/v1/orders/7", 401},
		"a bad checksum":       {token[:len(token)-1] + "!", "GET", "orders-api", "/v1/orders/7", 401},
		"an API token":         {s.tokens["user:ana"], "GET", "orders-api", "/v1/orders/7", 401},
		"another resource":     {token, "GET", "open-api", "/v1/orders/7", 401},
		"another method":       {token, "POST", "orders-api", "/v1/orders/7", 403},
		"another path":         {token, "GET", "orders-api", "/v2/orders/7", 403},
		"a longer name":        {token, "GET", "orders-api", "/v1/orders-all", 403},
		"another case":         {token, "GET", "orders-api", "/V1/orders/7", 403},
		"no resource":          {token, "GET", "absent-api", "/v1/orders/7", 421},
		"a host above":         {token, "GET", "x.orders-api", "/v1/orders/7", 421},
		"dot segments":         {token, "GET", "orders-api", "/v1/orders/../admin", 400},
		"encoded dots":         {token, "GET", "orders-api", "/v1/orders/%2e%2e/admin", 400},
		"an encoded slash":     {token, "GET", "orders-api", "/v1/orders/..%2fadmin", 400},
		"twice encoded":        {token, "GET", "orders-api", "/v1/orders/%252e%252e/admin", 400},
		"an encoded backslash": {token, "GET", "orders-api", "/v1/orders/%5c..%5cadmin", 400},
		"NUL":                  {token, "GET", "orders-api", "/v1/orders/%00", 400},
		"a path parameter":     {token, "GET", "orders-api", "/v1/orders/7;v=1", 400},
		"two slashes":          {token, "GET", "orders-api", "/v1//orders/7", 400},
		"overlong UTF-8":       {token, "GET", "orders-api", "/v1/orders/%c0%ae", 400},
		"a token in the query": {"", "GET", "orders-api", "/v1/orders/7?access_token=" + token, 400},
		"a method beyond any":  {token, "PROPFIND", "orders-api", "/v1/orders/7", 405},
		"TRACE":                {token, "TRACE", "orders-api", "/v1/orders/7", 405},
	} {
		a := s.raw(c.token, c.method, c.host+".localhost", c.path)
		if a.status != c.status {
			t.Errorf("%s: %d %s", name, a.status, a.body)
			continue
		}
		if !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s: a refusal is %q", name, a.header.Get("Content-Type"))
		}
		if c.status == 401 || c.status == 403 {
			p := a.problem()
			// No role of orders-api covers another path: there is nothing to ask for.
			hinted := p.AccessRequest != nil && p.AccessRequest.Body.Resource == c.host
			if hinted == (c.status == 403 && c.method == "GET") || !strings.Contains(a.header.Get("Link"), `rel="request-access"`) || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s: it does not say how to ask: %v %s", name, a.header, a.body)
			}
		}
	}
	if n := forwarded(); n != before {
		t.Errorf("%d refused requests reached the upstream", n-before)
	}
	for _, host := range []string{"ORDERS-API.localhost", "orders-api.localhost.", "orders-api.localhost:80"} {
		if a := s.raw(token, "GET", host, "/v1/orders/7"); a.status != 200 {
			t.Errorf("%s: %d", host, a.status)
		}
	}
	for name, text := range map[string]string{
		"two Hosts":         "GET /v1/orders/7 HTTP/1.1\r\nHost: orders-api.localhost\r\nHost: open-api.localhost\r\n",
		"two Authorization": "GET /v1/orders/7 HTTP/1.1\r\nHost: orders-api.localhost\r\nAuthorization: Bearer " + token + "\r\n",
		"CL and TE":         "POST /v1/orders/7 HTTP/1.1\r\nHost: orders-api.localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked, identity\r\n",
		"no Host":           "GET /v1/orders/7 HTTP/1.1\r\n",
		"space and colon":   "GET /v1/orders/7 HTTP/1.1\r\nHost: orders-api.localhost\r\nX-A : b\r\n",
	} {
		if a := s.wire(text + "Authorization: Bearer " + token + "\r\n\r\n"); a.status != 400 && a.status != 421 && a.status != 501 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	open, other := s.pass(time.Hour)
	_ = open
	if a := s.through(other, "GET", "open-api", "/away"); a.status != 302 {
		t.Errorf("a redirection was followed: %d", a.status)
	}
}

// raw sends a request whose path no client library has touched.
func (s *server) raw(token, method, host, path string) answer {
	s.t.Helper()
	text := method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n"
	if token != "" {
		text += "Authorization: Bearer " + token + "\r\n"
	}
	return s.wire(text + "\r\n")
}

func (s *server) wire(text string) answer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.gate)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, text)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatalf("%q: %v", text, err)
	}
	defer resp.Body.Close()
	a := answer{t: s.t, what: strings.SplitN(text, "\r", 2)[0], status: resp.StatusCode, header: resp.Header}
	buf := make([]byte, 8<<10)
	n, _ := resp.Body.Read(buf)
	a.body = buf[:n]
	return a
}

// TestNginx: in front of a server that everybody runs.
//
// Invariant: A25, A26
func TestNginx(t *testing.T) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatal("this test needs nginx: make setup installs it")
	}
	s := files(t)
	prefix := t.TempDir()
	if err := os.Chmod(prefix, 0o755); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	conf := filepath.Join(prefix, "nginx.conf")
	content := fmt.Sprintf(`daemon off; pid nginx.pid; error_log stderr warn; worker_processes 1;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen %s;
    location / {
      if ($http_authorization != %q) { return 401 "only with the service's own key"; }
      default_type text/plain;
      return 200 "$request_method $request_uri for $http_daypass_subject, grant $http_daypass_grant";
    }
  }
}
`, addr, s.upstream.key)
	if err := os.WriteFile(conf, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	said := &logged{}
	nginx := exec.Command(binary, "-p", prefix, "-c", conf)
	nginx.Stdout, nginx.Stderr = said, said
	if err := nginx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = nginx.Process.Signal(syscall.SIGTERM)
		_ = nginx.Wait()
	})
	soon(t, "nginx answers", func() bool {
		resp, err := http.Get("http://" + addr + "/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 401
	})
	s.write("catalog.yaml", strings.ReplaceAll(s.read("catalog.yaml"), s.upstream.URL, "http://"+addr))
	s.start()
	r := s.granted("user:ana", "orders-api", "read", 5*time.Minute)
	token := s.token("user:ana", r)
	want := "GET /v1/orders/7?q=%20x for user:ana, grant " + r.Grant.ID
	if a := s.through(token, "GET", "orders-api", "/v1/orders/7?q=%20x", "Daypass-Subject", "user:eve", "Daypass_Grant", "x").is(200); string(a.body) != want {
		t.Errorf("nginx saw %q, want %q", a.body, want)
	}
	s.through(token, "POST", "orders-api", "/v1/orders/7").is(403)
	s.through(token, "GET", "orders-api", "/admin").is(403)
	s.through("", "GET", "orders-api", "/v1/orders/7").is(401)
	s.call("user:ana", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil).is(200)
	s.through(token, "GET", "orders-api", "/v1/orders/7").is(401)
}

// TestBrowser: a grant's token becomes a cookie that is bound to grant and
// host, and ends with it.
//
// Invariant: A14
func TestBrowser(t *testing.T) {
	s := serve(t)
	r, token := s.pass(time.Hour)
	page := s.through("", "GET", "open-api", "/x?y=1", "Accept", "text/html")
	if page.status != 401 || !strings.Contains(page.header.Get("Content-Type"), "text/html") || !strings.Contains(string(page.body), "/.daypass/login") {
		t.Fatalf("a browser sees %d %s", page.status, page.body)
	}
	host := "open-api.localhost"
	login := func(token string, header ...string) answer {
		form := url.Values{"token": {token}, "return": {"/x?y=1"}}.Encode()
		text := fmt.Sprintf("POST /.daypass/login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", host, len(form))
		for i := 0; i < len(header); i += 2 {
			text += header[i] + ": " + header[i+1] + "\r\n"
		}
		return s.wire(text + "\r\n" + form)
	}
	login(token).is(403)
	login(token, "Origin", "http://evil.example").is(403)
	login(mint("dpgt_"), "Origin", "http://"+host).is(401)
	in := login(token, "Origin", "http://"+host).is(303)
	if in.header.Get("Location") != "/x?y=1" {
		t.Errorf("it leads to %s", in.header.Get("Location"))
	}
	cookies := (&http.Response{Header: in.header}).Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].Value == token || strings.Contains(cookies[0].Value, token) || cookies[0].Expires.After(r.Grant.ExpiresAt.Time) {
		t.Fatalf("the cookies are %v", cookies)
	}
	cookie := cookies[0].Name + "=" + cookies[0].Value
	s.through("", "GET", "open-api", "/x", "Cookie", cookie+"; app=1").is(200)
	if got, _ := s.upstream.last(); got.header.Get("Cookie") != "app=1" || got.header.Get("Daypass-Subject") != "user:cy" {
		t.Errorf("the upstream saw %v", got.header)
	}
	s.through("", "GET", "two-api", "/x", "Cookie", cookie).is(401)
	s.through(cookies[0].Value, "GET", "open-api", "/x").is(401)
	s.kill()
	s.start()
	s.through("", "GET", "open-api", "/x", "Cookie", cookie).is(200)
	s.call("user:cy", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil).is(200)
	s.through("", "GET", "open-api", "/x", "Cookie", cookie).is(401)
}
