package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/notify"
)

// withWorld is inWorld with settings made before the first start.
func withWorld(t *testing.T, prepare func(*world), f func(*world)) {
	t.Helper()
	inBubble(t, func(w *world) {
		prepare(w)
		w.start()
		defer w.stop()
		w.apply(base)
		f(w)
	})
}

// jobs claims what is due.
func (w *world) jobs() []broker.Job {
	w.t.Helper()
	jobs, _, err := w.Claim(context.Background(), 10)
	must(w.t, err)
	return jobs
}

// Invariant: A39
func TestAGrantThatMustBeMadeRealInItsTarget(t *testing.T) {
	withWorld(t, func(w *world) { w.connectors = map[string]bool{"http": true} }, func(w *world) {
		ctx := context.Background()
		v := w.mustSubmit("user:ana", "read", 10*time.Minute)
		if v.Grant.State != "activating" {
			t.Fatalf("it is %s before the connector ran", v.Grant.State)
		}
		jobs := w.jobs()
		if len(jobs) != 1 || jobs[0].Kind != broker.ProvisionJob || jobs[0].Request != v.ID {
			t.Fatalf("%+v", jobs)
		}
		if again := w.jobs(); len(again) != 0 {
			t.Error("a leased job was claimed twice")
		}
		w.restart(false) // the lease outlives the process, and runs out
		time.Sleep(2 * time.Minute)
		jobs = w.jobs()
		if len(jobs) != 1 || jobs[0].Attempts != 2 {
			t.Fatalf("after a crash: %+v", jobs)
		}
		must(t, w.Done(ctx, broker.Outcome{Job: jobs[0]}))
		token := w.token("user:ana", v.Grant.ID)
		if !w.active(token) {
			t.Error("not active after the connector's work")
		}
		g, err := w.Revoke(ctx, as("user:ana"), v.Grant.ID, "")
		must(t, err)
		if g.State != "ending" || w.active(token) {
			t.Errorf("it is %s, and its token must be dead", g.State)
		}
		for range 3 {
			jobs = w.jobs()
			if len(jobs) != 1 || jobs[0].Kind != broker.RemoveJob {
				t.Fatalf("%+v", jobs)
			}
			must(t, w.Done(ctx, broker.Outcome{Job: jobs[0], Problem: errors.New("the target is down"), RetryAt: w.clock.Now().Add(time.Minute)}))
			if g := w.get("user:ana", v.ID).Grant; g.State != "ending" || !g.CleanupPending || *g.EndedReason != "returned" {
				t.Errorf("it is %s, clean-up pending: %v", g.State, g.CleanupPending)
			}
			time.Sleep(time.Minute)
		}
		jobs = w.jobs()
		must(t, w.Done(ctx, broker.Outcome{Job: jobs[0]}))
		if g := w.get("user:ana", v.ID).Grant; g.State != "ended" || g.CleanupPending {
			t.Errorf("it is %s", g.State)
		}
		if a, b, c := len(w.entries("grant.ending")), len(w.entries("grant.cleanup_failed")), len(w.entries("grant.ended")); a != 1 || b != 3 || c != 1 {
			t.Errorf("%d ending, %d failed, %d ended entries", a, b, c)
		}
	})
}

func TestAGrantThatCannotBeMadeReal(t *testing.T) {
	withWorld(t, func(w *world) { w.connectors = map[string]bool{"http": true} }, func(w *world) {
		v := w.mustSubmit("user:ana", "read", 10*time.Minute)
		must(t, w.Done(context.Background(), broker.Outcome{Job: w.jobs()[0], Problem: errors.Join(broker.ErrGiveUp, errors.New("no such table"))}))
		g := w.get("user:ana", v.ID).Grant
		if g.State != "ending" || *g.EndedReason != "activation_failed" || len(w.entries("grant.activation_failed")) != 1 {
			t.Errorf("%s, %v", g.State, g.EndedReason)
		}
		if jobs := w.jobs(); len(jobs) != 1 || jobs[0].Kind != broker.RemoveJob {
			t.Errorf("nothing cleans up: %+v", jobs)
		}
	})
}

// Attack: WHK-18
func TestWhoIsTold(t *testing.T) {
	withWorld(t, func(w *world) { w.notifiers = []string{"webhook"} }, func(w *world) {
		ctx := context.Background()
		told := func() (types, to []string) {
			for _, j := range w.jobs() {
				f, recipients, err := w.Notice(ctx, j)
				must(t, err)
				types = append(types, f.Type)
				for _, r := range recipients {
					to = append(to, r.Principal)
				}
				if m, err := notify.Compose(f, recipients); len(recipients) > 0 && (err != nil || strings.Contains(m.Text, "dpgt_")) {
					t.Errorf("%v, %s", err, m.Text)
				}
				must(t, w.Done(ctx, broker.Outcome{Job: j}))
			}
			return types, to
		}
		expect := func(wantType, wantTo string) {
			t.Helper()
			types, to := told()
			if strings.Join(types, " ") != wantType || strings.Join(to, " ") != wantTo {
				t.Errorf("%v to %v, want %s to %s", types, to, wantType, wantTo)
			}
		}
		v := w.mustSubmit("user:ana", "write", 10*time.Minute)
		w.change("{id: user:ben, groups: [group:dba]}", "{id: user:ben}")
		expect("request.pending", "user:bo") // ben has left since
		w.mustVote("user:bo", v, "approve")
		expect("request.pending", "user:cy")
		w.mustVote("user:cy", v, "approve")
		expect("request.approved", "user:ana")
		_, err := w.Revoke(ctx, as("user:cy"), w.get("user:ana", v.ID).Grant.ID, "")
		must(t, err)
		expect("grant.ended", "user:ana")
		late := w.mustSubmit("user:ana", "write", 10*time.Minute)
		w.mustVote("user:bo", late, "deny")
		expect("request.pending", "") // there is nothing to review any more
		expect("request.denied", "user:ana")
	})
}
