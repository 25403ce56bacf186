package rest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

// Administrators are served in the middle of a flood of idle connections, from
// their own address even, and the flood never holds more than its share.
//
// Invariant: A37
// Attack: RES-01
func TestFloodOfIdleConnectionsPushesItselfOut(t *testing.T) {
	const total = 20
	f := newFace(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newCap(inner, total, total)
	server := Server(f.handler)
	go func() { _ = server.Serve(l) }()
	defer server.Close()

	address := inner.Addr().String()
	admin := &http.Client{Transport: &http.Transport{}}
	defer admin.CloseIdleConnections()
	call := func() error {
		r, err := http.NewRequest("POST", "http://"+address+"/v1/grants/grt_a/revoke", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+goodToken)
		res, err := admin.Do(r)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 200 {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	var flood []net.Conn
	defer func() {
		for _, c := range flood {
			_ = c.Close()
		}
	}()
	for range 5 * total {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "))
		flood = append(flood, c)
	}
	// On the connection that is there, and on a new one.
	for range 2 {
		if err := call(); err != nil {
			t.Fatal(err)
		}
		admin.CloseIdleConnections()
	}
	l.mu.Lock()
	open, strangers := l.open, l.strangers.Len()
	l.mu.Unlock()
	if open > total || strangers < total-3 {
		t.Errorf("%d connections, %d of them strangers", open, strangers)
	}
	// The first of the flood were closed.
	_ = flood[0].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(flood[0]); err != nil && isTimeout(err) {
		t.Error("the oldest stranger is still there")
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// The books of the cap are right whatever comes and goes.
//
// Attack: RES-04
func TestConnectionBooksBalance(t *testing.T) {
	l := newCap(nil, 10, 4)
	conn := func(from string) *cappedConn {
		a, _ := net.Pipe()
		return &cappedConn{Conn: a, cap: l, from: network(netip.MustParseAddr(from).String())}
	}
	admit := func(k *cappedConn) (*cappedConn, bool) {
		out, ok := l.admit(k)
		if out != nil {
			_ = out.Close()
		}
		return out, ok
	}
	var first []*cappedConn
	for range 4 {
		k := conn("192.0.2.1")
		if out, ok := admit(k); out != nil || !ok {
			t.Fatal("not admitted")
		}
		first = append(first, k)
	}
	// The fifth of one address pushes out the first stranger of that address.
	l.trust(first[0])
	fifth := conn("192.0.2.1")
	if out, ok := admit(fifth); out != first[1] || !ok {
		t.Error("not the oldest stranger of the address")
	}
	// With trusted ones only, a fifth is refused.
	for _, k := range []*cappedConn{first[2], first[3], fifth} {
		l.trust(k)
	}
	if out, ok := admit(conn("192.0.2.1")); out != nil || ok {
		t.Error("a trusted connection was pushed out")
	}
	// Loopback has no limit of its own.
	for range 6 {
		if _, ok := admit(conn("127.0.0.1")); !ok {
			t.Fatal("loopback refused")
		}
	}
	late := conn("127.0.0.1")
	if out, ok := admit(late); out == nil || !ok || l.open != 10 {
		t.Errorf("at the cap: %v %v, %d open", out, ok, l.open)
	}
	for _, k := range []*cappedConn{first[0], first[1], first[2], first[3], fifth, late} {
		_ = k.Close()
		_ = k.Close()
		l.trust(k)
	}
	for l.strangers.Len() > 0 {
		_ = l.strangers.Front().Value.(*cappedConn).Close()
	}
	if l.open != 0 || len(l.peers) != 0 {
		t.Errorf("%d open, %d peers", l.open, len(l.peers))
	}
}

// A body that trickles in ends, and does not hold back an answer.
//
// Attack: RES-01
func TestSlowBodiesEnd(t *testing.T) {
	s := Server(http.NotFoundHandler())
	if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.MaxHeaderBytes > 64<<10 {
		t.Errorf("%+v", s)
	}
	w := &deadlines{ResponseWriter: discard{http.Header{}}}
	f := newFace(t)
	f.handler.ServeHTTP(w, request("POST", "/v1/requests", bodies["createRequest"]))
	if len(w.read) != 2 || time.Until(w.read[0]) > bodyTime || !w.read[1].IsZero() || len(w.write) == 0 || time.Until(w.write[0]) > writeTime {
		t.Errorf("read deadlines %v, write deadlines %v", w.read, w.write)
	}
	w = &deadlines{ResponseWriter: discard{http.Header{}}}
	r := request("POST", "/v1/requests", bodies["createRequest"])
	r.Header.Del("Authorization")
	f.handler.ServeHTTP(w, r)
	if len(w.read) != 1 {
		t.Errorf("a refused call keeps no read deadline: %v", w.read)
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(b []byte) (int, error) { return len(b), nil }

type deadlines struct {
	http.ResponseWriter
	read, write []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = append(d.read, t); return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = append(d.write, t); return nil }

// Over TLS and HTTP/2 the connection below is found and trusted all the same.
//
// Invariant: A37
func TestTrustReachesThroughTLS(t *testing.T) {
	f := newFace(t)
	server := httptest.NewUnstartedServer(nil)
	l := newCap(server.Listener, 10, 10)
	server.Listener, server.Config, server.EnableHTTP2 = l, Server(f.handler), true
	server.StartTLS()
	defer server.Close()
	strangers := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.strangers.Len()
	}
	for i, token := range []string{"dpat_bad", goodToken} {
		r, err := http.NewRequest("GET", server.URL+"/v1/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("%s %v", res.Proto, res.Header)
		}
		if got := strangers(); got != 1-i {
			t.Errorf("%d strangers after %s", got, token)
		}
	}
}
