package httpkind

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/live"
)

// bound is A4's second. The machine that runs the tests may be busy, so the
// tests that fail on it have measured from the very instant of the end.
const bound = time.Second

// streams is an upstream with every way to keep a request open.
type streams struct {
	url      string
	open     atomic.Int64 // handlers running
	gone     chan struct{}
	received atomic.Int64
	lastByte atomic.Int64 // Unix nanoseconds of the last body byte seen
}

func newStreams(t *testing.T) *streams {
	u := &streams{gone: make(chan struct{}, 10_000)}
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, r *http.Request, every time.Duration, text string) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(every):
			}
		}
	}
	mux.HandleFunc("/sse", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		write(w, r, 10*time.Millisecond, "data: tick\n\n")
	})
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, r *http.Request) { write(w, r, 10*time.Millisecond, "x") })
	mux.HandleFunc("/length", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000000")
		write(w, r, 10*time.Millisecond, "x")
	})
	mux.HandleFunc("/flood", func(w http.ResponseWriter, r *http.Request) { write(w, r, 0, strings.Repeat("x", 64<<10)) })
	mux.HandleFunc("/burst", func(w http.ResponseWriter, r *http.Request) { // much at once, then nothing
		_, _ = w.Write(make([]byte, 1<<20))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/idle", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/poll", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 4096)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				u.received.Add(int64(n))
				u.lastByte.Store(time.Now().UnixNano())
			}
			if err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/deaf", func(w http.ResponseWriter, r *http.Request) { // does not read its body in time
		time.Sleep(500 * time.Millisecond)
		_, _ = io.Copy(io.Discard, r.Body)
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) { u.webSocket(w, r) })
	u.url = upstreamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.open.Add(1)
		defer func() {
			u.open.Add(-1)
			u.gone <- struct{}{}
		}()
		mux.ServeHTTP(w, r)
	}))
	return u
}

// webSocket answers 101 and echoes; with ?flood it writes without end.
func (u *streams) webSocket(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nDaypass-Subject: evil\r\n\r\n")
	if r.URL.RawQuery == "flood" {
		junk := make([]byte, 64<<10)
		for err == nil {
			_, err = c.Write(junk)
		}
		return
	}
	buf := make([]byte, 1024)
	for {
		n, err := rw.Read(buf)
		if n > 0 {
			u.lastByte.Store(time.Now().UnixNano())
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Invariant: A4, A5
// Attack: HTT-10
func TestStreamsAreCut(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{})
	for _, path := range []string{"/sse", "/chunked", "/length", "/idle"} {
		for _, how := range []string{live.ReasonExpired, live.ReasonRevoked, "skew", "killed"} {
			t.Run(path[1:]+" "+how, func(t *testing.T) {
				ttl := time.Hour
				if how == live.ReasonExpired {
					ttl = 300 * time.Millisecond
				}
				id, token := s.grant(everything, ttl)
				start := time.Now()
				req, _ := http.NewRequest("GET", s.url(path), nil)
				req.Header.Set("Authorization", "Bearer "+token)
				res, err := s.client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if path != "/idle" {
					if _, err := res.Body.Read(make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
				}
				end := start.Add(ttl)
				switch how {
				case live.ReasonRevoked:
					end = time.Now()
					s.index.End(id, s.now(), live.ReasonRevoked)
				case "skew":
					end = time.Now()
					s.skew.Add(int64(2 * time.Hour))
				case "killed":
					end = time.Now()
					for _, running := range s.guard.Sessions() {
						if running.Grant == id && !s.guard.Kill(running.ID) {
							t.Error("not killed")
						}
					}
				}
				_, err = io.Copy(io.Discard, res.Body)
				if late := time.Since(end); late > bound {
					t.Errorf("the last byte came %v after the end", late)
				}
				if err == nil {
					t.Error("the response looked complete")
				}
				select {
				case <-u.gone:
				case <-time.After(bound):
					t.Error("the upstream was not told")
				}
			})
		}
	}
	eventually(t, "all ends are on record", func() bool { return len(s.rec.of("session.ended")) == 16 })
	started, ended := s.rec.of("session.started"), s.rec.of("session.ended")
	if len(started) < 4 { // every SSE stream is a session of its own at once
		t.Errorf("%d started, %d ended", len(started), len(ended))
	}
	reasons := map[any]int{}
	for _, e := range ended {
		reasons[e.Details["ended_by"]]++
	}
	if reasons["expired"] != 8 || reasons["revoked"] != 4 || reasons["killed"] != 4 {
		t.Errorf("reasons %v", reasons)
	}
}

// Invariant: A4
// Attack: HTT-10
func TestALongPollIsAnsweredWhenItsGrantEnds(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{})
	id, token := s.grant(everything, time.Hour)
	go func() {
		for u.open.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		s.index.End(id, s.now(), live.ReasonReturned)
	}()
	res, body := s.do("GET", "/poll", token)
	if res.StatusCode != 401 || !strings.Contains(res.Header.Get("WWW-Authenticate"), "the grant was returned at ") {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if problemOf(t, body).AccessRequest == nil {
		t.Errorf("no hint: %s", body)
	}
	<-u.gone
}

// Invariant: A4
func TestAClientThatDoesNotReadIsCut(t *testing.T) {
	u := newStreams(t)
	for _, path := range []string{"/flood", "/ws?flood"} {
		t.Run(path, func(t *testing.T) {
			s := newSite(t, u.url, siteOptions{})
			id, token := s.grant(everything, time.Hour)
			extra := ""
			if path != "/flood" {
				extra = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
			}
			c, _ := s.raw("GET " + path + " HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\n" + extra + "\r\n")
			// Wait until the gateway is stuck in one write.
			eventually(t, "the gateway is blocked", func() bool {
				for _, conn := range s.connections() {
					if since := conn.stuck.Load(); since != 0 && time.Since(time.Unix(0, since)) > 200*time.Millisecond {
						return true
					}
				}
				return false
			})
			end := time.Now()
			s.index.End(id, s.now(), live.ReasonRevoked)
			eventually(t, "the session is closed", func() bool { return s.guard.Counts().Sessions == 0 })
			if late := time.Since(end); late > bound {
				t.Errorf("cut after %v", late)
			}
			select {
			case <-u.gone:
			case <-time.After(bound):
				t.Error("the upstream was not told")
			}
			// What the client's own kernel had taken may still be read, but it
			// ends in a reset, not in an end.
			if _, err := io.Copy(io.Discard, c); err == nil {
				t.Error("the connection looked properly closed")
			} else if !errors.Is(err, syscall.ECONNRESET) {
				t.Logf("error: %v", err)
			}
		})
	}
}

// Invariant: A4
func TestUploadsAreCut(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{})
	for _, path := range []string{"/upload", "/deaf"} {
		t.Run(path, func(t *testing.T) {
			id, token := s.grant(everything, time.Hour)
			c, r := s.raw("POST " + path + " HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\nContent-Length: 10000000000\r\n\r\n")
			stop := make(chan error, 1)
			go func() {
				junk := make([]byte, 16<<10)
				for {
					if _, err := c.Write(junk); err != nil {
						stop <- err
						return
					}
				}
			}()
			eventually(t, "the upstream is busy", func() bool { return u.open.Load() == 1 })
			time.Sleep(200 * time.Millisecond)
			end := time.Now()
			s.index.End(id, s.now(), live.ReasonRevoked)
			eventually(t, "the session is closed", func() bool { return s.guard.Counts().Sessions == 0 })
			if late := time.Since(end); late > bound {
				t.Errorf("cut after %v", late)
			}
			select {
			case <-u.gone:
			case <-time.After(bound):
				t.Error("the upstream was not told")
			}
			if at := u.lastByte.Load(); at != 0 && time.Unix(0, at).Sub(end) > bound {
				t.Errorf("a byte arrived %v after the end", time.Unix(0, at).Sub(end))
			}
			select {
			case <-stop:
			case <-time.After(2 * bound):
				t.Error("the client can still send")
			}
			if res, err := http.ReadResponse(r, nil); err == nil && res.StatusCode != 401 {
				t.Errorf("answered %d", res.StatusCode)
			}
		})
	}
}

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

// Invariant: A4
func TestTwoHundredStreamsAreCutAtOnce(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{})
	client := s.client()
	id, token := s.grant(everything, time.Hour)
	var ready, done sync.WaitGroup
	var mu sync.Mutex
	var last time.Time
	complete := 0
	for range 200 {
		ready.Add(1)
		done.Go(func() {
			req, _ := http.NewRequest("GET", s.url("/sse"), nil)
			req.Header.Set("Authorization", "Bearer "+token)
			res, err := client.Do(req)
			if err == nil {
				_, err = res.Body.Read(make([]byte, 1))
			}
			ready.Done()
			if err != nil {
				t.Error(err)
				return
			}
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				complete++
			}
			if now := time.Now(); now.After(last) {
				last = now
			}
		})
	}
	ready.Wait()
	end := time.Now()
	s.index.End(id, s.now(), live.ReasonRevoked)
	done.Wait()
	if late := last.Sub(end); late > bound {
		t.Errorf("the last of 200 streams was cut after %v", late)
	}
	if complete > 0 {
		t.Errorf("%d streams looked complete", complete)
	}
	eventually(t, "no session is left", func() bool { return s.guard.Counts().Sessions == 0 && u.open.Load() == 0 })
}

// Invariant: A4
func TestHTTP2StreamsAreCutOneByOne(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{tls: true})
	client := s.client()
	open := func(token, path string) *http.Response {
		t.Helper()
		req, _ := http.NewRequest("GET", s.url(path), nil)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.ProtoMajor != 2 {
			t.Fatalf("protocol %s", res.Proto)
		}
		return res
	}
	id, token := s.grant(everything, time.Hour)
	_, other := s.grant(everything, time.Hour)
	cut, stays := open(token, "/sse"), open(other, "/sse")
	defer cut.Body.Close()
	defer stays.Body.Close()
	end := time.Now()
	s.index.End(id, s.now(), live.ReasonRevoked)
	_, err := io.Copy(io.Discard, cut.Body)
	if late := time.Since(end); late > bound {
		t.Errorf("cut after %v", late)
	}
	if err == nil {
		t.Error("the response looked complete")
	}
	<-u.gone
	time.Sleep(bound) // beyond every timer of the cut
	if _, err := io.ReadFull(stays.Body, make([]byte, 200)); err != nil {
		t.Errorf("a stream of another grant was cut too: %v", err)
	}
	// A long poll gets its answer.
	id, token = s.grant(everything, time.Hour)
	go func() {
		for u.open.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		s.index.End(id, s.now(), live.ReasonRevoked)
	}()
	if res := open(token, "/poll"); res.StatusCode != 401 {
		t.Errorf("%d", res.StatusCode)
	}
	// A stream whose client takes nothing.
	id, token = s.grant(everything, time.Hour)
	blocked := open(token, "/flood")
	defer blocked.Body.Close()
	time.Sleep(300 * time.Millisecond)
	end = time.Now()
	s.index.End(id, s.now(), live.ReasonRevoked)
	eventually(t, "the blocked stream is closed", func() bool { return s.guard.Counts().Sessions == 1 })
	if late := time.Since(end); late > bound {
		t.Errorf("cut after %v", late)
	}
}

// Attack: HTT-07
func TestHTTP2StreamsThatAreResetAtOnce(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{tls: true})
	client := s.client()
	_, token := s.grant(everything, time.Hour)
	var most atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 250 {
				ctx, cancel := context.WithCancel(context.Background())
				req, _ := http.NewRequestWithContext(ctx, "GET", s.url("/poll"), nil)
				req.Header.Set("Authorization", "Bearer "+token)
				time.AfterFunc(time.Duration(i%5)*time.Millisecond, cancel)
				if res, err := client.Do(req); err == nil {
					_ = res.Body.Close()
				}
				cancel()
				if n := int64(s.guard.Counts().Sessions); n > most.Load() {
					most.Store(n)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 250 {
		t.Errorf("%d sessions at once", most.Load())
	}
	eventually(t, "all are over", func() bool { return s.guard.Counts().Sessions == 0 && u.open.Load() == 0 })
	if res, _ := s.do("GET", "/missing", token); res.StatusCode != 404 {
		t.Errorf("%d", res.StatusCode)
	}
}

// HTTP/2 would let a stream be reset while what it sent before waits in the
// kernel's buffers, behind a client that reads nothing, or slowly.
//
// Invariant: A4
func TestAnHTTP2ConnectionThatIsBehindIsCutWhole(t *testing.T) {
	u := newStreams(t)
	for _, c := range []struct{ path, how string }{{"/flood", "nothing"}, {"/flood", "slowly"}, {"/burst", "slowly"}} {
		t.Run(c.path+" "+c.how, func(t *testing.T) {
			s := newSite(t, u.url, siteOptions{tls: true})
			id, token := s.grant(everything, time.Hour)
			reader := &lazy{stop: make(chan struct{})}
			defer close(reader.stop)
			tr := &http.Transport{
				ForceAttemptHTTP2: true,
				HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerStream: 4<<20 - 1, MaxReceiveBufferPerConnection: 4<<20 - 1},
				DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					c, err := net.Dial("tcp", s.addr)
					if err != nil {
						return nil, err
					}
					_ = c.(*net.TCPConn).SetReadBuffer(4096)
					reader.Conn = c
					t := tls.Client(reader, &tls.Config{RootCAs: s.root, ServerName: "orders-api.gw.test", NextProtos: []string{"h2"}})
					return t, t.HandshakeContext(ctx)
				},
			}
			defer tr.CloseIdleConnections()
			req, _ := http.NewRequest("GET", s.url(c.path), nil)
			req.Header.Set("Authorization", "Bearer "+token)
			res, err := (&http.Client{Transport: tr}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			reader.mode.Store(c.how)
			go func() { _, _ = io.Copy(io.Discard, res.Body) }()
			time.Sleep(300 * time.Millisecond)
			end := time.Now()
			s.index.End(id, s.now(), live.ReasonRevoked)
			eventually(t, "the connection is gone", func() bool { return len(s.connections()) == 0 })
			if late := time.Since(end); late > bound {
				t.Errorf("cut after %v", late)
			}
			time.Sleep(2 * bound)
			if last := time.Unix(0, reader.last.Load()).Sub(end); last > bound {
				t.Errorf("a byte came %v after the end", last)
			}
		})
	}
}

// lazy is a connection whose reads can be made to stop, or to take their time.
type lazy struct {
	net.Conn
	mode atomic.Value // of string
	last atomic.Int64 // Unix nanoseconds of the last byte
	stop chan struct{}
}

func (c *lazy) Read(p []byte) (int, error) {
	switch mode, _ := c.mode.Load().(string); mode {
	case "nothing":
		<-c.stop
		return 0, io.ErrUnexpectedEOF
	case "slowly":
		time.Sleep(20 * time.Millisecond)
		p = p[:min(len(p), 8<<10)]
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.last.Store(time.Now().UnixNano())
	}
	return n, err
}

// Attack: RES-04
func TestNothingIsLeftBehind(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{})
	client := s.client()
	_, token := s.grant(everything, time.Hour)
	round := func(n int) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if i%4 == 0 {
					c, r := openWebSocket(t, s, token, "")
					_, _ = io.WriteString(c, "x\n")
					_, _ = r.ReadString('\n')
					_ = c.Close()
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*time.Millisecond)
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, "GET", s.url([]string{"", "/sse", "/poll", "/chunked"}[i%4]), nil)
				req.Header.Set("Authorization", "Bearer "+token)
				if res, err := client.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
			})
		}
		wg.Wait()
		client.CloseIdleConnections()
		eventually(t, "all handlers end", func() bool { return s.guard.Counts().Sessions == 0 && u.open.Load() == 0 })
		for len(u.gone) > 0 {
			<-u.gone
		}
	}
	round(40)
	goroutines, files := settle(s.gw.upstreams.close)
	for range 12 {
		round(80)
	}
	g2, f2 := settle(s.gw.upstreams.close)
	if g2 > goroutines+10 {
		t.Errorf("goroutines: %d before, %d after", goroutines, g2)
	}
	if f2 > files+10 {
		t.Errorf("open files: %d before, %d after", files, f2)
	}
}

// settle waits for the counts to stop falling.
func settle(step func()) (goroutines, files int) {
	goroutines, files = 1<<30, 1<<30
	for calm := 0; calm < 10; {
		step()
		time.Sleep(20 * time.Millisecond)
		g, f := runtime.NumGoroutine(), openFiles()
		if g >= goroutines && f >= files {
			calm++
		} else {
			calm = 0
		}
		goroutines, files = min(g, goroutines), min(f, files)
	}
	return goroutines, files
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
