package daemon_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// cutBound is how long after the end a byte may still come (A4).
const cutBound = time.Second

// flowing is one connection through the gateway, read until it is cut.
type flowing struct {
	what  string
	conn  net.Conn
	ended chan time.Time // when the read side saw the end
}

// connect opens a connection of some sort and returns when it carries.
func (s *server) connect(token, what string) *flowing {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.gate)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.flow(conn, token, what)
}

// flow opens a connection of some sort over conn.
func (s *server) flow(conn net.Conn, token, what string) *flowing {
	s.t.Helper()
	s.t.Cleanup(func() { conn.Close() })
	more := ""
	if what == "echo" {
		more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	}
	if what == "flood" { // the client does not read: the gateway blocks in a write
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: open-api.localhost\r\nAuthorization: Bearer %s\r\n%s\r\n", what, token, more)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 200 && resp.StatusCode != 101 {
		s.t.Fatalf("%s: %v %v", what, resp, err)
	}
	f := &flowing{what: what, conn: conn, ended: make(chan time.Time, 1)}
	var from io.Reader = resp.Body
	if what == "echo" {
		from = in
		fmt.Fprint(conn, "hello")
		if b, err := in.Peek(5); err != nil || string(b) != "hello" {
			s.t.Fatalf("the upgraded connection echoes %q, %v", b, err)
		}
	}
	if what != "flood" {
		go func() {
			_, _ = io.Copy(io.Discard, from)
			f.ended <- time.Now()
		}()
	}
	return f
}

// over waits until the connection is cut and returns when that was.
func (f *flowing) over(t *testing.T) time.Time {
	t.Helper()
	if f.what == "flood" {
		// What the gateway holds of it is its matter; what the kernels hold can
		// still be read, then comes the end.
		go func() {
			_, _ = io.Copy(io.Discard, f.conn)
			f.ended <- time.Now()
		}()
	}
	select {
	case at := <-f.ended:
		return at
	case <-time.After(patience):
		t.Fatalf("%s: not cut", f.what)
		return time.Time{}
	}
}

var sorts = []string{"stream", "idle", "echo", "flood"}

// Invariant: A4
// Attack: HTT-10
func TestCutAtExpiry(t *testing.T) {
	s := serve(t)
	r, token := s.pass(3 * time.Second)
	var open []*flowing
	for _, what := range sorts {
		open = append(open, s.connect(token, what))
	}
	end := r.Grant.ExpiresAt.Time
	time.Sleep(time.Until(end.Add(-300 * time.Millisecond)))
	if list := decode[api.List[api.Session]](s.call("user:cy", "GET", "/v1/sessions", nil).is(200)); len(list.Items) != len(sorts) {
		t.Errorf("before the end there are %d sessions", len(list.Items))
	}
	for _, f := range open[:3] {
		at := f.over(t)
		if late := at.Sub(end); late > cutBound || late < -time.Millisecond {
			t.Errorf("%s was cut %v after the end", f.what, late)
		} else {
			t.Logf("%s: cut %v after the end", f.what, late.Round(time.Millisecond))
		}
	}
	s.gone(t, end)
	open[3].over(t)
	a := s.through(token, "GET", "open-api", "/x").is(401)
	if got := a.header.Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_token"`) || !strings.Contains(got, "the grant ended at "+r.Grant.ExpiresAt.String()) {
		t.Errorf("WWW-Authenticate is %s", got)
	}
	soon(t, "the grant is recorded as expired", func() bool {
		g := decode[api.Grant](s.call("user:cy", "GET", "/v1/grants/"+r.Grant.ID, nil).is(200))
		return g.State == "ended" && *g.EndedReason == "expired"
	})
	s.ended(t, len(sorts))
}

// gone checks that no session outlives at, also not one that is blocked.
func (s *server) gone(t *testing.T, at time.Time) {
	t.Helper()
	time.Sleep(time.Until(at.Add(cutBound)))
	if list := decode[api.List[api.Session]](s.call("user:ada", "GET", "/v1/sessions", nil).is(200)); len(list.Items) != 0 {
		t.Errorf("%v after the end there are sessions: %+v", cutBound, list.Items)
	}
}

// ended checks that each session has its end on record.
func (s *server) ended(t *testing.T, n int) {
	t.Helper()
	// A session that is cut before it turned out to be long-lived has no
	// beginning on record.
	soon(t, "the end of each session is on record", func() bool { return len(s.events("&type=session.ended")) == n })
	for _, e := range s.events("&type=session.ended") {
		if e.Session == nil || e.Grant == nil || e.Actor != "user:cy" {
			t.Errorf("%+v", e)
		}
	}
	s.verify()
}

// Invariant: A4, A5
// Attack: HTT-10, TOK-08
func TestCutAtRevocation(t *testing.T) {
	s := serve(t)
	r, token := s.pass(time.Hour)
	var open []*flowing
	for _, what := range sorts {
		open = append(open, s.connect(token, what))
	}
	s.call("user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", m{"reason": "enough"}).is(200)
	end := time.Now()
	for _, f := range open[:3] {
		late := f.over(t).Sub(end)
		if late > cutBound {
			t.Errorf("%s was cut %v after the revocation", f.what, late)
		}
		t.Logf("%s: cut %v after the answer", f.what, late.Round(time.Millisecond))
	}
	s.through(token, "GET", "open-api", "/x").is(401)
	s.gone(t, end)
	open[3].over(t)
	s.ended(t, len(sorts))
}

// TestKillSession: the connection is cut, the grant lives on.
func TestKillSession(t *testing.T) {
	s := serve(t)
	_, token := s.pass(time.Hour)
	f := s.connect(token, "idle")
	list := decode[api.List[api.Session]](s.call("user:cy", "GET", "/v1/sessions", nil).is(200))
	if len(list.Items) != 1 || list.Items[0].Principal != "user:cy" || list.Items[0].Gateway != "http" {
		t.Fatalf("%+v", list.Items)
	}
	path := "/v1/sessions/" + list.Items[0].ID
	s.call("user:eve", "DELETE", path, nil).is(404, "not_found")
	s.call("user:cy", "DELETE", path, nil).is(202)
	f.over(t)
	s.through(token, "GET", "open-api", "/x").is(200)
}

// TestDrain: after SIGTERM open connections still end when their grants do,
// and the process ends with 0 and without losing an entry.
//
// Invariant: A4
func TestDrain(t *testing.T) {
	s := serve(t)
	r, token := s.pass(3 * time.Second)
	f := s.connect(token, "stream")
	done := make(chan int)
	go func() { done <- s.term() }()
	end := r.Grant.ExpiresAt.Time
	if late := f.over(t).Sub(end); late > cutBound {
		t.Errorf("on a draining server the stream was cut %v after its end", late)
	} else {
		t.Logf("cut %v after the end", late)
	}
	if code := <-done; code != 0 {
		t.Errorf("it ended with %d", code)
	}
	s.verify("--checkpoint", s.path("data/checkpoint.note"))
}
