package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Requests are read before the commit that lets time act on them. What somebody
// else has written in between holds, and of the others none is left out.
//
// Invariant: A2, A30
func TestWhatChangesBetweenReadingAndWritingADeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		var grants []broker.View
		for range 5 {
			grants = append(grants, w.mustSubmit("user:ana", "read", time.Minute))
		}
		time.Sleep(2 * time.Minute)
		others := 0
		w.broken.update = func(class sqlstore.Class) error {
			if class == sqlstore.Ends && others == 0 {
				others++
				// It finds the grant expired, and writes that down itself.
				if _, err := w.Revoke(ctx, as("user:ana"), grants[2].Grant.ID, "too late"); err != nil {
					t.Error(err)
				}
			}
			return nil
		}
		w.due()
		w.broken.update = nil
		if others != 1 {
			t.Fatal("nobody came in between")
		}
		ended := map[string]int{}
		for _, e := range w.entries("grant.ended") {
			ended[*e.Grant]++
		}
		for i, v := range grants {
			g := w.get("user:ana", v.ID).Grant
			if ended[v.Grant.ID] != 1 || g.EndedReason == nil || *g.EndedReason != "expired" || !g.EndedAt.Equal(v.Grant.ExpiresAt.Time) {
				t.Errorf("grant %d: %d ends are on record, it is %+v", i, ended[v.Grant.ID], g)
			}
		}
		if live, _ := w.index.Len(); live != 0 {
			t.Errorf("%d grants are live in the index", live)
		}
	})
}

// An extension that waits lapses with its grant, also where others end in the
// same commit that nobody wants extended.
//
// Invariant: A6
func TestExtensionsLapseAmongManyEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		var asked []broker.View
		for i := range 6 {
			if i%3 != 1 {
				w.mustSubmit("user:ana", "read", 10*time.Minute)
				continue
			}
			v := w.granted(10 * time.Minute)
			more, err := w.Extend(context.Background(), as("user:ana"), v.Grant.ID, 10*time.Minute, "more", "", nil)
			must(t, err)
			if more.State != "pending" {
				t.Fatalf("the extension is %s", more.State)
			}
			asked = append(asked, more)
		}
		time.Sleep(11 * time.Minute)
		w.due()
		for _, v := range asked {
			if got := w.get("user:ana", v.ID).State; got != "expired" {
				t.Errorf("the extension %s is %s", v.ID, got)
			}
		}
		if n := len(w.entries("grant.ended")); n != 6 {
			t.Errorf("%d ends are on record", n)
		}
	})
}
