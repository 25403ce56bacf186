package daemon_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/daemon"
)

// load keeps a server busy until the returned function is called.
func (s *server) busy() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, who := range []string{"user:cy", "user:ada", "user:dan"} {
		group.Go(func() {
			for ctx.Err() == nil {
				a, err := s.try(who, "POST", "/v1/requests", ask("open-api", "docs", time.Minute))
				if err != nil || a.status != 201 {
					continue
				}
				r := a.request()
				_, _ = s.try(who, "POST", "/v1/grants/"+r.Grant.ID+"/credentials", m{})
				_, _ = s.try(who, "POST", "/v1/grants/"+r.Grant.ID+"/revoke", m{})
			}
		})
	}
	return func() { cancel(); group.Wait() }
}

// mark reads the clock's mark of a data folder that no server uses.
func mark(t *testing.T, data string) time.Time {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, "daypass.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var at int64
	if err := db.QueryRow("SELECT at FROM mark").Scan(&at); err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(at)
}

// F27: a server under load is backed up; afterwards things are revoked, denied
// and granted; then it is lost. Nothing that it would have refused is allowed
// by what is restored, in quarantine or after it.
//
// Invariant: A2, A3, A21, A22, A31, A35, A38
func TestRestoredGivesNoMore(t *testing.T) {
	s := serve(t)
	stop := s.busy()
	kept, keptToken := s.pass(time.Hour)
	revoked, revokedToken := s.pass(time.Hour)
	held := s.granted("user:cy", "open-api", "all", time.Hour) // gets its credential only afterwards
	jwt := *decode[api.Credential](s.call("user:cy", "POST", "/v1/grants/"+kept.Grant.ID+"/credentials", m{"format": "jwt"}).is(201)).Secret
	denied := s.pending("user:ana", "two-api", "all", time.Hour)
	half := s.pending("user:ana", "two-api", "all", time.Hour)
	s.approve("user:bo", half).is(200)
	stolen := decode[api.Token](s.call("user:ada", "POST", "/v1/tokens", m{"name": "laptop", "ttl": "24h"}).is(201))

	file := s.path("backup.tar")
	if code, out := s.daypass("backup", file, "--data", s.path("data")); code != 0 || !strings.Contains(out, "whole, up to entry") {
		t.Fatalf("backup ended with %d: %s", code, out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the backup is %v, %v", info.Mode(), err)
	}
	if code, out := s.daypass("backup", file, "--data", s.path("data")); code == 0 {
		t.Fatalf("a backup was overwritten: %s", out)
	}

	// What the live one does after it.
	s.call("user:cy", "POST", "/v1/grants/"+revoked.Grant.ID+"/revoke", m{}).is(200)
	s.call("user:bo", "POST", "/v1/requests/"+denied.ID+"/reviews", m{"decision": "deny", "content_hash": denied.ContentHash, "comment": "no"}).is(200)
	s.call("user:ada", "DELETE", "/v1/tokens/"+stolen.ID, nil).is(204)
	s.approve("user:cy", half).is(200)
	_, laterToken := s.pass(time.Hour)
	heldToken := s.token("user:cy", held)
	s.call("user:cy", "POST", "/v1/grants/"+held.Grant.ID+"/revoke", m{}).is(200)
	stop()
	s.term()
	before := mark(t, s.path("data"))
	note := s.path("data/checkpoint.note")

	// Not over what is there, and not what was changed.
	if code, out := s.daypass("restore", file, "--data", s.path("data")); code != 1 || !strings.Contains(out, "not empty") {
		t.Errorf("restore over a store ended with %d: %s", code, out)
	}
	raw := []byte(s.read("backup.tar"))
	raw[len(raw)/2] ^= 1
	s.write("damaged.tar", string(raw))
	if code, out := s.daypass("restore", s.path("damaged.tar"), "--data", s.path("new")); code != 1 {
		t.Errorf("restore of a damaged backup ended with %d: %s", code, out)
	}
	if _, err := os.Stat(s.path("new")); err == nil {
		t.Error("a restore that failed left a data folder")
	}
	code, out := s.daypass("restore", file, "--data", s.path("new"), "--checkpoint", note)
	if code != 0 || !strings.Contains(out, "entries of the record are lost") {
		t.Fatalf("restore ended with %d: %s", code, out)
	}
	if after := mark(t, s.path("new")); after.Before(before) {
		t.Errorf("the clock's mark went back from %v to %v", before, after)
	}
	config := s.read("daypass.yaml")
	s.write("daypass.yaml", strings.Replace(config, "data: ./data", "data: ./new", 1))
	s.start()

	nothing := func(when string) {
		t.Helper()
		for name, token := range map[string]string{"kept": keptToken, "revoked": revokedToken, "later": laterToken, "held": heldToken, "jwt": jwt} {
			if a := s.through(token, "GET", "open-api", "/x"); a.status != 401 {
				t.Errorf("%s: the token %s passes: %d", when, name, a.status)
			}
			a := s.call("user:ada", "POST", "/oauth/introspect", "token="+token, "Content-Type", "application/x-www-form-urlencoded").is(200)
			if strings.Contains(string(a.body), `"active":true`) {
				t.Errorf("%s: the token %s is active: %s", when, name, a.body)
			}
		}
		s.call(*stolen.Secret, "GET", "/v1/me", nil).is(401)
		for _, r := range []api.Request{kept, revoked, held} {
			if a := s.call("user:cy", "POST", "/v1/grants/"+r.Grant.ID+"/credentials", m{}); a.status < 400 {
				t.Errorf("%s: a credential of %s: %d", when, r.Grant.ID, a.status)
			}
		}
		for _, r := range []api.Request{denied, half} {
			if a := s.approve("user:cy", r); a.status < 400 {
				t.Errorf("%s: %s was approved: %d", when, r.ID, a.status)
			}
		}
	}
	nothing("in quarantine")
	ready := s.call("", "GET", "/readyz", nil)
	if ready.status != 503 || !strings.Contains(string(ready.body), "daypass quarantine end") || !strings.Contains(string(ready.body), "are lost") {
		t.Errorf("readyz says %d: %s", ready.status, ready.body)
	}
	s.call("user:cy", "POST", "/v1/requests", ask("open-api", "docs", time.Minute)).is(503, "quarantined")
	s.call("user:ada", "POST", "/v1/tokens", m{"name": "n", "ttl": "1h"}).is(503, "quarantined")
	s.call("user:cy", "POST", "/v1/grants/"+revoked.Grant.ID+"/revoke", m{}).is(200) // ends go on
	s.call("user:cy", "POST", "/v1/quarantine/end", m{}).is(403, "forbidden")

	// It stays so over a restart, also one that is not clean.
	s.kill()
	s.start()
	nothing("after a restart")
	if q := decode[api.Quarantine](s.call("user:bo", "GET", "/v1/quarantine", nil).is(200)); !q.Active || q.Lost < 5 || q.KnownHead != q.Head+q.Lost || q.LostTo == nil {
		t.Errorf("the quarantine is %+v", q)
	}
	end := decode[api.QuarantineEnd](s.call("user:ada", "POST", "/v1/quarantine/end", m{}).is(200))
	if end.Grants < 2 || end.Requests < 2 || end.Tokens != 1 {
		t.Errorf("ended: %+v", end)
	}
	nothing("after the quarantine")
	s.call("", "GET", "/readyz", nil).is(200)
	if r := s.call("user:ana", "GET", "/v1/requests/"+half.ID, nil).is(200).request(); r.State != "expired" {
		t.Errorf("what waited in the backup is %s", r.State)
	}
	_, token := s.pass(time.Minute)
	s.through(token, "GET", "open-api", "/x").is(200)
	s.call("user:ada", "POST", "/v1/quarantine/end", m{}).is(200)
	restored, ended := s.events("&type=store.restored"), s.events("&type=quarantine.ended")
	if len(restored) != 1 || len(ended) != 1 || ended[0].Actor != "user:ada" || !strings.Contains(string(restored[0].Details), `"lost_from"`) {
		t.Errorf("entries %+v, %+v", restored, ended)
	}
	for _, e := range s.events("") {
		if e.Seq > restored[0].Seq && e.Time.Before(restored[0].Time.Time) {
			t.Fatalf("entry %d is of %v, before the restore", e.Seq, e.Time)
		}
	}
	s.term()
	if code, out := s.daypass("audit", "verify", "--data", s.path("new")); code != 0 {
		t.Errorf("verify ended with %d: %s", code, out)
	}
	// The checkpoint of what is lost is not one of the log that goes on.
	if code, _ := s.daypass("audit", "verify", "--data", s.path("new"), "--checkpoint", note); code != 1 {
		t.Errorf("verify against the lost checkpoint ended with %d", code)
	}
}

// A backup holds nothing that the store does not hold, and no key that could
// make a token good again.
//
// Invariant: A21
func TestABackupHoldsNoToken(t *testing.T) {
	s := serve(t)
	_, token := s.pass(time.Hour)
	made := decode[api.Token](s.call("user:ana", "POST", "/v1/tokens", m{"name": "laptop", "ttl": "24h"}).is(201))
	if code, out := s.daypass("backup", s.path("b.tar"), "--data", s.path("data")); code != 0 {
		t.Fatalf("backup ended with %d: %s", code, out)
	}
	raw := s.read("b.tar")
	for _, secret := range []string{token, *made.Secret, s.tokens["user:ana"], s.upstream.key, "jwt-"} {
		if strings.Contains(raw, secret) {
			t.Errorf("the backup holds %.8s…", secret)
		}
	}
	if !strings.Contains(raw, "manifest.json") || len(raw) < 50_000 {
		t.Fatalf("the backup has %d bytes", len(raw))
	}
}

// A checkpoint that was signed later than this machine's clock says moves the
// mark on; one of another log is refused.
//
// Invariant: A2, A31, A35
func TestRestoreKeepsTheClock(t *testing.T) {
	s := serve(t)
	s.pass(time.Hour)
	s.term()
	if _, err := daemon.Backup(t.Context(), s.path("data"), s.path("b.tar"), "test"); err != nil {
		t.Fatal(err)
	}
	skey, _, _ := strings.Cut(s.read("data/keys/audit.skey"), "\n")
	signer, err := audit.ParseSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	ahead := time.Now().Add(3 * time.Hour)
	note, err := audit.SignCheckpoint(signer.Name(), audit.Head{Seq: 1_000, Leaves: 900}, [32]byte{1}, signer, ahead)
	if err != nil {
		t.Fatal(err)
	}
	q, err := daemon.Restore(t.Context(), s.path("b.tar"), s.path("new"), note)
	if err != nil || q.KnownHead != 1_000 || q.Lost != 1_000-q.Head {
		t.Fatalf("%+v, %v", q, err)
	}
	if at := mark(t, s.path("new")); at.Before(ahead.Truncate(time.Millisecond)) {
		t.Errorf("the mark is %v, the checkpoint was signed at %v", at, ahead)
	}
	other, _, err := audit.NewSigner("daypass/other", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = audit.ParseSigner(other); err != nil {
		t.Fatal(err)
	}
	note, err = audit.SignCheckpoint(signer.Name(), audit.Head{Seq: 1_000, Leaves: 900}, [32]byte{1}, signer, ahead)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Restore(t.Context(), s.path("b.tar"), s.path("other"), note); err == nil || !strings.Contains(err.Error(), "not one of the store") {
		t.Errorf("with the checkpoint of another log: %v", err)
	}
	q, err = daemon.Restore(t.Context(), s.path("b.tar"), s.path("unknown"), nil)
	if err != nil || q.Lost != 0 || !strings.Contains(q.Explanation, "not known") {
		t.Errorf("without a checkpoint: %+v, %v", q, err)
	}
}
