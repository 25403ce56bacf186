package gateway

import (
	"context"
	"errors"
	"testing"
)

// A session's context is made when it is first asked for, which may be after
// its end.
func TestAContextFirstAskedForAfterTheEndIsOver(t *testing.T) {
	f := newFixture(false)
	open := func() *Session {
		s, err := f.Open(context.Background(), f.attempt())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	running, cut, closed := open(), open(), open()
	if err := running.Context().Err(); err != nil {
		t.Errorf("of a running session: %v", err)
	}
	f.Kill(cut.ID)
	var cause *Ended
	if ctx := cut.Context(); ctx.Err() == nil || !errors.As(context.Cause(ctx), &cause) || cause.Reason != EndKilled {
		t.Errorf("of a session that was cut: %v", context.Cause(ctx))
	}
	closed.Close(Stats{})
	if closed.Context().Err() == nil {
		t.Error("of a closed session: it goes on")
	}
	running.Close(Stats{})
	if running.Context().Err() == nil {
		t.Error("closing a session left its context")
	}
	cut.Close(Stats{})
}
