package broker_test

import (
	"context"
	"testing"
	"time"
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
