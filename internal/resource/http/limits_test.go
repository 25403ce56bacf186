package httpkind

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/resource"
)

// Invariant: A37
// Attack: RES-01, RES-08
func TestSlowAndIdlePeersCostABoundedAmount(t *testing.T) {
	up, _ := recorder(t)
	s := newSite(t, up, siteOptions{limits: resource.Limits{ConnectionsPerPeer: 5, HeaderTimeout: 300 * time.Millisecond, IdleTimeout: 300 * time.Millisecond}})
	_, token := s.grant(everything, time.Hour)
	var slow []net.Conn
	for range 5 {
		c, _ := s.raw("GET / HTTP/1.1\r\nHost: or")
		slow = append(slow, c)
	}
	eventually(t, "the five are in", func() bool { return len(s.connections()) == 5 })
	for range 20 { // all above are closed at once
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(c, "x")
		if _, err := io.ReadAll(c); err != nil && isTimeout(err) {
			t.Error("a connection above the limit was kept")
		}
		_ = c.Close()
	}
	if n := len(s.connections()); n > 5 {
		t.Errorf("%d connections", n)
	}
	if s.gw.listener.refused.Load() != 20 {
		t.Errorf("%d refused", s.gw.listener.refused.Load())
	}
	for _, c := range slow { // those inside run out of time
		if _, err := io.ReadAll(c); isTimeout(err) {
			t.Error("a slow peer was kept")
		}
	}
	eventually(t, "room is made", func() bool { return len(s.connections()) == 0 })
	if res, _ := s.do("GET", "/", token); res.StatusCode != 200 {
		t.Errorf("%d", res.StatusCode)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Invariant: A37
// Attack: RES-01
func TestStrangersGetNoTimeToSendBodies(t *testing.T) {
	up, all := recorder(t)
	s := newSite(t, up, siteOptions{})
	for _, line := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
		c, r := s.raw("POST / HTTP/1.1\r\nHost: orders-api.gw.test\r\n" + line + "\r\n\r\n")
		start := time.Now()
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != 401 {
			t.Fatalf("%v %v", res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("%s: still open: %v", line, err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: open for %v", line, d)
		}
	}
	if len(all()) != 0 {
		t.Error("forwarded")
	}
}

func TestPeersAreGroupedByNetwork(t *testing.T) {
	key := func(ip string) string { return resource.PeerOf(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}).String() }
	if key("2001:db8::1") != key("2001:db8::ffff:1") || key("2001:db8::1") == key("2001:db8:0:1::1") {
		t.Error("IPv6 is not grouped by /64")
	}
	if key("192.0.2.1") == key("192.0.2.2") || key("192.0.2.1") != key("::ffff:192.0.2.1") {
		t.Error("IPv4 is not told apart")
	}
}

func TestBodiesAboveTheLimitAreRefused(t *testing.T) {
	up, all := recorder(t)
	s := newSite(t, up, siteOptions{block: "      max_body: 1000\n"})
	_, token := s.grant(everything, time.Hour)
	for name, c := range map[string]struct {
		body io.Reader
		want int
	}{
		"at the limit":       {bytes.NewReader(make([]byte, 1000)), 200},
		"announced":          {bytes.NewReader(make([]byte, 1001)), 413},
		"found out underway": {io.MultiReader(bytes.NewReader(make([]byte, 5000))), 413},
	} {
		req, _ := http.NewRequest("POST", s.url("/"), c.body)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := s.client().Do(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, res.StatusCode, c.want)
		}
	}
	for _, r := range all() {
		if len(r.body) > 1000 {
			t.Errorf("%d bytes reached the upstream", len(r.body))
		}
	}
}

// Attack: RES-09
func TestAPanicCostsOneConnection(t *testing.T) {
	up, _ := recorder(t)
	s := newSite(t, up, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	broken := true
	mint := s.gw.assertions.Mint
	s.gw.assertions.Mint = func(g *live.Grant) (string, error) {
		if broken {
			panic("dpgt_secret")
		}
		return mint(g)
	}
	req, _ := http.NewRequest("GET", s.url("/"), nil)
	req.Header.Set("Authorization", "Bearer "+token)
	if res, err := s.client().Do(req); err == nil {
		t.Errorf("answered %d", res.StatusCode)
	}
	if c := s.guard.Counts(); c.Panics != 1 || c.Sessions != 0 {
		t.Errorf("%+v", c)
	}
	broken = false
	if res, _ := s.do("GET", "/", token); res.StatusCode != 200 {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestUpstreamTroubles(t *testing.T) {
	up := upstreamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
		case "/hangup":
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
		case "/split":
			c, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: daypass=x\r\nX-B: y\r\nContent-Length: 0\r\n\r\n")
			_ = c.Close()
		case "/huge":
			w.Header().Set("X-Huge", strings.Repeat("x", 1<<20))
		case "/short":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	s := newSite(t, up, siteOptions{block: "      timeout: 1s\n", extra: `
  - id: nobody
    kind: http
    http: {upstream: http://127.0.0.1:1}
    roles: {all: {methods: [GET], paths: ["/**"]}}
  - id: unset
    kind: http
    http: {upstream: http://127.0.0.1:1, inject: {X-Key: {env: DAYPASS_TEST_UNSET}}}
    roles: {all: {methods: [GET], paths: ["/**"]}}
`})
	_, token := s.grant(everything, time.Hour)
	for path, want := range map[string]int{"/slow": 504, "/hangup": 502, "/huge": 502} {
		res, body := s.do("GET", path, token)
		if res.StatusCode != want || strings.Contains(body, "127.0.0.1") {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	res, _ := s.do("GET", "/split", token)
	if res.StatusCode == 200 && len(res.Cookies()) > 0 {
		t.Errorf("response splitting: %v", res.Header)
	}
	req, _ := http.NewRequest("GET", s.url("/short"), nil)
	req.Header.Set("Authorization", "Bearer "+token)
	if res, err := s.client().Do(req); err == nil {
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("a short response looked complete")
		}
		_ = res.Body.Close()
	}
	for id, want := range map[string]int{"nobody": 502, "unset": 503} {
		_, token := s.grantOn(id, everything, time.Hour)
		res, body := s.do("GET", "/", token, "Host", id+".gw.test")
		if res.StatusCode != want || strings.Contains(body, "DAYPASS_TEST") {
			t.Errorf("%s: %d %s", id, res.StatusCode, body)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for _, name := range []string{"", "a b", "Host", "connection", "Te", "Daypass-Subject", "daypass_x", "X-Forwarded-For", "Content-Length", "Cookie", "Upgrade", "x:y"} {
		if _, err := injectable(name); err == nil {
			t.Errorf("%q may be injected", name)
		}
	}
	for raw, want := range map[string]string{
		"http://127.0.0.1:9000": "http://127.0.0.1:9000", "https://Orders.Internal/": "https://orders.internal:443", "http://x:80/a/%62/": "http://x:80/a/b",
		"http://[2001:db8::1]": "http://[2001:db8::1]:80",
	} {
		var c Config
		if err := c.setUpstream(raw); err != nil || c.Upstream() != want {
			t.Errorf("%s: %s %v", raw, c.Upstream(), err)
		}
	}
}
