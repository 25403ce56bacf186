package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
)

// A token that is short because it was exchanged, or made in a login, makes no
// long one.
//
// Invariant: A3
func TestAShortTokenMakesNoLongOne(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		made, err := w.exchange("run1 service:ci 1h")
		must(t, err)
		job, err := w.caller(made)
		must(t, err)
		_, err = w.CreateToken(ctx, job, "", "for ever", 8760*time.Hour, nil)
		refused(t, err, "forbidden")

		in := w.comes("ana-1")
		token, err := w.CreateToken(ctx, w.by(in.Secret), "", "day", 24*time.Hour, nil)
		must(t, err)
		time.Sleep(time.Hour)
		ana, err := w.Authenticate(*token.Secret, "192.0.2.9", "api")
		must(t, err)
		if _, err := w.CreateToken(ctx, ana, "", "longer", 24*time.Hour, nil); err == nil {
			t.Error("a token of a login made one that outlives it")
		}
		if _, err := w.CreateToken(ctx, ana, "", "rotated", 23*time.Hour, nil); err != nil {
			t.Errorf("a token made none that ends with it: %v", err)
		}
	})
}

// Who sends is found out before the body of a call has come, which can take a
// while. What was ended in the meantime makes no token any more.
//
// Invariant: A5
// Attack: OID-09
func TestWhatHasEndedMakesNoToken(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		login := w.by(w.comes("ana-1").Secret)
		token, err := w.CreateToken(ctx, login, "", "day", 24*time.Hour, nil)
		must(t, err)
		service, err := w.CreateToken(ctx, login, "service:ci", "ci", 24*time.Hour, nil)
		must(t, err)
		callers := []identity.Caller{login}
		for _, made := range []api.Token{token, service} {
			c, err := w.Authenticate(*made.Secret, "192.0.2.9", "api")
			must(t, err)
			callers = append(callers, c)
		}
		must(t, errorOf(w.EndLogins(ctx, as("user:ana"), "")))
		must(t, w.DeleteToken(ctx, as("user:ana"), token.ID))
		must(t, w.DeleteToken(ctx, as("user:ana"), service.ID))
		for _, c := range callers {
			_, err := w.CreateToken(ctx, c, "", "after", time.Hour, nil)
			refused(t, err, "unauthorized")
		}
	})
}
