package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Invariant: A20
// Attack: AUD-04
func TestWithoutARecordNothingHappens(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "write", time.Minute)
		auto := w.mustSubmit("user:ana", "read", time.Minute)
		token := w.token("user:ana", auto.Grant.ID)
		if !w.active(token) {
			t.Fatal("the token is not active")
		}
		before := len(w.entries(audit.Types()...))
		w.broken.update = func(sqlstore.Class) error { return sqlstore.ErrFailed }
		ctx := context.Background()
		acts := map[string]func() error{
			"submit": func() error { _, err := w.submit("user:ana", "read", time.Minute); return err },
			"vote":   func() error { _, err := w.vote("user:bo", v, "approve"); return err },
			"cancel": func() error { _, err := w.Cancel(ctx, as("user:ana"), v.ID); return err },
			"issue":  func() error { _, err := w.Issue(ctx, as("user:ana"), auto.Grant.ID, "token", nil); return err },
			"jwt":    func() error { _, err := w.Issue(ctx, as("user:ana"), auto.Grant.ID, "jwt", nil); return err },
			"revoke": func() error { _, err := w.Revoke(ctx, as("user:ana"), auto.Grant.ID, ""); return err },
			"token":  func() error { _, err := w.CreateToken(ctx, as("user:ana"), "", "", time.Hour, nil); return err },
			"switch": func() error { _, err := w.SetIssuing(ctx, as("user:ada"), false); return err },
			"record": func() error {
				return w.Record(ctx, &audit.Entry{Type: audit.AccessAllowed, Actor: "user:ana", Outcome: audit.Allowed}, "user:ana", true)
			},
		}
		for name, act := range acts {
			var e *broker.Error
			if err := act(); !errors.As(err, &e) || e.Kind != broker.Unavailable {
				t.Errorf("%s: %v, want an error that says unavailable", name, err)
			}
		}
		w.broken.update = nil
		if got := len(w.entries(audit.Types()...)); got != before {
			t.Errorf("%d entries more", got-before)
		}
		if w.get("user:ana", v.ID).State != "pending" || !w.active(token) {
			t.Error("something changed all the same")
		}
		if in, err := w.Issuing(ctx, as("user:ada")); err != nil || !in.Enabled {
			t.Error("the switch moved")
		}
	})
}

// Invariant: A38
// Attack: RES-03
func TestEndsGoOnWhenNothingElseDoes(t *testing.T) {
	for name, broken := range map[string]func(*world){
		"disk full": func(w *world) {
			w.broken.update = func(c sqlstore.Class) error {
				if c != sqlstore.Ends {
					return sqlstore.ErrFull
				}
				return nil
			}
		},
		"disk slow": func(w *world) {
			w.broken.update = func(c sqlstore.Class) error {
				if c != sqlstore.Ends {
					return sqlstore.ErrBusy
				}
				return nil
			}
		},
		"issuing off": func(w *world) {
			_, err := w.SetIssuing(context.Background(), as("user:ada"), false)
			must(w.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				waiting := w.mustSubmit("user:ana", "write", time.Hour)
				denied := w.mustSubmit("user:ana", "write", time.Hour)
				revoked, expiring := w.mustSubmit("user:ana", "read", 10*time.Minute), w.mustSubmit("user:ana", "read", time.Minute)
				token := w.token("user:ana", revoked.Grant.ID)
				broken(w)
				ctx := context.Background()
				for what, act := range map[string]func() error{
					"asking":    func() error { _, err := w.submit("user:ana", "read", time.Minute); return err },
					"approving": func() error { _, err := w.vote("user:bo", waiting, "approve"); return err },
					"issuing":   func() error { _, err := w.Issue(ctx, as("user:ana"), revoked.Grant.ID, "token", nil); return err },
				} {
					var e *broker.Error
					if err := act(); !errors.As(err, &e) || e.Kind != broker.Unavailable || e.RetryAfter == 0 {
						t.Errorf("%s: %v", what, err)
					}
				}
				if _, err := w.vote("user:bo", denied, "deny"); err != nil {
					t.Errorf("denying: %v", err)
				}
				if _, err := w.Revoke(ctx, as("user:cy"), revoked.Grant.ID, "now"); err != nil {
					t.Errorf("revoking: %v", err)
				}
				time.Sleep(time.Minute)
				w.due()
				if g := w.get("user:ana", expiring.ID).Grant; g.State != "ended" || len(w.entries("grant.ended")) != 2 {
					t.Errorf("expiry: %s", g.State)
				}
				w.broken.update = nil
				if w.active(token) {
					t.Error("the revoked token is active")
				}
				_, err := w.SetIssuing(ctx, as("user:ada"), true)
				must(t, err)
				w.mustVote("user:bo", waiting, "approve")
			})
		})
	}
}

// Invariant: A21
// Attack: AUD-06, TOK-14
func TestNoSecretIsOnDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		v := w.granted(30 * time.Minute)
		secrets := []string{w.token("user:ana", v.Grant.ID)}
		jwt, err := w.Issue(ctx, as("user:ana"), v.Grant.ID, "jwt", nil)
		must(t, err)
		cookie, _, err := w.Cookie(ctx, secrets[0], "orders.localhost")
		must(t, err)
		made, err := w.CreateToken(ctx, as("user:ana"), "service:ci", "ci", time.Hour, once("k", "b"))
		must(t, err)
		secrets = append(secrets, *jwt.Secret, cookie, *made.Secret)
		w.restart(true)
		looked := 0
		must(t, filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			looked += len(content)
			for _, s := range secrets {
				if strings.Contains(string(content), s) || strings.Contains(string(content), s[5:]) {
					t.Errorf("%s holds a secret", filepath.Base(path))
				}
			}
			return err
		}))
		if looked < 10_000 {
			t.Errorf("only %d bytes were looked at", looked)
		}
	})
}

// Invariant: A30, A33
// Attack: AUD-08
func TestTheRecordIsForAuditors(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		w.granted(time.Minute)
		for _, who := range []string{"user:ana", "user:bo", "service:orders"} {
			_, _, err := w.Events(ctx, as(who), broker.EventQuery{})
			refused(t, err, "forbidden")
			_, err = w.Checkpoint(ctx, as(who))
			refused(t, err, "forbidden")
		}
		events, _, err := w.Events(ctx, as("user:aud"), broker.EventQuery{Page: broker.Page{Limit: 5}})
		must(t, err)
		if len(events) != 5 || events[0].Seq != events[1].Seq+1 {
			t.Errorf("%d events, not newest first", len(events))
		}
		var after int64
		cursor := ""
		for {
			page, next, err := w.Events(ctx, as("user:aud"), broker.EventQuery{HasAfter: true, Page: broker.Page{Limit: 4, Cursor: cursor}})
			must(t, err)
			for _, e := range page {
				if after++; e.Seq != after {
					t.Fatalf("entry %d at place %d", e.Seq, after)
				}
				if e.Type == "request.created" && (e.Actor != "user:ana" || e.Reason == nil || *e.Reason != "because of write") {
					t.Errorf("%+v", e)
				}
			}
			if cursor = next; next == "" {
				break
			}
		}
		p, err := w.Proof(ctx, as("user:aud"), events[2].ID)
		must(t, err)
		cp, err := w.Checkpoint(ctx, as("user:aud"))
		must(t, err)
		must(t, audit.VerifyProof(p, cp.Key))
		if len(w.entries("audit.exported")) != 1 {
			t.Error("taking the whole log out is not on record")
		}
	})
}

// Invariant: A37
// Attack: RES-06
func TestFailedCallsAreCountedNotWrittenOneByOne(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 5000 {
			if _, err := w.Authenticate("dpat_nonsense", "192.0.2.9", "api"); err == nil {
				t.Fatal("nonsense is somebody")
			}
			w.CountDenied("192.0.2.9", "gateway:http", "no_token")
		}
		time.Sleep(61 * time.Second)
		failed := w.entries("auth.failed", "access.denied_summary")
		if len(failed) != 2 {
			t.Fatalf("%d entries of 10,000 failures", len(failed))
		}
		for _, e := range failed {
			if !strings.Contains(string(e.Details), "5000") || e.Source.IP != "192.0.2.9" {
				t.Errorf("%s %s", e.Type, e.Details)
			}
		}
	})
}

func TestRecordsAreBatchedAndDurableWhenAsked(t *testing.T) {
	inWorld(t, func(w *world) {
		entry := func() *audit.Entry {
			return &audit.Entry{Type: audit.AccessAllowed, Actor: "user:ana", Outcome: audit.Allowed, Source: audit.Source{Channel: "gateway:http"}}
		}
		for range 10 {
			must(t, w.Record(context.Background(), entry(), "user:ana", false))
		}
		if n := len(w.entries("access.allowed")); n != 0 {
			t.Errorf("%d entries are written already", n)
		}
		must(t, w.Record(context.Background(), entry(), "user:ana", true))
		if n := len(w.entries("access.allowed")); n != 11 {
			t.Errorf("%d entries after a durable one", n)
		}
		must(t, w.Record(context.Background(), entry(), "user:ana", false))
		time.Sleep(60 * time.Millisecond)
		if n := len(w.entries("access.allowed")); n != 12 {
			t.Errorf("%d entries after 60 ms", n)
		}
	})
}

// While the disk is full, or does not keep up, only so much is taken as the backlog holds, however
// long that lasts: the rest is refused, and what was taken is not lost.
//
// Invariant: A20, A37
// Attack: AUD-04, RES-03
func TestAFullDiskBoundsWhatIsTakenOnTrust(t *testing.T) {
	for _, why := range []error{sqlstore.ErrFull, sqlstore.ErrBusy} {
		t.Run(why.Error(), func(t *testing.T) { inWorld(t, func(w *world) { takenOnTrust(t, w, why) }) })
	}
}

func takenOnTrust(t *testing.T, w *world, why error) {
	var full atomic.Bool
	full.Store(true)
	w.broken.update = func(class sqlstore.Class) error {
		if full.Load() && class == sqlstore.Normal {
			return why
		}
		return nil
	}
	taken := 0
	record := func() bool {
		e := &audit.Entry{Type: audit.AccessAllowed, Actor: "user:ana", Outcome: audit.Allowed}
		err := w.Record(context.Background(), e, "user:ana", false)
		if err == nil {
			taken++
		}
		return err == nil
	}
	for record() {
		if taken > 20_000 {
			t.Fatal("it takes without end")
		}
	}
	before := taken
	for range 30 {
		time.Sleep(10 * time.Second)
		record()
	}
	if taken > before {
		t.Errorf("%d more were taken on trust", taken-before)
	}
	full.Store(false)
	w.restart(true)
	if n := len(w.entries(audit.AccessAllowed)); n != taken {
		t.Errorf("%d entries of %d are on record", n, taken)
	}
}

// Invariant: A34
func TestAfterAnUncleanStopThePossibleGapIsOnRecord(t *testing.T) {
	inWorld(t, func(w *world) {
		w.restart(true)
		if n := len(w.entries("audit.possible_gap")); n != 0 {
			t.Fatalf("%d gaps after a clean stop", n)
		}
		w.restart(false)
		if n := len(w.entries("audit.possible_gap")); n != 1 {
			t.Errorf("%d gaps after an unclean stop", n)
		}
	})
}

// The gap begins where the record ends, also where the disk had been full for
// long, while ends went on being committed.
//
// Invariant: A30, A34
func TestThePossibleGapHasAllThatWasLost(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		record := func() {
			must(t, w.Record(ctx, &audit.Entry{Type: audit.AccessAllowed, Actor: "user:ana", Outcome: audit.Allowed}, "user:ana", false))
		}
		live := w.mustSubmit("user:ana", "read", time.Minute)
		gap := func() (from, to time.Time) {
			all := w.entries(audit.PossibleGap)
			var d struct{ From, To api.Time }
			must(t, json.Unmarshal(all[len(all)-1].Details, &d))
			return d.From.Time, d.To.Time
		}
		// A quiet hour, a last heartbeat, a kill: the gap is that of a moment.
		record()
		time.Sleep(time.Hour)
		must(t, w.Heartbeat(ctx))
		quiet := w.clock.Now()
		w.restart(false)
		if from, _ := gap(); quiet.Sub(from) > 2*time.Second {
			t.Errorf("nothing was done for an hour, and the gap begins %v before the kill", quiet.Sub(from))
		}
		// Some minutes on a full disk.
		var full atomic.Bool
		w.broken.update = func(class sqlstore.Class) error {
			if class == sqlstore.Normal && full.Load() {
				return sqlstore.ErrFull
			}
			return nil
		}
		record()
		time.Sleep(time.Second)
		full.Store(true)
		first := w.clock.Now()
		record()
		for i := range 300 {
			time.Sleep(time.Second)
			if err := w.Heartbeat(ctx); i > 0 { // the first of a process prunes
				must(t, err)
			}
		}
		_, err := w.Revoke(ctx, as("user:ana"), live.Grant.ID, "")
		must(t, err)
		record()
		last := w.clock.Now()
		before := len(w.entries(audit.AccessAllowed))
		w.restart(false)
		if n := len(w.entries(audit.AccessAllowed)); n != before {
			t.Fatalf("%d entries were written after the kill", n-before)
		}
		if from, to := gap(); from.After(first) || first.Sub(from) > 3*time.Second || to.Before(last) {
			t.Errorf("the gap is from %v to %v, and what was lost from %v to %v", from, to, first, last)
		}
	})
}

func TestTheStreamResumesWhereItLeftOff(t *testing.T) {
	inWorld(t, func(w *world) {
		read := func(who string, after int64, n int) []api.StreamEvent {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var got []api.StreamEvent
			err := w.Stream(ctx, as(who), after, func(e api.StreamEvent) error {
				if got = append(got, e); len(got) == n {
					cancel()
				}
				return nil
			})
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			return got
		}
		_, err := w.CreateToken(context.Background(), as("user:ada"), "user:ana", "", time.Hour, nil)
		must(t, err)
		w.granted(30 * time.Minute)
		all := read("user:ada", 0, 100)
		if len(all) != 5 { // created, two votes, approved, activated
			t.Fatalf("%d events: %+v", len(all), all)
		}
		rest := read("user:ada", all[1].Seq, 100)
		if len(rest) != 3 || rest[0].Seq != all[2].Seq {
			t.Errorf("%d events after the second", len(rest))
		}
		if other := read("user:dee", 0, 100); len(other) != 0 {
			t.Errorf("somebody who may not see it was told %d times", len(other))
		}
	})
}
