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
