package daemon_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// After an erasure no byte of the texts is left in the data folder of a server
// that goes on, and everything else is whole.
//
// Invariant: A21, A30, A31
func TestErasedTextIsGone(t *testing.T) {
	s := serve(t)
	canary := func(i int) string { return fmt.Sprintf("canary-%04d-says <secret> & \"more\" of it", i) }
	var reqs []api.Request
	for i := range 150 {
		body := m{"resource": "orders-api", "role": "write", "duration": "5m", "reason": canary(i) + " reason", "ticket": fmt.Sprintf("CHG-77%04d77", i)}
		r := s.call("user:ana", "POST", "/v1/requests", body, "Idempotency-Key", fmt.Sprint("k", i)).is(202).request()
		if i%3 == 0 {
			s.call("user:bo", "POST", "/v1/requests/"+r.ID+"/reviews", m{"decision": "deny", "content_hash": r.ContentHash, "comment": canary(i) + " comment"}, "Idempotency-Key", fmt.Sprint("v", i)).is(200)
		} else {
			s.call("user:ana", "POST", "/v1/requests/"+r.ID+"/cancel", m{}).is(200)
		}
		// Refused: the hint repeats what was asked for.
		body["duration"] = "8760h"
		s.call("user:ana", "POST", "/v1/requests", body, "Idempotency-Key", fmt.Sprint("r", i)).is(403)
		reqs = append(reqs, r)
	}
	open := s.call("user:ana", "POST", "/v1/requests", m{"resource": "orders-api", "role": "write", "duration": "5m", "reason": "for reviewers to read", "ticket": "CHG-2"}).is(202).request()
	for _, what := range []m{{"request": open.ID}, {"principal": "user:ana"}} {
		what["reason"] = "before anybody reads it"
		s.call("user:ada", "POST", "/v1/audit/erasures", what).is(409, "still_in_review")
	}
	if r := s.call("user:bo", "GET", "/v1/requests/"+open.ID, nil).is(200).request(); r.Reason == "" || len(r.Erased) != 0 {
		t.Errorf("reviewers are shown %+v", r)
	}
	s.call("user:ana", "POST", "/v1/requests/"+open.ID+"/cancel", m{}).is(200)
	other := s.call("user:dan", "POST", "/v1/requests", m{"resource": "orders-api", "role": "write", "duration": "5m", "reason": "what stays", "ticket": "CHG-1"}, "Idempotency-Key", "o").is(202).request()
	g, _ := s.pass(time.Minute)
	s.call("user:cy", "POST", "/v1/grants/"+g.Grant.ID+"/revoke", m{"reason": "done with it"}).is(200)

	remains := func(text string) (places []string) {
		err := filepath.WalkDir(s.path("data"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			if bytes.Contains(raw, []byte(text)) {
				places = append(places, filepath.Base(path))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return places
	}
	if len(remains("canary-")) == 0 || len(remains("CHG-77")) == 0 {
		t.Fatal("the texts were nowhere: this test looks at nothing")
	}
	s.call("user:bo", "POST", "/v1/audit/erasures", m{"request": reqs[0].ID, "reason": "asked for"}).is(403, "forbidden")
	s.call("user:ada", "POST", "/v1/audit/erasures", m{"reason": "asked for"}).is(422)
	if out := decode[api.Erasure](s.call("user:ada", "POST", "/v1/audit/erasures", m{"request": reqs[0].ID, "reason": "asked for"}).is(200)); out.Texts != 3 || out.Requests != 1 || out.Replies < 2 {
		t.Errorf("erased %+v", out)
	}
	for _, text := range []string{"canary-0000", "CHG-77000077"} {
		// A reader may have held on to the journal: then it is erased again.
		soon(t, text+" is gone", func() bool {
			s.call("user:ada", "POST", "/v1/audit/erasures", m{"request": reqs[0].ID, "reason": "asked for"})
			return len(remains(text)) == 0
		})
	}
	shown := s.call("user:ana", "GET", "/v1/requests/"+reqs[0].ID, nil).is(200).request()
	if shown.Reason != "" || len(shown.Erased) != 2 || !shown.Reviews[0].Erased || shown.Reviews[0].Comment != "" {
		t.Errorf("it is shown as %+v", shown)
	}
	// Its key stays used: the call is not done again.
	a := s.call("user:ana", "POST", "/v1/requests", m{"resource": "orders-api", "role": "write", "duration": "5m", "reason": canary(0) + " reason", "ticket": "CHG-77000077"}, "Idempotency-Key", "k0")
	if a.status != 410 {
		t.Errorf("an erased answer is replayed as %d: %s", a.status, a.body)
	}

	out := decode[api.Erasure](s.call("user:ada", "POST", "/v1/audit/erasures", m{"principal": "user:ana", "reason": "left the company"}).is(200))
	if out.Texts < 300 || out.Requests < 150 {
		t.Errorf("erased %+v", out)
	}
	s.call("user:ada", "POST", "/v1/audit/erasures", m{"principal": "user:ana", "reason": "left the company"}).is(200)
	for _, text := range []string{"canary-", "CHG-77"} {
		if places := remains(text); len(places) > 0 {
			t.Errorf("%q is still in %v", text, places)
		}
	}
	if r := s.call("user:dan", "GET", "/v1/requests/"+other.ID, nil).is(200).request(); r.Reason != "what stays" || len(r.Erased) != 0 {
		t.Errorf("what others wrote is %+v", r)
	}
	entries := s.events("&type=text.erased")
	if len(entries) < 3 || entries[0].Actor != "user:ada" || entries[0].Reason == nil || *entries[0].Reason != "asked for" || !bytes.Contains(entries[0].Details, []byte("sha256:")) {
		t.Errorf("%d entries, the first by %s with %v", len(entries), entries[0].Actor, entries[0].Reason)
	}
	s.verify()
	s.term()
	if places := remains("canary-"); len(places) > 0 {
		t.Errorf("after the end it is in %v", places)
	}
	s.verify()
}
