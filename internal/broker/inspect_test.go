package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/policy"
	httpkind "github.com/daypass/daypass/internal/resource/http"
)

// What was answered once is answered again, whatever has become of the target
// meanwhile, and without a look at it.
//
// Invariant: A23
// Attack: REQ-08
func TestAReplayNeedsNoTarget(t *testing.T) {
	looks := 0
	var down error
	look := func() (policy.Finding, error) {
		looks++
		return policy.Finding{Target: json.RawMessage(`{}`)}, down
	}
	withWorld(t, func(w *world) { w.inspect = look }, func(w *world) {
		submit := func(o *broker.Once) (broker.View, error) {
			return w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "write", Duration: time.Minute, Reason: "x"}, o)
		}
		v, err := submit(once("k", "a"))
		must(t, err)
		for _, down = range []error{errors.New("the target is down"), &policy.Unfit{Message: "There is no such table."}} {
			_, err = submit(once("k", "a"))
			var again *broker.Replayed
			if !errors.As(err, &again) || again.Reply.Status != 201 || string(again.Reply.Body) != v.ID {
				t.Errorf("while %v: %v", down, err)
			}
			_, err = submit(once("k", "b"))
			refused(t, err, "idempotency_key_reused")
		}
		if looks != 1 {
			t.Errorf("it was looked at %d times", looks)
		}
		down = errors.New("the target is down")
		_, err = submit(once("other", "a"))
		refused(t, err, "target_unavailable")
		down = nil // which is no answer to be kept
		if _, err = submit(once("other", "a")); err != nil {
			t.Error(err)
		}
		if looks != 3 {
			t.Errorf("it was looked at %d times", looks)
		}
	})
}

// While a target is being looked at, a second call with the same key is told to
// wait, and does not look too.
//
// Attack: REQ-08
func TestACallThatLooksIsInFlight(t *testing.T) {
	began, goOn := make(chan struct{}, 9), make(chan struct{})
	look := func() (policy.Finding, error) {
		began <- struct{}{}
		<-goOn
		return policy.Finding{Target: json.RawMessage(`{}`)}, nil
	}
	withWorld(t, func(w *world) {
		began, goOn = make(chan struct{}, 9), make(chan struct{})
		w.inspect = look
	}, func(w *world) {
		submit := func() error {
			_, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "write", Duration: time.Minute, Reason: "x"}, once("k", "a"))
			return err
		}
		first := make(chan error, 1)
		go func() { first <- submit() }()
		<-began
		refused(t, submit(), "idempotency_key_in_flight")
		close(goOn)
		must(t, <-first)
		if len(began) != 0 {
			t.Error("the second looked too")
		}
	})
}

// provenKind is http whose clients prove their tokens.
type provenKind struct{ httpkind.Kind }

func (provenKind) Proven() {}

// A token of a kind whose clients prove it is kept with its verifier, whether
// that was derived before the transaction or in it.
//
// Invariant: A21
func TestATokenIsKeptWithItsVerifier(t *testing.T) {
	withWorld(t, func(w *world) { w.kinds = []policy.Kind{provenKind{}} }, func(w *world) {
		v := w.mustSubmit("user:ana", "read", 5*time.Minute)
		grant := v.Grant.ID
		for _, c := range []struct {
			who, grant, format string
			before             bool
		}{
			{"user:ana", grant, "token", true}, {"user:ana", grant, "", true}, {"user:ana", grant, "jwt", false},
			{"user:bo", grant, "token", false}, {"user:ana", credential.NewID("grt"), "token", false},
		} {
			if got := w.Verifies(as(c.who), c.grant, c.format); got != c.before {
				t.Errorf("%+v: %v", c, got)
			}
		}
		proves := func(token string, n int) {
			t.Helper()
			all, err := w.Verifiers(context.Background(), grant)
			must(t, err)
			want, err := credential.NewVerifier(credential.NewSecret(token), grant)
			must(t, err)
			if len(all) != n {
				t.Errorf("%d verifiers, want %d", len(all), n)
			}
			for _, v := range all {
				if v == want {
					return
				}
			}
			t.Error("none of them is of the token")
		}
		token := w.token("user:ana", grant)
		proves(token, 1)
		if other := w.token("user:ana", grant); other == token {
			t.Error("twice the same token")
		} else {
			proves(other, 2)
		}
		_, err := w.SetIssuing(context.Background(), as("user:ada"), false)
		must(t, err)
		if w.Verifies(as("user:ana"), grant, "token") {
			t.Error("derived although nothing is issued")
		}
		_, err = w.SetIssuing(context.Background(), as("user:ada"), true)
		must(t, err)
		time.Sleep(6 * time.Minute)
		if w.Verifies(as("user:ana"), grant, "token") {
			t.Error("derived of a grant that is over")
		}
	})
}

// Who asks for a credential of a grant that is being made real gets it when that
// is done, and learns at once when it cannot be.
//
// Invariant: A1
func TestIssueAwaitsTheGrant(t *testing.T) {
	for name, c := range map[string]struct {
		problem error
		restart bool
	}{"made": {nil, false}, "not to be made": {broker.ErrGiveUp, false}, "made after a restart": {nil, true}, "not to be made after a restart": {broker.ErrGiveUp, true}} {
		problem := c.problem
		t.Run(name, func(t *testing.T) {
			withWorld(t, func(w *world) { w.connectors = map[string]bool{"http": true} }, func(w *world) {
				v := w.mustSubmit("user:ana", "read", 5*time.Minute)
				if c.restart {
					w.restart(true)
				}
				_, err := w.Issue(context.Background(), as("user:bo"), v.Grant.ID, "token", nil)
				refused(t, err, "not_found")
				asked := make(chan error, 1)
				began := time.Now()
				go func() {
					_, err := w.Issue(context.Background(), as("user:ana"), v.Grant.ID, "token", nil)
					asked <- err
				}()
				time.Sleep(2 * time.Second)
				if len(asked) > 0 {
					t.Fatalf("issued before the grant was made: %v", <-asked)
				}
				must(t, w.Done(context.Background(), broker.Outcome{Job: w.jobs()[0], Problem: problem}))
				if err := <-asked; problem == nil {
					must(t, err)
				} else {
					refused(t, err, "not_active")
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("it took %v", took)
				}
				if _, err := w.Issue(context.Background(), as("user:ana"), v.Grant.ID, "token", nil); (err == nil) != (problem == nil) {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

// How several jobs went is written down in one commit, or not at all.
//
// Invariant: A39
func TestOutcomesAreKeptTogether(t *testing.T) {
	withWorld(t, func(w *world) { w.connectors = map[string]bool{"http": true} }, func(w *world) {
		var views []broker.View
		for range 3 {
			views = append(views, w.mustSubmit("user:ana", "read", 5*time.Minute))
		}
		var all []broker.Outcome
		for _, j := range w.jobs() {
			all = append(all, broker.Outcome{Job: j})
		}
		if len(all) != 3 {
			t.Fatalf("%d jobs", len(all))
		}
		unknown := all[2]
		unknown.Job.Request = "req_aaaaaaaaaaaaaaaaaaaaaaaaaa"
		if err := w.Done(context.Background(), all[0], all[1], unknown); err == nil {
			t.Error("the outcome of a job of no request was kept")
		}
		for _, v := range views {
			if g := w.get("user:ana", v.ID).Grant; g.State != "activating" {
				t.Errorf("it is %s after a commit that failed", g.State)
			}
		}
		must(t, w.Done(context.Background(), all...))
		for _, v := range views {
			if g := w.get("user:ana", v.ID).Grant; g.State != "active" {
				t.Errorf("it is %s", g.State)
			}
		}
		if n := len(w.entries("grant.activated")); n != 3 {
			t.Errorf("%d are on record", n)
		}
	})
}

// The worker is woken by the commit that queues a job, and by no other.
func TestQueuedTellsOfJobs(t *testing.T) {
	withWorld(t, func(w *world) { w.connectors = map[string]bool{"http": true} }, func(w *world) {
		woken := func(c <-chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		queued := w.Queued()
		w.mustSubmit("user:ana", "write", time.Minute) // waits for reviews
		if woken(queued) {
			t.Error("told of a job where there is none")
		}
		w.mustSubmit("user:ana", "read", time.Minute)
		if !woken(queued) {
			t.Error("not told of a job")
		}
	})
}
