package rest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/daypass/daypass/internal/broker"
)

// moving is a request whose version moves at times after the start.
type moving struct {
	start time.Time
	steps []step
}

type step struct {
	at      time.Duration
	state   string
	version int64
}

func (m *moving) view() broker.View {
	v := pendingView(0)
	for _, s := range m.steps {
		if time.Since(m.start) >= s.at {
			v.State, v.Version = s.state, s.version
		}
	}
	return v
}

func (m *moving) wait(ctx context.Context, version int64) (broker.View, error) {
	for {
		if v := m.view(); v.Version != version {
			return v, nil
		}
		next := time.Hour
		for _, s := range m.steps {
			if left := s.at - time.Since(m.start); left > 0 && left < next {
				next = left
			}
		}
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return broker.View{}, ctx.Err()
		}
	}
}

func TestLongPolling(t *testing.T) {
	for _, c := range []struct {
		name, query, known string
		steps              []step
		status             int
		after              time.Duration
		etag               string
	}{
		{"no wait", "", "", []step{{0, "pending", 1}}, 200, 0, `"v1"`},
		{"not modified", "", `"v1"`, []step{{0, "pending", 1}}, 304, 0, `"v1"`},
		{"weak, in a list", "", `"x", W/"v1"`, []step{{0, "pending", 1}}, 304, 0, `"v1"`},
		{"any", "", `*`, []step{{0, "pending", 1}}, 304, 0, `"v1"`},
		{"modified", "", `"v0"`, []step{{0, "pending", 1}}, 200, 0, `"v1"`},
		{"decided already", "?wait=30s", "", []step{{0, "approved", 3}}, 200, 0, `"v3"`},
		{"decided meanwhile, after a vote", "?wait=30s", "", []step{{0, "pending", 1}, {5 * time.Second, "pending", 2}, {9 * time.Second, "approved", 3}}, 200, 9 * time.Second, `"v3"`},
		{"not decided", "?wait=30s", "", []step{{0, "pending", 1}, {5 * time.Second, "pending", 2}}, 200, 30 * time.Second, `"v2"`},
		{"known, moves", "?wait=30s", `"v1"`, []step{{0, "pending", 1}, {5 * time.Second, "pending", 2}}, 200, 5 * time.Second, `"v2"`},
		{"known, does not move", "?wait=1m", `"v1"`, []step{{0, "approved", 1}}, 304, time.Minute, `"v1"`},
		{"known is old", "?wait=1m", `"v1"`, []step{{0, "pending", 2}}, 200, 0, `"v2"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &moving{time.Now(), c.steps}
				f := newFace(t)
				f.broker.view, f.broker.wait = m.view, m.wait
				r := request("GET", "/v1/requests/req_a"+c.query, "")
				if c.known != "" {
					r.Header.Set("If-None-Match", c.known)
				}
				res := f.do(r)
				if res.StatusCode != c.status || res.Header.Get("ETag") != c.etag || time.Since(m.start) != c.after {
					t.Errorf("%d %s after %v", res.StatusCode, res.Header.Get("ETag"), time.Since(m.start))
				}
			})
		})
	}
}

// A wait ends with its client, with nothing left behind, and with the server,
// with an answer.
//
// Invariant: A37
func TestWaitsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closing, stop := context.WithCancel(t.Context())
		m := &moving{time.Now(), []step{{0, "pending", 1}}}
		f := newFace(t, func(d *Deps) { d.Closing = closing })
		f.broker.view, f.broker.wait = m.view, m.wait

		ctx, gone := context.WithCancel(t.Context())
		var aborted atomic.Bool
		go func() {
			defer func() { aborted.Store(recover() == http.ErrAbortHandler) }()
			f.handler.ServeHTTP(httptest.NewRecorder(), request("GET", "/v1/requests/req_a?wait=1m", "").WithContext(ctx))
		}()
		time.Sleep(time.Second)
		gone()
		synctest.Wait()
		if !aborted.Load() {
			t.Error("the client went, the wait did not")
		}

		answered := make(chan int, 1)
		go func() { answered <- f.call("GET", "/v1/requests/req_a?wait=1m", "").StatusCode }()
		time.Sleep(time.Second)
		stop()
		synctest.Wait()
		select {
		case status := <-answered:
			if status != 200 {
				t.Errorf("status %d", status)
			}
		default:
			t.Error("the server stopped, the wait did not")
		}
	})
}

// What the caller may no longer see at the end of a wait is not shown.
func TestWaitAsksAgainAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFace(t)
		f.broker.wait = func(ctx context.Context, _ int64) (broker.View, error) {
			<-ctx.Done()
			f.broker.mu.Lock()
			f.broker.refuse["Request"] = &broker.Error{Kind: broker.NotFound, Code: "not_found", Message: "No such request."}
			f.broker.mu.Unlock()
			return broker.View{}, ctx.Err()
		}
		problemIn(t, f.call("GET", "/v1/requests/req_a?wait=5s", ""), 404, "not_found")
	})
}

func FuzzIfNoneMatch(f *testing.F) {
	for _, seed := range []string{`"v1"`, `W/"v1"`, `"a", "v1"`, `*`, ``, `v1`, `"v1`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := matches([]string{header}, "v1")
		if got && !strings.Contains(header, `"v1"`) && !strings.Contains(header, "*") {
			t.Fatalf("%q matches", header)
		}
		if !matches([]string{header, `"v1"`}, "v1") {
			t.Fatal("a second header is not looked at")
		}
	})
}
