package daemon_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// TestRecord: lists, filters, exports, checkpoints and proofs.
//
// Invariant: A30, A31, A33
// Attack: AUD-01, AUD-02, AUD-05, AUD-07, AUD-08
func TestRecord(t *testing.T) {
	s := serve(t)
	r, token := s.pass(time.Hour)
	s.through(token, "GET", "open-api", "/x").is(200)
	hostile := ask("orders-api", "write", time.Minute)
	hostile["reason"] = "a\nb\r\n{\"seq\":1}\x00\u202e\x1b[2J"
	s.call("user:ana", "POST", "/v1/requests", hostile)
	s.call("user:eve", "POST", "/v1/requests", ask("open-api", "all", time.Minute)).is(403)
	for _, who := range []string{"user:ana", "user:eve", "service:ci-deploy"} {
		for _, path := range []string{"/v1/audit/events", "/v1/audit/checkpoint", "/v1/audit/proof?event=evt_aaaaaaaaaaaaaaaaaaaaaaaaaa"} {
			s.call(who, "GET", path, nil).is(403)
		}
	}
	early := s.call("user:bo", "GET", "/v1/audit/checkpoint", nil).is(200)
	if p := decode[api.Checkpoint](early); !strings.Contains(p.Checkpoint, "\n") || p.Key == "" {
		t.Errorf("%s", early.body)
	}
	s.write("early.json", string(early.body))

	down := decode[api.List[api.Event]](s.call("user:ada", "GET", "/v1/audit/events?limit=5", nil).is(200))
	for i := 1; i < len(down.Items); i++ {
		if down.Items[i].Seq != down.Items[i-1].Seq-1 {
			t.Errorf("newest first: %d after %d", down.Items[i].Seq, down.Items[i-1].Seq)
		}
	}
	up := decode[api.List[api.Event]](s.call("user:ada", "GET", "/v1/audit/events?after=2&limit=3", nil).is(200))
	if len(up.Items) != 3 || up.Items[0].Seq != 3 || up.Items[2].Seq != 5 || up.NextCursor == nil {
		t.Errorf("after 2: %+v", up)
	}
	soon(t, "the access is on record", func() bool { return len(s.events("&type=access.allowed")) == 1 })
	for query, fits := range map[string]func(api.Event) bool{
		"&request=" + r.ID:                         func(e api.Event) bool { return *e.Request == r.ID },
		"&principal=user:cy":                       func(e api.Event) bool { return e.Actor == "user:cy" || e.Request != nil },
		"&resource=open-api":                       func(e api.Event) bool { return *e.Resource == "open-api" },
		"&type=credential.issued":                  func(e api.Event) bool { return e.Type == "credential.issued" && e.Actor == "user:cy" },
		"&type=request.refused":                    func(e api.Event) bool { return e.Actor == "user:eve" && e.Outcome == "denied" },
		"&type=request.refused&principal=user:eve": func(e api.Event) bool { return *e.Resource == "open-api" },
	} {
		found := s.events(query)
		if len(found) == 0 {
			t.Errorf("%s selects nothing", query)
		}
		for _, e := range found {
			if !fits(e) || e.Source.IP == "" && !strings.HasPrefix(e.Actor, "system:") {
				t.Errorf("%s selects %+v", query, e)
			}
		}
	}
	if none := s.events("&type=request.approved&principal=user:eve"); len(none) != 0 {
		t.Errorf("%+v", none)
	}
	one := s.events("&type=grant.activated")[0]
	proof := decode[api.Proof](s.call("user:bo", "GET", "/v1/audit/proof?event="+one.ID, nil).is(200))
	if proof.Event != one.ID || proof.Checkpoint == "" || proof.Leaf.Bytes == "" {
		t.Errorf("%+v", proof)
	}
	s.call("user:bo", "GET", "/v1/audit/proof?event=evt_aaaaaaaaaaaaaaaaaaaaaaaaaa", nil).is(404, "not_found")
	s.call("user:ada", "DELETE", "/v1/audit/events", nil).is(405)

	s.verify("--checkpoint", s.path("early.json"))
	s.term()
	s.verify("--checkpoint", s.path("early.json"), "--checkpoint", s.path("data/checkpoint.note"))

	// One byte of a stored entry is changed: it is found, and named.
	path := s.path("data/daypass.db")
	db := s.read("data/daypass.db")
	at := strings.Index(db, `"`+one.ID+`"`)
	if at < 0 {
		t.Fatal("the entry is not in the file")
	}
	if err := os.WriteFile(path, []byte(db[:at+8]+"zz"+db[at+10:]), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out := s.daypass("audit", "verify", "--data", s.path("data"))
	if code != 1 || lines(out)[0] != jsonNumber(one.Seq) {
		t.Errorf("entry %d was changed: %d %s", one.Seq, code, out)
	}
}

// TestFollowing: Server-Sent Events, of what the caller may see, and resumed.
//
// Attack: WEB-08
func TestFollowing(t *testing.T) {
	s := serve(t)
	follow := func(who, last string) chan api.StreamEvent {
		t.Helper()
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.api+"/v1/events", nil)
		r.Header.Set("Authorization", "Bearer "+s.tokens[who])
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%v %v", resp, err)
		}
		out := make(chan api.StreamEvent, 100)
		go func() {
			defer close(out)
			defer resp.Body.Close()
			id := ""
			for l := bufio.NewScanner(resp.Body); l.Scan(); {
				if v, ok := strings.CutPrefix(l.Text(), "id: "); ok {
					id = v
				}
				if v, ok := strings.CutPrefix(l.Text(), "data: "); ok {
					var e api.StreamEvent
					if json.Unmarshal([]byte(v), &e) == nil && id != "" {
						out <- e
					}
				}
			}
		}()
		return out
	}
	next := func(c chan api.StreamEvent) api.StreamEvent {
		t.Helper()
		select {
		case e, ok := <-c:
			if !ok {
				t.Fatal("the stream ended")
			}
			return e
		case <-time.After(patience):
			t.Fatal("no event came")
		}
		return api.StreamEvent{}
	}
	mine, stranger := follow("user:cy", ""), follow("user:eve", "")
	r := s.pending("user:cy", "two-api", "all", time.Minute)
	first := next(mine)
	if first.Type != "request.created" || first.Request == nil || first.Request.ID != r.ID {
		t.Fatalf("%+v", first)
	}
	s.approve("user:bo", r).is(200)
	s.approve("user:dan", r).is(200)
	var types []string
	for len(types) == 0 || types[len(types)-1] != "grant.activated" {
		types = append(types, next(mine).Type)
	}
	again := follow("user:cy", jsonNumber(first.Seq))
	for _, want := range types {
		if e := next(again); e.Type != want || e.Seq <= first.Seq {
			t.Errorf("resumed it shows %s, want %s", e.Type, want)
		}
	}
	select {
	case e := <-stranger:
		t.Errorf("a stranger sees %+v", e)
	case <-time.After(200 * time.Millisecond):
	}
	s.call("user:cy", "GET", "/v1/events", nil, "Last-Event-ID", "x").is(400)
}

func jsonNumber(n int64) string { b, _ := json.Marshal(n); return string(b) }

// TestCanary: after all sorts of use no credential is in any file, log or
// answer.
//
// Invariant: A21
// Attack: AUD-06, CFG-05, CLI-02
func TestCanary(t *testing.T) {
	s := serve(t)
	r, token := s.pass(time.Hour)
	jwt := *decode[api.Credential](s.call("user:cy", "POST", "/v1/grants/"+r.Grant.ID+"/credentials", m{"format": "jwt"}, "Idempotency-Key", "j").is(201)).Secret
	made := *decode[api.Token](s.call("user:ana", "POST", "/v1/tokens", m{"ttl": "1h"}, "Idempotency-Key", "t").is(201)).Secret
	unknown := mint("dpgt_")
	secrets := map[string]string{"a grant token": token, "a JWT": jwt, "an API token": made, "ana's API token": s.tokens["user:ana"], "an injected key": s.upstream.key, "an unknown token": unknown}
	var answers bytes.Buffer
	keep := func(a answer) {
		answers.Write(a.body)
		_ = a.header.Write(&answers)
	}
	read := s.granted("user:ana", "orders-api", "read", time.Minute)
	readToken := s.token("user:ana", read)
	secrets["another grant token"] = readToken
	keep(s.through(readToken, "GET", "orders-api", "/v1/orders/1?token="+unknown))
	keep(s.through(readToken, "GET", "orders-api", "/v1/orders/1"))
	keep(s.through(token, "GET", "open-api", "/x?t="+token))
	keep(s.through(token, "GET", "open-api", "/"+token))
	keep(s.through(unknown, "GET", "open-api", "/x"))
	keep(s.through(token, "GET", "orders-api", "/v1/orders/1"))
	for _, secret := range []string{token, jwt, made, unknown} {
		keep(s.call("service:orders", "POST", "/oauth/introspect", "token="+secret, "Content-Type", "application/x-www-form-urlencoded"))
		keep(s.call("service:ci-deploy", "POST", "/oauth/introspect", "token="+secret, "Content-Type", "application/x-www-form-urlencoded"))
		keep(s.call(secret, "GET", "/v1/me", nil))
		keep(s.call("user:ana", "GET", "/v1/me?x="+secret, nil))
		keep(s.call("user:ana", "GET", "/v1/"+secret, nil))
	}
	for _, path := range []string{"/v1/me", "/v1/resources", "/v1/requests", "/v1/grants", "/v1/tokens", "/v1/audit/events?limit=100", "/v1/catalog", "/metrics", "/readyz", "/openapi.json"} {
		keep(s.call("user:ada", "GET", path, nil))
	}
	soon(t, "the use is on record", func() bool { return len(s.events("&type=access.allowed")) >= 2 })
	keep(s.call("user:ada", "GET", "/v1/audit/events?after=0", nil, "Accept", "application/x-ndjson"))
	look := func(where string, content []byte) {
		t.Helper()
		for what, secret := range secrets {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s is in %s", what, where)
			}
			if parts := strings.Split(secret, "."); len(parts) == 3 && bytes.Contains(content, []byte(parts[2])) {
				t.Errorf("the signature of %s is in %s", what, where)
			}
		}
	}
	scan := func() {
		t.Helper()
		n := 0
		err := filepath.WalkDir(s.path("data"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			n += len(content)
			look(path, content)
			if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil || n == 0 {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	scan()
	s.term()
	scan()
	look("the log", []byte(s.log.String()))
	look("the answers", answers.Bytes())
}
