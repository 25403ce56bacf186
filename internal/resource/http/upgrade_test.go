package httpkind

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/live"
)

// openWebSocket sends an upgrade and returns the connection after 101.
func openWebSocket(t *testing.T, s *site, token, headers string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, r := s.raw("GET /ws HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nDaypass-Subject: liar\r\n" + headers + "\r\n")
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 101 || res.Header.Get("Daypass-Subject") != "" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	return c, r
}

// Invariant: A4, A26
// Attack: HTT-10
func TestWebSocketsAreCut(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{})
	id, token := s.grant(everything, time.Hour)
	c, r := openWebSocket(t, s, token, "")
	for i := range 10 {
		word := fmt.Sprintf("ping %d\n", i)
		if _, err := io.WriteString(c, word); err != nil {
			t.Fatal(err)
		}
		if got, err := r.ReadString('\n'); err != nil || got != word {
			t.Fatalf("%q %v", got, err)
		}
	}
	if got := s.guard.Sessions(); len(got) != 1 || got[0].Doing != "GET /ws" || got[0].Grant != id {
		t.Errorf("sessions %+v", got)
	}
	stop := make(chan error, 1)
	go func() { // a client that goes on sending
		for {
			if _, err := io.WriteString(c, "x\n"); err != nil {
				stop <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	end := time.Now()
	s.index.End(id, s.now(), live.ReasonRevoked)
	_, err := io.Copy(io.Discard, r)
	if late := time.Since(end); late > bound {
		t.Errorf("the last byte came %v after the end", late)
	}
	// The kernel tells of a reset once: to the reader or to the writer.
	if sent := <-stop; err == nil && !errors.Is(sent, syscall.ECONNRESET) {
		t.Errorf("properly closed, which a peer could take for done: %v", sent)
	}
	<-u.gone
	if at := u.lastByte.Load(); time.Unix(0, at).Sub(end) > bound {
		t.Errorf("the upstream got a byte %v after the end", time.Unix(0, at).Sub(end))
	}
	eventually(t, "session.ended is on record", func() bool { return len(s.rec.of("session.ended")) == 1 })
	e := s.rec.of("session.ended")[0]
	if e.Details["ended_by"] != live.ReasonRevoked || e.Details["bytes_in"].(int64) < 70 || e.Details["status"] != 101 {
		t.Errorf("details %v", e.Details)
	}
	if len(s.rec.of("session.started")) != 1 {
		t.Error("session.started is not on record")
	}
}

// Invariant: A27, A28
// Attack: HTT-11
func TestUpgradesThatDoNotHappen(t *testing.T) {
	var conns sync.Map
	n := atomic.Int64{}
	url := upstreamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns.Store(r.RemoteAddr, true)
		n.Add(1)
		if r.URL.Path == "/unasked" {
			c, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = c.Close()
			return
		}
		if r.Header.Get("Upgrade") != "" && r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("upgrade %q reached the upstream", r.Header.Get("Upgrade"))
		}
		if len(r.Header["Http2-Settings"]) > 0 {
			t.Error("HTTP2-Settings reached the upstream")
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	s := newSite(t, url, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	head := " HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\n"
	for range 3 {
		if got := s.rawStatus("GET /ws" + head + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); got != 403 {
			t.Errorf("%d", got)
		}
	}
	used := 0
	conns.Range(func(any, any) bool { used++; return true })
	if used != 3 {
		t.Errorf("3 refused upgrades used %d upstream connections", used)
	}
	for _, upgrade := range []string{"h2c", "TLS/1.0", "spdy/3.1", "websocket, h2c"} {
		if got := s.rawStatus("GET /ws" + head + "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nUpgrade: " + upgrade + "\r\n\r\n"); got != 403 {
			t.Errorf("%s: %d", upgrade, got)
		}
	}
	if got := s.rawStatus("GET /unasked" + head + "\r\n"); got != 502 {
		t.Errorf("101 unasked: %d", got)
	}
}

// Invariant: A27
func TestConnectionsBoundToAuthenticationAreNotShared(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	url := upstreamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.RemoteAddr]++
		mu.Unlock()
		if r.URL.Path == "/ntlm" {
			w.Header().Set("WWW-Authenticate", "Basic realm=x, NTLM")
			w.WriteHeader(401)
		}
		_, _ = io.WriteString(w, "x")
	}))
	s := newSite(t, url, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	for range 3 {
		s.do("GET", "/ntlm", token)
		s.do("POST", "/plain", token)
		s.do("GET", "/plain", token)
	}
	mu.Lock()
	defer mu.Unlock()
	// Each /ntlm answer spends its connection, so three groups use three.
	if len(seen) < 3 {
		t.Errorf("connections %v", seen)
	}
	total := 0
	for _, n := range seen {
		total += n
	}
	if total != 9 {
		t.Errorf("%d requests, want 9 and none twice", total)
	}
}
