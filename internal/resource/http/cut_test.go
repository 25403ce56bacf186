package httpkind

import (
	"context"
	"errors"
	"io"
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
	if res.StatusCode != 401 || !strings.Contains(res.Header.Get("WWW-Authenticate"), "the grant ended at ") {
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
