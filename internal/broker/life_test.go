package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

func TestAskedForAndApprovedByARule(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "read", 5*time.Minute)
		if v.State != "approved" || v.Grant == nil || v.Grant.State != "active" {
			t.Fatalf("%s, grant %+v", v.State, v.Grant)
		}
		if got := v.Grant.ExpiresAt.Sub(v.Grant.StartsAt.Time); got != 5*time.Minute {
			t.Errorf("the grant lasts %v", got)
		}
		if !w.active(w.token("user:ana", v.Grant.ID)) {
			t.Error("its token is not active")
		}
		for _, typ := range []string{"request.created", "request.approved", "grant.activated", "credential.issued"} {
			if n := len(w.entries(typ)); n != 1 {
				t.Errorf("%d entries %s, want 1", n, typ)
			}
		}
		if actor := w.entries("request.approved")[0].Actor; actor != "system:policy" {
			t.Errorf("approved by %s", actor)
		}
	})
}

// Invariant: A1, A3
func TestExpiryIsArithmetic(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "read", 5*time.Minute)
		token := w.token("user:ana", v.Grant.ID)
		time.Sleep(v.Grant.ExpiresAt.Sub(w.clock.Now()) - time.Millisecond)
		if !w.active(token) {
			t.Fatal("a millisecond before its end the token is not active")
		}
		time.Sleep(time.Millisecond)
		// No worker runs here: nothing has noticed yet.
		if w.active(token) {
			t.Error("at its end the token is active")
		}
		if g := w.get("user:ana", v.ID).Grant; g.State != "ended" || *g.EndedReason != "expired" || g.EndedAt.Time != v.Grant.ExpiresAt.Time {
			t.Errorf("shown as %s, %v at %v", g.State, g.EndedReason, g.EndedAt)
		}
		_, err := w.Issue(context.Background(), as("user:ana"), v.Grant.ID, "token", nil)
		refused(t, err, "not_active")
		w.due()
		if ended := w.entries("grant.ended"); len(ended) != 1 || !strings.Contains(string(ended[0].Details), v.Grant.ExpiresAt.String()) {
			t.Errorf("the end is recorded %d times: %v", len(ended), ended)
		}
	})
}

// Invariant: A2, A34
func TestAnEndedGrantStaysEndedOverRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		expired := w.mustSubmit("user:ana", "read", time.Minute)
		revoked := w.mustSubmit("user:ana", "read", 10*time.Minute)
		alive := w.mustSubmit("user:ana", "read", 10*time.Minute)
		tokens := []string{w.token("user:ana", expired.Grant.ID), w.token("user:ana", revoked.Grant.ID), w.token("user:ana", alive.Grant.ID)}
		if _, err := w.Revoke(context.Background(), as("user:cy"), revoked.Grant.ID, "enough"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for _, clean := range []bool{true, false, true} {
			w.restart(clean)
			if w.active(tokens[0]) || w.active(tokens[1]) {
				t.Fatal("a grant that had ended is back")
			}
			if !w.active(tokens[2]) {
				t.Fatal("a live grant is gone")
			}
			w.due()
		}
	})
}

// Invariant: A38
func TestRevocationByWhom(t *testing.T) {
	for who, want := range map[string]string{"user:ana": "returned", "user:bo": "revoked", "user:cy": "revoked", "user:ada": "revoked", "user:dee": "not_found", "user:aud": "forbidden"} {
		t.Run(who, func(t *testing.T) {
			inWorld(t, func(w *world) {
				v := w.granted(30 * time.Minute)
				token := w.token("user:ana", v.Grant.ID)
				g, err := w.Revoke(context.Background(), as(who), v.Grant.ID, "done")
				if err != nil {
					refused(t, err, want)
					if !w.active(token) {
						t.Error("a refused revocation ended the grant")
					}
					return
				}
				if g.State != "ended" || *g.EndedReason != want {
					t.Errorf("%s, %s", g.State, *g.EndedReason)
				}
				if w.active(token) {
					t.Error("the token is still active")
				}
				again, err := w.Revoke(context.Background(), as(who), v.Grant.ID, "")
				must(t, err)
				if *again.EndedReason != want || len(w.entries("grant.ended")) != 1 {
					t.Error("a second revocation changed something")
				}
			})
		})
	}
}

// Invariant: A6
// Attack: REQ-13
func TestExtension(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		v := w.mustSubmit("user:ana", "read", 10*time.Minute)
		token := w.token("user:ana", v.Grant.ID)
		time.Sleep(9 * time.Minute)
		e, err := w.Extend(ctx, as("user:ana"), v.Grant.ID, 10*time.Minute, "not done", "", nil)
		must(t, err)
		if e.State != "approved" || e.Extends != v.Grant.ID || e.Grant.ID != v.Grant.ID {
			t.Fatalf("%s, extends %s, grant %+v", e.State, e.Extends, e.Grant)
		}
		if got := e.Grant.ExpiresAt.Sub(v.Grant.ExpiresAt.Time); got != 10*time.Minute {
			t.Errorf("longer by %v", got)
		}
		time.Sleep(5 * time.Minute)
		if !w.active(token) {
			t.Error("the token did not live on with its grant")
		}
		_, err = w.Extend(ctx, as("user:ana"), v.Grant.ID, 6*time.Minute, "still not", "", nil)
		refused(t, err, "limit_reached") // 10 + 10 + 6 > 25
		if _, err = w.Extend(ctx, as("user:ana"), v.Grant.ID, 5*time.Minute, "last", "", nil); err != nil {
			t.Fatal(err)
		}
		_, err = w.Extend(ctx, as("user:cy"), v.Grant.ID, time.Minute, "for her", "", nil)
		refused(t, err, "forbidden")
		time.Sleep(time.Hour)
		if w.active(token) {
			t.Error("active after all its extensions")
		}
		_, err = w.Extend(ctx, as("user:ana"), v.Grant.ID, time.Minute, "too late", "", nil)
		refused(t, err, "not_active")
	})
}

func TestAnExtensionThatWaitsLapsesWithItsGrant(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.granted(30 * time.Minute)
		e, err := w.Extend(context.Background(), as("user:ana"), v.Grant.ID, 10*time.Minute, "more", "", nil)
		must(t, err)
		if e.State != "pending" {
			t.Fatalf("the extension is %s", e.State)
		}
		_, err = w.Revoke(context.Background(), as("user:ana"), v.Grant.ID, "")
		must(t, err)
		if got := w.get("user:ana", e.ID).State; got != "expired" {
			t.Errorf("the extension is %s after the end of its grant", got)
		}
		_, err = w.vote("user:bo", e, "approve")
		refused(t, err, "already_decided")
	})
}

func TestOverlappingGrantsDoNotTouchEachOther(t *testing.T) {
	inWorld(t, func(w *world) {
		one, two := w.mustSubmit("user:ana", "read", 10*time.Minute), w.mustSubmit("user:ana", "read", 5*time.Minute)
		t1, t2 := w.token("user:ana", one.Grant.ID), w.token("user:ana", two.Grant.ID)
		_, err := w.Revoke(context.Background(), as("user:ana"), one.Grant.ID, "")
		must(t, err)
		if w.active(t1) || !w.active(t2) {
			t.Error("ending one of two grants changed the other")
		}
	})
}

// Attack: REQ-14
func TestAScheduledStartIsEvaluatedAnew(t *testing.T) {
	start := func(w *world) (broker.View, time.Time) {
		at := w.clock.Now().Add(time.Hour).Truncate(time.Millisecond)
		v, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "write", Duration: 10 * time.Minute, StartAt: &at, Reason: "later"}, nil)
		must(t, err)
		w.mustVote("user:bo", v, "approve")
		return w.mustVote("user:cy", v, "approve"), at
	}
	t.Run("it begins then", func(t *testing.T) {
		inWorld(t, func(w *world) {
			v, at := start(w)
			if v.Grant.State != "scheduled" || !v.Grant.StartsAt.Equal(at) || !v.Grant.ExpiresAt.Equal(at.Add(10*time.Minute)) {
				t.Fatalf("%+v", v.Grant)
			}
			_, err := w.Issue(context.Background(), as("user:ana"), v.Grant.ID, "token", nil)
			if e := refused(t, err, "not_active"); e.RetryAfter <= 0 {
				t.Error("it does not say when to come back")
			}
			time.Sleep(time.Hour)
			w.due()
			if !w.active(w.token("user:ana", v.Grant.ID)) {
				t.Error("not active after its start")
			}
		})
	})
	t.Run("an approver left", func(t *testing.T) {
		inWorld(t, func(w *world) {
			v, _ := start(w)
			w.change("{id: user:bo, groups: [group:dba], email: bo@example.com}", "{id: user:bo}")
			time.Sleep(time.Hour)
			w.due()
			if g := w.get("user:ana", v.ID).Grant; g.State != "ended" || *g.EndedReason != "policy" {
				t.Errorf("%s, %v", g.State, g.EndedReason)
			}
		})
	})
	t.Run("too far ahead", func(t *testing.T) {
		inWorld(t, func(w *world) {
			at := w.clock.Now().Add(31 * 24 * time.Hour)
			_, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "read", Duration: time.Minute, StartAt: &at}, nil)
			if e := refused(t, err, "invalid_field"); e.Field != "body.start_at" {
				t.Errorf("it blames %s", e.Field)
			}
		})
	})
}

func TestTimeShownNeverRoundsUp(t *testing.T) {
	inWorld(t, func(w *world) {
		time.Sleep(1500 * time.Microsecond)
		v := w.mustSubmit("user:ana", "read", time.Minute)
		if end := api.TimeOf(w.clock.Now().Add(time.Minute)); v.Grant.ExpiresAt.After(end.Time) {
			t.Errorf("ends at %v, later than %v", v.Grant.ExpiresAt, end)
		}
	})
}

// Invariant: A1, A2
func TestTheClocksMarkMovesWhileGrantsAreLive(t *testing.T) {
	inWorld(t, func(w *world) {
		mark := func() time.Time {
			var at time.Time
			must(t, w.store.View(context.Background(), func(tx *sqlstore.Tx) error {
				m, err := tx.ClockMark()
				at = m.At
				return err
			}))
			return at
		}
		w.mustSubmit("user:ana", "read", 5*time.Minute)
		before := mark()
		time.Sleep(time.Minute)
		must(t, w.Heartbeat(context.Background()))
		if moved := mark().Sub(before); moved < time.Minute {
			t.Errorf("the mark moved by %v in a minute", moved)
		}
	})
}

// For a day after its end a credential can be told from one that never was,
// also after a start; then it is forgotten, and the store does not grow.
//
// Attack: RES-10
func TestCredentialsAreForgottenADayAfterTheirEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		state := func(token string) live.State {
			hash, err := credential.ParseToken(credential.GrantToken, token)
			must(t, err)
			return w.index.Check(live.Hash(hash)).State
		}
		token := w.token("user:ana", w.mustSubmit("user:ana", "read", 10*time.Minute).Grant.ID)
		time.Sleep(24 * time.Hour)
		for _, c := range []struct {
			after time.Duration
			want  live.State
		}{{0, live.Ended}, {11 * time.Minute, live.Unknown}} {
			time.Sleep(c.after)
			w.due()
			must(t, w.Heartbeat(ctx))
			w.restart(true)
			must(t, w.Heartbeat(ctx)) // the first of a process prunes
			w.restart(true)
			if got := state(token); got != c.want {
				t.Errorf("%v later the token is %v, want %v", c.after, got, c.want)
			}
		}
	})
}

// Invariant: A1, A2
// Attack: AUD-11
func TestAWallClockThatWasSetBack(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		short, long := w.mustSubmit("user:ana", "read", time.Minute), w.mustSubmit("user:ana", "read", 10*time.Minute)
		dead, alive := w.token("user:ana", short.Grant.ID), w.token("user:ana", long.Grant.ID)
		waiting := w.mustSubmit("user:ana", "write", time.Minute)
		// The store has seen a time that the wall clock will show again only
		// in two minutes: as after a clock set back while the server was down.
		w.clock = clock.New(clock.Mark{At: w.clock.Now().Add(2 * time.Minute)})
		must(t, w.Heartbeat(ctx))
		w.restart(false)
		if w.active(dead) {
			t.Error("the clock set back revived a grant")
		}
		if !w.active(alive) {
			t.Error("a grant that has not ended is dead")
		}
		if err := w.Ready(); err == nil || !strings.Contains(err.Error(), "clock") {
			t.Errorf("readiness says %v", err)
		}
		_, err := w.submit("user:ana", "read", time.Minute)
		refused(t, err, "clock_skewed")
		_, err = w.vote("user:bo", waiting, "approve")
		refused(t, err, "clock_skewed")
		_, err = w.Issue(ctx, as("user:ana"), long.Grant.ID, "token", nil)
		refused(t, err, "clock_skewed")
		w.mustVote("user:bo", waiting, "deny")
		_, err = w.Revoke(ctx, as("user:ana"), long.Grant.ID, "")
		must(t, err)
		w.due()
		if n := len(w.entries("grant.ended")); n != 2 {
			t.Errorf("%d grants ended on record", n)
		}
		last := time.Time{}
		for _, e := range w.entries(audit.Types()...) { // checks that the sequence has no gap
			if e.Time.Before(last) {
				t.Errorf("entry %d is earlier than the one before it", e.Seq)
			}
			last = e.Time.Time
		}
	})
}
