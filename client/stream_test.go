package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/daypass/daypass/api"
)

func TestFollowRequest(t *testing.T) {
	c, s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch n {
		case 1:
			w.Header().Set("ETag", `"1"`)
			reply(w, 200, request("pending"))
		case 2: // nothing moved
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		case 3, 4: // the server is restarted
			reply(w, 503, api.Problem{})
		case 5:
			hangUp(w)
		case 6:
			w.Header().Set("ETag", `"2"`)
			reply(w, 200, request("approved"))
		}
	})
	c.attempts = 1
	r, err := c.WaitRequest(t.Context(), "req_a")
	if err != nil || r.State != "approved" {
		t.Fatalf("WaitRequest = %v, %v", r, err)
	}
	if first := s.list()[0]; first.URL.RawQuery != "" || first.Header.Get("If-None-Match") != "" {
		t.Errorf("the first call waits: %s", first.URL)
	}
	for i, call := range s.list()[1:] {
		if call.URL.RawQuery != "wait=30s" || call.Header.Get("If-None-Match") != `"1"` {
			t.Errorf("call %d: %s, If-None-Match %q", i+2, call.URL, call.Header.Get("If-None-Match"))
		}
	}
	if len(s.list()) != 6 {
		t.Errorf("%d calls, want 6", len(s.list()))
	}
}

func TestFollowRequestEndsWithANo(t *testing.T) {
	c, s := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.Header().Set("ETag", `"1"`)
			reply(w, 200, request("pending"))
			return
		}
		reply(w, 404, api.Problem{Code: "not_found"})
	})
	if _, err := c.WaitRequest(t.Context(), "req_a"); Status(err) != 404 || len(s.list()) != 2 {
		t.Errorf("err = %v after %d calls", err, len(s.list()))
	}
}

func TestFollowRequestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			w.Header().Set("ETag", `"1"`)
			reply(w, 200, request("pending"))
			return
		}
		cancel()
		<-r.Context().Done()
	})
	if _, err := c.WaitRequest(ctx, "req_a"); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestEventsResume(t *testing.T) {
	c, s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		switch n {
		case 1: // one whole event, and one that is cut off half-way
			_, _ = io.WriteString(w, "retry: 5\n\n: hello\n\nid: 7\nevent: request.created\ndata: {\"seq\":7}\n\nid: 8\nevent: request.approved\ndata: {\"se")
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			_, _ = io.WriteString(w, "id: 8\r\nevent: request.approved\r\ndata: {\"seq\":\r\ndata: 8}\r\n\r\n")
		case 4:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	c.attempts = 1
	var got []string
	for e, err := range c.Events(t.Context(), "6") {
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Decode()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(e.ID, " ", e.Type, " ", d.Seq))
	}
	want := []string{"7 request.created 7", "8 request.approved 8"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	for i, last := range []string{"6", "7", "7", "8"} {
		if h := s.list()[i].Header.Get("Last-Event-ID"); h != last {
			t.Errorf("call %d: Last-Event-ID %q, want %q", i+1, h, last)
		}
	}
}

func TestEventsOutliveASilentConnection(t *testing.T) {
	c, s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			_, _ = io.WriteString(w, "id: 1\ndata: {}\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	c.idle = 20 * time.Millisecond
	n := 0
	for _, err := range c.Events(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 || len(s.list()) != 2 || s.list()[1].Header.Get("Last-Event-ID") != "1" {
		t.Errorf("%d events in %d calls", n, len(s.list()))
	}
}

func TestEventsEndWithANo(t *testing.T) {
	c, s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { reply(w, 401, api.Problem{Code: "invalid_token"}) })
	for _, err := range c.Events(t.Context(), "") {
		if Status(err) != 401 {
			t.Fatalf("err = %v", err)
		}
	}
	if len(s.list()) != 1 {
		t.Errorf("%d calls, want 1", len(s.list()))
	}
}

func line(seq int) string { return fmt.Sprintf(`{"seq":%d,"details":null}`+"\n", seq) }

func TestExportAuditGoesOnAfterABreak(t *testing.T) {
	c, s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch n {
		case 1:
			_, _ = io.WriteString(w, line(1)+line(2)+`{"seq":3,"det`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 2:
			_, _ = io.WriteString(w, line(3)+line(4))
		}
	})
	var got []int64
	for l, err := range c.ExportAudit(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if string(l.Raw)+"\n" != line(int(l.Event.Seq)) {
			t.Errorf("line %q of entry %d", l.Raw, l.Event.Seq)
		}
		got = append(got, l.Event.Seq)
	}
	if fmt.Sprint(got) != "[1 2 3 4]" {
		t.Errorf("got %v", got)
	}
	for i, after := range []string{"after=0", "after=2", "after=4"} {
		if s.list()[i].URL.RawQuery != after || s.list()[i].Header.Get("Accept") != "application/x-ndjson" {
			t.Errorf("call %d: %s", i+1, s.list()[i].URL)
		}
	}
}

func TestExportAuditOutOfOrder(t *testing.T) {
	c, s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, line(2)+line(1)) })
	var last error
	for _, err := range c.ExportAudit(t.Context(), 0) {
		last = err
	}
	if last == nil || len(s.list()) != 1 {
		t.Errorf("err = %v after %d calls", last, len(s.list()))
	}
}

// FuzzEvents: whatever a server sends, the parser neither panics nor depends
// on how the bytes arrive, and an ID that it resumes with can be a header.
func FuzzEvents(f *testing.F) {
	f.Add("id: 1\nevent: x\ndata: {}\n\n")
	f.Add("\uFEFFdata:a\ndata\n\n: c\nretry: 10\nid\n\n")
	f.Add("id: a\x00b\r\ndata: 1\r\n\r\nid: \x1b\ndata: 2\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		parse := func(r io.Reader) (string, string) {
			s := newTestStream(t, r)
			defer s.close()
			var b strings.Builder
			p := eventParser{}
			p.read(s, func(e Event, _ error) bool {
				fmt.Fprintf(&b, "%q\n", e)
				return true
			})
			return b.String(), p.last
		}
		whole, last := parse(strings.NewReader(text))
		bytewise, _ := parse(iotest.OneByteReader(strings.NewReader(text)))
		if whole != bytewise {
			t.Errorf("%q\nwhole    %s\nbytewise %s", text, whole, bytewise)
		}
		for i := range len(last) {
			if last[i] < ' ' || last[i] == 0x7f {
				t.Errorf("ID %q", last)
			}
		}
	})
}

func newTestStream(t *testing.T, r io.Reader) *stream {
	ctx, cancel := context.WithCancelCause(t.Context())
	return newStream(ctx, cancel, &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(r)}, time.Hour)
}
