package broker_test

import (
	"context"
	"testing"
	"time"
)

// A browser's login is a credential like any other.
//
// Invariant: A38
func TestNoLoginWhileIssuingIsOff(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		v := w.granted(time.Hour)
		token := w.token("user:ana", v.Grant.ID)
		_, err := w.SetIssuing(ctx, as("user:ada"), false)
		must(t, err)
		_, _, err = w.Cookie(ctx, token, "orders.localhost")
		refused(t, err, "issuing_off")
		if !w.active(token) {
			t.Error("the token that was issued before is not good any more")
		}
		_, err = w.SetIssuing(ctx, as("user:ada"), true)
		must(t, err)
		_, _, err = w.Cookie(ctx, token, "orders.localhost")
		must(t, err)
	})
}

// Invariant: A38
func TestIssuingStaysOffOverRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		_, err := w.SetIssuing(context.Background(), as("user:ada"), false)
		must(t, err)
		for _, clean := range []bool{true, false} {
			w.restart(clean)
			_, err := w.submit("user:ana", "read", time.Minute)
			refused(t, err, "issuing_off")
		}
		_, err = w.SetIssuing(context.Background(), as("user:ada"), true)
		must(t, err)
		w.restart(false)
		w.mustSubmit("user:ana", "read", time.Minute)
	})
}

// A service's credential is the service's: neither who owns it, nor who
// approved, nor an admin is given one.
//
// Invariant: A9, A21
func TestOnlyTheGranteeGetsACredential(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("service:ci", "write", time.Hour)
		w.mustVote("user:bo", v, "approve")
		v = w.mustVote("user:cy", v, "approve")
		for _, who := range []string{"user:ana", "user:ana2", "user:bo", "user:cy", "user:ada", "user:dee", "agent:bot"} {
			if _, err := w.Issue(context.Background(), as(who), v.Grant.ID, "token", nil); err == nil {
				t.Errorf("%s was given a credential of service:ci", who)
			}
		}
		if w.token("service:ci", v.Grant.ID) == "" {
			t.Error("service:ci was given none")
		}
	})
}

// Whoever waits for a request to move is told nothing once their token is
// revoked.
//
// Attack: APV-09
func TestAWaitEndsWithItsToken(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		made, err := w.CreateToken(ctx, as("user:ana"), "", "short", time.Hour, nil)
		must(t, err)
		caller, err := w.Authenticate(*made.Secret, "192.0.2.1", "api")
		must(t, err)
		v := w.mustSubmit("user:ana", "write", time.Minute)
		wait := func() chan error {
			done := make(chan error, 1)
			go func() {
				_, err := w.WaitRequest(ctx, caller, v.ID, v.Version)
				done <- err
			}()
			time.Sleep(time.Second)
			return done
		}
		done := wait()
		v = w.mustVote("user:bo", v, "approve")
		must(t, <-done)
		done = wait()
		must(t, w.DeleteToken(ctx, as("user:ana"), made.ID))
		refused(t, <-done, "unauthorized")
	})
}
