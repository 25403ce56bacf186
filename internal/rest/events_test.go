package rest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// pipe is a ResponseWriter that tests read while it is written.
type pipe struct {
	mu     sync.Mutex
	header http.Header
	status int
	text   strings.Builder
	broken bool
}

func (p *pipe) Header() http.Header { return p.header }
func (p *pipe) WriteHeader(s int)   { p.status = s }
func (p *pipe) Flush()              {}
func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return 0, io.ErrClosedPipe
	}
	return p.text.Write(b)
}

func (p *pipe) got() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// follow opens a stream and returns what it wrote and when it ended.
func follow(f *face, r *http.Request) (*pipe, <-chan struct{}) {
	p := &pipe{header: http.Header{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.handler.ServeHTTP(p, r)
	}()
	return p, done
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func TestEventStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFace(t)
		request1 := approvedView(2).Request
		f.broker.stream = func(ctx context.Context, after int64, send func(api.StreamEvent) error) error {
			if after != 41 {
				t.Errorf("after %d", after)
			}
			time.Sleep(time.Second)
			if err := send(api.StreamEvent{Seq: 42, Type: "request.approved\nid: 1", Request: &request1}); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		r := request("GET", "/v1/events", "").WithContext(ctx)
		r.Header.Set("Last-Event-ID", "41")
		p, done := follow(f, r)
		time.Sleep(31 * time.Second)
		lines := strings.Split(p.got(), "\n")
		if p.status != 200 || p.header.Get("Content-Type") != "text/event-stream" || lines[0] != "retry: 2000" ||
			lines[2] != "id: 42" || lines[3] != "event: request.approvedid: 1" || !strings.HasPrefix(lines[4], `data: {"seq":42,`) || lines[5] != "" {
			t.Errorf("%d %q", p.status, lines)
		}
		if n := strings.Count(p.got(), ": still here\n\n"); n != 2 {
			t.Errorf("%d heartbeats in 31 s", n)
		}
		cancel()
		synctest.Wait()
		if !ended(done) {
			t.Error("the client went, the stream did not")
		}
	})
}

// A stream ends with the server, with the token, and with a client that takes
// nothing any more.
//
// Invariant: A37
// Attack: WEB-08
func TestEventStreamsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closing, stop := context.WithCancel(t.Context())
		f := newFace(t, func(d *Deps) { d.Closing = closing })
		held := func(ctx context.Context, _ int64, _ func(api.StreamEvent) error) error {
			<-ctx.Done()
			return ctx.Err()
		}
		f.broker.stream = held
		p, done := follow(f, request("GET", "/v1/events", ""))
		time.Sleep(time.Second)
		p.mu.Lock()
		p.broken = true
		p.mu.Unlock()
		time.Sleep(heartbeat)
		synctest.Wait()
		if !ended(done) {
			t.Error("a stream that cannot be written goes on")
		}

		f.broker.stream = func(context.Context, int64, func(api.StreamEvent) error) error {
			time.Sleep(time.Minute)
			return &broker.Error{Kind: broker.Unauthorized, Code: "unauthorized", Message: "The token ended."}
		}
		p, done = follow(f, request("GET", "/v1/events", ""))
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if !ended(done) || strings.Contains(p.got(), "The token ended") {
			t.Error("a stream without a token goes on")
		}

		f.broker.stream = held
		_, done = follow(f, request("GET", "/v1/events", ""))
		time.Sleep(time.Second)
		stop()
		synctest.Wait()
		if !ended(done) {
			t.Error("the server stopped, the stream did not")
		}
	})
}

func TestLastEventID(t *testing.T) {
	f := newFace(t)
	after := int64(-2)
	f.broker.stream = func(_ context.Context, a int64, _ func(api.StreamEvent) error) error { after = a; return nil }
	for _, c := range []struct {
		header, query string
		want          int64
	}{{"", "", -1}, {"0", "", 0}, {"7", "", 7}, {"", "9", 9}, {"7", "9", 7}} {
		r := request("GET", "/v1/events?last_event_id="+c.query, "")
		if c.header != "" {
			r.Header.Set("Last-Event-ID", c.header)
		}
		f.do(r)
		if after != c.want {
			t.Errorf("%q %q: after %d", c.header, c.query, after)
		}
	}
	for _, bad := range []string{"x", "-1", "1.5", "99999999999999999999", "1 "} {
		r := request("GET", "/v1/events", "")
		r.Header.Set("Last-Event-ID", bad)
		problemIn(t, f.do(r), 400, "malformed")
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, request("HEAD", "/v1/events", ""))
	if w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
}
