package broker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// many makes more grants of ana than one commit ends, and before them one that
// starts in a minute.
func (w *world) many() (scheduled broker.View) {
	w.t.Helper()
	start := time.Now().Add(time.Minute)
	scheduled, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "read", Duration: 5 * time.Minute, Reason: "r", StartAt: &start}, nil)
	must(w.t, err)
	if scheduled.Grant == nil || scheduled.Grant.State != "scheduled" {
		w.t.Fatalf("it is %+v", scheduled.Grant)
	}
	for range 210 {
		w.mustSubmit("user:ana", "read", 5*time.Minute)
	}
	return scheduled
}

// revokeMany revokes everything of ana.
func (w *world) revokeMany() {
	w.t.Helper()
	w.revoked = time.Now().UTC().Truncate(time.Millisecond)
	out, err := w.RevokeAll(context.Background(), as("user:ada"), "user:ana", "", "left", nil)
	must(w.t, err)
	if out.Count != 211 {
		w.t.Fatalf("%d were revoked, want 211", out.Count)
	}
}

// failEnds has ends fail after the next few.
func (w *world) failEnds(after int64) {
	var ends atomic.Int64
	w.broken.update = func(class sqlstore.Class) error {
		if class == sqlstore.Ends && ends.Add(1) > after {
			return errors.New("not now")
		}
		return nil
	}
}

// gone checks that a grant is revoked, and that nothing is to be had of it.
func (w *world) gone(t *testing.T, v broker.View) {
	w.t.Helper()
	w.due()
	g := w.get("user:ana", v.ID).Grant
	if g.State != "ended" || g.EndedReason == nil || *g.EndedReason != "revoked" || !g.EndedAt.Equal(w.revoked) {
		w.t.Errorf("after it was revoked the grant is %s, since %v; want %v", g.State, g.EndedAt, w.revoked)
	}
	_, err := w.Issue(context.Background(), as("user:ana"), g.ID, "token", nil)
	refused(t, err, "not_active")
	if live, _ := w.index.Len(); live != 0 {
		w.t.Errorf("%d grants are live in the index", live)
	}
}

// A grant that was revoked among very many before its start does not start,
// also when its start has come by the time its row is written.
//
// Invariant: A2, A5
func TestWhatIsRevokedAmongManyDoesNotStart(t *testing.T) {
	t.Run("while issuing is off", func(t *testing.T) {
		inWorld(t, func(w *world) {
			v := w.many()
			_, err := w.SetIssuing(context.Background(), as("user:ada"), false)
			must(t, err)
			time.Sleep(2 * time.Minute) // its start has come, and waits
			w.revokeMany()
			time.Sleep(time.Second)
			_, err = w.SetIssuing(context.Background(), as("user:ada"), true)
			must(t, err)
			w.gone(t, v)
		})
	})
	t.Run("while the rows wait", func(t *testing.T) {
		inWorld(t, func(w *world) {
			v := w.many()
			w.failEnds(1)
			w.revokeMany()
			time.Sleep(2 * time.Minute)
			w.restart(false)
			time.Sleep(time.Second)
			w.gone(t, v)
		})
	})
}

// Whose own end came before their rows were written were revoked all the same,
// at the instant of the revocation.
//
// Invariant: A2, A30
func TestWhatIsRevokedAmongManyDidNotExpire(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.many()
		w.failEnds(1)
		w.revokeMany()
		time.Sleep(20 * time.Minute)
		w.restart(false)
		time.Sleep(time.Second)
		w.gone(t, v)
		if n := len(w.entries("grant.ended")); n != 211 {
			t.Errorf("%d ends are on record", n)
		}
	})
}
