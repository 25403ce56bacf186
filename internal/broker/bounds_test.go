package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
)

// Attack: REQ-22
func TestARefusalTellsOutsidersNothingOfAResource(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, role := range []string{"read", "no-such-role"} {
			_, err := w.Submit(context.Background(), as("user:dee"), broker.Submission{Resource: "closed", Role: role, Duration: time.Minute, Reason: "x"}, nil)
			if e := refused(t, err, "not_requestable"); strings.Contains(e.Message, "read") {
				t.Errorf("%s: %s", role, e.Message)
			}
		}
		_, err := w.Submit(context.Background(), as("user:dee"), broker.Submission{Resource: "orders", Role: "no-such-role", Duration: time.Minute, Reason: "x"}, nil)
		if e := refused(t, err, "invalid_field"); !strings.Contains(e.Message, "read, write") {
			t.Errorf("who may ask is not told what for: %s", e.Message)
		}
	})
}

// Invariant: A37
func TestCredentialsOfOneGrantAreBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "read", 10*time.Minute)
		for range 1000 {
			w.token("user:ana", v.Grant.ID)
		}
		_, err := w.Issue(context.Background(), as("user:ana"), v.Grant.ID, "token", nil)
		if e := refused(t, err, "too_many_credentials"); e.Kind != broker.TooMany {
			t.Errorf("%+v", e)
		}
		other := w.mustSubmit("user:ana", "read", 10*time.Minute)
		w.token("user:ana", other.Grant.ID)
	})
}

func TestALogoutEndsTheCookieAndIsOnRecord(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "read", 10*time.Minute)
		token := w.token("user:ana", v.Grant.ID)
		cookie, _, err := w.Cookie(context.Background(), token, "orders.localhost")
		must(t, err)
		for range 2 {
			must(t, w.Logout(context.Background(), cookie))
		}
		if n := len(w.entries("token.revoked")); n != 1 {
			t.Errorf("%d entries", n)
		}
		if !w.active(token) {
			t.Error("the grant ended with the login")
		}
	})
}

// Invariant: A38
func TestStartsThatWaitHideNoDeadlineBehindThem(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		at := w.clock.Now().Add(time.Hour)
		for range 250 {
			_, err := w.Submit(ctx, as("user:ana"), broker.Submission{Resource: "orders", Role: "read", Duration: 10 * time.Minute, StartAt: &at, Reason: "later"}, nil)
			must(t, err)
		}
		_, err := w.SetIssuing(ctx, as("user:ada"), false)
		must(t, err)
		last := w.mustSubmit("user:ana", "write", time.Minute) // lapses in two hours
		time.Sleep(time.Hour + time.Minute)
		next, err := w.Due(ctx)
		must(t, err)
		if next.IsZero() || next.After(w.clock.Now().Add(2*time.Second)) {
			t.Errorf("the worker would not look again before %v", next)
		}
		time.Sleep(time.Hour)
		w.due()
		if n := len(w.entries("request.expired")); n != 1 {
			t.Errorf("%d requests lapsed behind the starts that wait", n)
		}
		if got := w.get("user:ana", last.ID).State; got != "expired" {
			t.Errorf("it is %s", got)
		}
	})
}
