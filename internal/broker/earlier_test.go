package broker_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// When the store has one reader left and nothing of an earlier catalog is in
// memory, as after a start, its requests can be read all the same: nobody waits
// for a second reader while they hold one.
//
// Invariant: A37
func TestRequestsOfAnEarlierCatalogNeedOneReader(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "write", time.Hour)
		w.change("max_total: 25m", "max_total: 20m")
		w.restart(true)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var others sync.WaitGroup
		release, ready := make(chan struct{}), make(chan struct{})
		for range 3 { // of the four that the store has
			others.Go(func() {
				must(t, w.store.View(context.Background(), func(*sqlstore.Tx) error {
					ready <- struct{}{}
					<-release
					return nil
				}))
			})
			<-ready
		}
		done := time.AfterFunc(time.Hour, func() { panic("a reader waits for a reader") })
		defer done.Stop()
		if items, _, err := w.Requests(ctx, as("user:bo"), broker.RequestQuery{}); err != nil || len(items) != 1 || items[0].ID != v.ID {
			t.Errorf("%d requests, %v", len(items), err)
		}
		close(release)
		others.Wait()
	})
}

// What the requester wrote is part of what is decided on anew at approval.
//
// Invariant: A7, A18
func TestAnApprovalIsDecidedOnTheSameWords(t *testing.T) {
	inWorld(t, func(w *world) {
		change := func(words string) {
			w.change("when: 'resource.id == \"orders\"', approve: {stages", "when: 'resource.id == \"orders\" && "+words+"', approve: {stages")
		}
		change(`unverified.reason.contains("write") && unverified.ticket == "INC-1"`)
		v, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "write", Duration: time.Minute, Reason: "because of write", Ticket: "INC-1"}, nil)
		must(t, err)
		w.mustVote("user:bo", v, "approve")
		if v = w.mustVote("user:cy", v, "approve"); v.State != "approved" {
			t.Errorf("%s: %s", v.State, v.Explanation)
		}
		v, err = w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "write", Duration: time.Minute, Reason: "because of write", Ticket: "INC-1"}, nil)
		must(t, err)
		w.mustVote("user:bo", v, "approve")
		change(`unverified.ticket == "INC-2"`)
		if v = w.mustVote("user:cy", v, "approve"); v.State != "denied" {
			t.Errorf("%s: %s", v.State, v.Explanation)
		}
	})
}

// The window begins at the approval, so that is the start that conditions see.
//
// Invariant: A7
func TestAnApprovalIsDecidedOnTheStartThatItGives(t *testing.T) {
	inWorld(t, func(w *world) {
		ends := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		w.change("when: 'resource.id == \"orders\"', approve: {stages", "when: 'resource.id == \"orders\" && request.starts_at < timestamp(\""+ends+"\")', approve: {stages")
		v := w.mustSubmit("user:ana", "write", time.Minute)
		w.mustVote("user:bo", v, "approve")
		time.Sleep(61 * time.Minute)
		if v = w.mustVote("user:cy", v, "approve"); v.State != "denied" || !strings.Contains(v.Explanation, "no rule") {
			t.Errorf("%s: %s", v.State, v.Explanation)
		}
	})
}
