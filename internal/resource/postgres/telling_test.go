package pgkind

import (
	"testing"
	"testing/synctest"
	"time"
)

// Backends are left alone until all clients have been told, but not for long.
//
// Invariant: A4
func TestClientsAreToldFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told telling
		took := func() time.Duration {
			began := time.Now()
			told.wait()
			return time.Since(began)
		}
		if d := took(); d != 0 {
			t.Errorf("nobody is told anything: waited %v", d)
		}
		a, b, c := &session{}, &session{}, &session{}
		told.begin(a)
		told.begin(a)
		told.begin(b)
		go func() {
			time.Sleep(10 * time.Millisecond)
			told.done(a)
			time.Sleep(10 * time.Millisecond)
			told.done(b)
			told.done(b)
		}()
		if d := took(); d != 20*time.Millisecond {
			t.Errorf("waited %v for two", d)
		}
		told.done(c) // closed in the very moment of its end
		told.begin(c)
		if d := took(); d != 0 {
			t.Errorf("waited %v for a session that is over", d)
		}
		told.begin(&session{}) // which does not read
		if d := took(); d != tellPause {
			t.Errorf("waited %v for who does not read", d)
		}
		many := make([]*session, 100)
		for i := range many {
			many[i] = &session{}
			told.begin(many[i])
		}
		go func() {
			for _, one := range many {
				time.Sleep(900 * time.Microsecond) // never in the instant of a pause
				told.done(one)
			}
		}()
		if d := took(); d != 125*time.Millisecond { // the one that does not read is still there
			t.Errorf("waited %v for a hundred", d)
		}
	})
}
