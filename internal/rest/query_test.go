package rest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

func TestQueries(t *testing.T) {
	f := newFace(t)
	for _, c := range []struct {
		query string
		code  int
	}{
		{"", 200}, {"limit=", 200}, {"limit=1&state=pending&role=reviewer&resource=a", 200}, {"limit=200", 200}, {"unknown=1", 200}, {"access_token=x", 200},
		{"limit=0", 422}, {"limit=201", 422}, {"limit=-1", 422}, {"limit=%2B5", 422}, {"limit=ten", 422}, {"limit=1.0", 422},
		{"limit=99999999999999999999", 422}, {"state=Pending", 422}, {"state=all", 422}, {"role=admin", 422}, {"resource=" + strings.Repeat("x", 300), 422},
		{"limit=1&limit=2", 400}, {"state=%zz", 400}, {"a;b=1", 400}, {"cursor=" + strings.Repeat("x", 600), 400}, {"cursor=a%20b", 400},
	} {
		res := f.call("GET", "/v1/requests?"+c.query, "")
		if res.StatusCode != c.code {
			t.Errorf("%q: %d, want %d", c.query, res.StatusCode, c.code)
		}
	}
	f.broker.refuse["Requests"] = &broker.Error{Kind: broker.Malformed, Code: "invalid_cursor", Field: "query.cursor", Message: "Begin again."}
	problemIn(t, f.call("GET", "/v1/requests?cursor=abc", ""), 400, "invalid_cursor")
	f.broker.refuse = map[string]error{}
	f.call("GET", "/v1/requests", "")
	if q := f.broker.last.(broker.RequestQuery); q.Limit != 50 || q.Cursor != "" {
		t.Errorf("%+v", q)
	}
	var l struct {
		Items []json.RawMessage `json:"items"`
		Next  *string           `json:"next_cursor"`
	}
	if err := json.Unmarshal([]byte(text200(t, f.call("GET", "/v1/requests", ""), 200)), &l); err != nil || len(l.Items) != 1 || *l.Next != "next" {
		t.Errorf("%v %+v", err, l)
	}
	if got := text200(t, f.call("GET", "/v1/sessions", ""), 200); got != `{"items":[],"next_cursor":null}`+"\n" {
		t.Errorf("an empty list is %s", got)
	}
	problemIn(t, f.call("GET", "/v1/audit/proof", ""), 422, "invalid_field")
	for _, wait := range []string{"61s", "30", "-1s", "0s", "1m1s", "forever"} {
		problemIn(t, f.call("GET", "/v1/requests/req_a?wait="+wait, ""), 422, "invalid_field")
	}
}

// Lists that the broker answers whole are paged here; a cursor works for its
// list and its caller alone.
//
// Attack: WEB-07, RES-10
func TestCursorsOfWholeLists(t *testing.T) {
	f := newFace(t)
	begin := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	for i := range 120 {
		f.broker.list = append(f.broker.list, api.Session{ID: fmt.Sprintf("ses_%03d", i), StartedAt: api.TimeOf(begin.Add(time.Duration(i) * time.Second))})
	}
	var seen []string
	cursor := ""
	for range 10 {
		var l api.List[api.Session]
		if err := json.Unmarshal([]byte(text200(t, f.call("GET", "/v1/sessions?limit=50&cursor="+cursor, ""), 200)), &l); err != nil {
			t.Fatal(err)
		}
		for _, s := range l.Items {
			seen = append(seen, s.ID)
		}
		if l.NextCursor == nil {
			break
		}
		if cursor == "" { // one that ended, and one that is new, move nothing
			f.broker.list = append(f.broker.list[:100], f.broker.list[101:]...)
			f.broker.list = append(f.broker.list, api.Session{ID: "ses_new", StartedAt: api.TimeOf(begin.Add(time.Hour))})
		}
		cursor = *l.NextCursor
	}
	if len(seen) != 120 || seen[0] != "ses_119" || seen[119] != "ses_000" {
		t.Errorf("%d items, %v", len(seen), seen)
	}
	problemIn(t, f.call("GET", "/v1/tokens?cursor="+cursor, ""), 400, "malformed")
	problemIn(t, f.call("GET", "/v1/sessions?cursor="+cursor+"A", ""), 400, "malformed")
	problemIn(t, f.call("GET", "/v1/sessions?cursor=c2Vz", ""), 400, "malformed")
	r := request("GET", "/v1/sessions?cursor="+cursor, "")
	r.Header.Set("Authorization", "Bearer dpat_other")
	problemIn(t, f.do(r), 400, "malformed")
	if got := text200(t, f.call("GET", "/v1/resources?limit=2", ""), 200); !strings.Contains(got, `"id":"a"`) || strings.Contains(got, `"id":"c"`) {
		t.Errorf("resources are not by ID: %s", got)
	}
}

// A parameter that passes has exactly one well-formed value.
func FuzzParseQuery(f *testing.F) {
	for _, seed := range []string{"", "limit=5&cursor=abc", "wait=30s", "limit=1&limit=2", "a;b", "%zz", "wait=61s", "after=-1", "state=pending", "dry_run=TRUE"} {
		f.Add(seed)
	}
	params := []param{limitParam, cursorParam, waitParam, dryRunParam, seqParam("after", ""), wordParam("state", "", "pending"), textParam("resource", "")}
	f.Fuzz(func(t *testing.T, raw string) {
		v, err := parseQuery(raw, params)
		if err != nil {
			return
		}
		q, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal("accepted an ill-encoded query")
		}
		for name, value := range v {
			if len(q[name]) != 1 || q[name][0] != value {
				t.Fatalf("%s = %q of %q", name, value, q[name])
			}
		}
		if p := v.page(); p.Limit < 1 || p.Limit > maxLimit {
			t.Fatalf("limit %d", p.Limit)
		}
		if d := v.duration("wait"); d < 0 || d > maxWait || v["wait"] != "" && d == 0 {
			t.Fatalf("wait %v", d)
		}
		if n, has := v.number("after"); n < 0 || has != (v["after"] != "") {
			t.Fatalf("after %d %v", n, has)
		}
	})
}

// A cursor that this process did not make is refused.
func FuzzOpenCursor(f *testing.F) {
	c := newCursors()
	f.Add("")
	f.Add("c2Vz")
	f.Add(newCursors().seal("/v1/sessions", "user:ana", "x"))
	f.Fuzz(func(t *testing.T, cursor string) {
		if _, err := c.open("/v1/sessions", "user:ana", cursor); err == nil {
			t.Fatal("accepted")
		}
	})
}
