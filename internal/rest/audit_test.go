package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// log answers queries over n entries, ascending, limit by limit.
func log(n int, failAt string) func(q broker.EventQuery) ([]api.Event, string, error) {
	return func(q broker.EventQuery) ([]api.Event, string, error) {
		if q.Cursor == failAt && failAt != "" {
			return nil, "", errors.New("disk on fire")
		}
		var begin int64
		if q.Cursor != "" {
			if err := json.Unmarshal([]byte(q.Cursor), &begin); err != nil {
				return nil, "", err
			}
		}
		var out []api.Event
		for seq := begin + 1; seq <= int64(n) && len(out) < q.Limit; seq++ {
			out = append(out, api.Event{Seq: seq, Leaf: &api.EventLeaf{Bytes: "leafbytes"}})
		}
		last := begin + int64(len(out))
		next := ""
		if last < int64(n) {
			b, _ := json.Marshal(last)
			next = string(b)
		}
		return out, next, nil
	}
}

func export(f *face, query string) *httptest.ResponseRecorder {
	r := request("GET", "/v1/audit/events"+query, "")
	r.Header.Set("Accept", "application/x-ndjson")
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

func TestAuditExport(t *testing.T) {
	f := newFace(t)
	f.broker.events = log(450, "")
	if got := text200(t, f.call("GET", "/v1/audit/events?after=0&type=x&principal=user:ana", ""), 200); strings.Contains(got, "leafbytes") || strings.Count(got, `"seq":`) != 50 {
		t.Errorf("JSON: %s", got)
	}
	q := f.broker.last.(broker.EventQuery)
	if !q.HasAfter || q.After != 0 || q.Type != "x" || q.Principal != "user:ana" || q.Limit != 50 {
		t.Errorf("%+v", q)
	}
	f.call("GET", "/v1/audit/events", "")
	if q := f.broker.last.(broker.EventQuery); q.HasAfter {
		t.Errorf("%+v", q)
	}
	for query, want := range map[string]int{"?after=0": 450, "": 450, "?limit=7": 7, "?limit=200": 200} {
		w := export(f, query)
		lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
		if w.Code != 200 || w.Header().Get("Content-Type") != ndjson || len(lines) != want {
			t.Fatalf("%s: %d, %d lines, want %d", query, w.Code, len(lines), want)
		}
		for i, line := range lines {
			var e api.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Seq != int64(i+1) || e.Leaf == nil || e.Leaf.Bytes != "leafbytes" {
				t.Fatalf("line %d: %v %s", i, err, line)
			}
		}
	}
}

// An export that fails is never taken for a whole one.
//
// Invariant: A31
func TestBrokenExportIsCutOff(t *testing.T) {
	f := newFace(t)
	f.broker.events = log(450, "200")
	server := httptest.NewServer(f.handler)
	defer server.Close()
	r, err := http.NewRequest("GET", server.URL+"/v1/audit/events?after=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html, application/x-ndjson; q=0.5")
	r.Header.Set("Authorization", "Bearer "+goodToken)
	res, err := http.DefaultClient.Do(r)
	if err == nil {
		defer res.Body.Close()
		var b strings.Builder
		buf := make([]byte, 4096)
		for err == nil {
			var n int
			n, err = res.Body.Read(buf)
			b.Write(buf[:n])
		}
		if err.Error() == "EOF" {
			t.Fatalf("%d lines and a clean end", strings.Count(b.String(), "\n"))
		}
	}
	f.broker.refuse["Events"] = &broker.Error{Kind: broker.Forbidden, Code: "forbidden", Message: "For auditors."}
	if w := export(f, ""); w.Code != 403 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
