package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

func once(key, body string) *broker.Once {
	o := &broker.Once{Route: "POST /v1/requests", Key: key, Encode: func(result any, err error) broker.Reply {
		var refused *broker.Error
		if errors.As(err, &refused) && refused.Kind == broker.Unavailable {
			return broker.Reply{Status: 503}
		}
		if err != nil {
			return broker.Reply{Status: 403, Body: []byte(err.Error())}
		}
		switch v := result.(type) {
		case broker.View:
			return broker.Reply{Status: 201, Body: []byte(v.ID)}
		case api.Credential:
			if v.Secret != nil {
				return broker.Reply{Status: 201, Body: []byte(*v.Secret)}
			}
			return broker.Reply{Status: 201, Body: []byte("no secret")}
		}
		return broker.Reply{Status: 200}
	}}
	copy(o.Body[:], body)
	return o
}

// Invariant: A23
// Attack: REQ-08, REQ-09
func TestAnIdempotentCallHappensOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		submit := func(who string, o *broker.Once) (broker.View, error) {
			return w.Submit(context.Background(), as(who), broker.Submission{Resource: "orders", Role: "write", Duration: time.Minute, Reason: "x"}, o)
		}
		v, err := submit("user:ana", once("k", "a"))
		must(t, err)
		for _, clean := range []bool{true, false} {
			_, err = submit("user:ana", once("k", "a"))
			var again *broker.Replayed
			if !errors.As(err, &again) || string(again.Reply.Body) != v.ID || again.Reply.Status != 201 {
				t.Fatalf("%v", err)
			}
			_, err = submit("user:ana", once("k", "b"))
			refused(t, err, "idempotency_key_reused")
			w.restart(clean)
		}
		other, err := submit("user:dee", once("k", "a"))
		must(t, err)
		if other.ID == v.ID {
			t.Error("another principal's key gave the same request")
		}
		time.Sleep(25 * time.Hour)
		late, err := submit("user:ana", once("k", "a"))
		must(t, err)
		if late.ID == v.ID {
			t.Error("the key is kept longer than a day")
		}
	})
}

// Invariant: A21
func TestAReplayedCredentialShowsNoSecret(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "read", time.Minute)
		issue := func() (api.Credential, error) {
			return w.Issue(context.Background(), as("user:ana"), v.Grant.ID, "token", once("k", "a"))
		}
		c, err := issue()
		must(t, err)
		if c.Secret == nil || !w.active(*c.Secret) {
			t.Fatal("no good secret the first time")
		}
		_, err = issue()
		var again *broker.Replayed
		if !errors.As(err, &again) || string(again.Reply.Body) != "no secret" {
			t.Errorf("%v", err)
		}
		if n := len(w.entries("credential.issued")); n != 1 {
			t.Errorf("%d credentials were issued", n)
		}
	})
}

func TestARefusalIsRepliedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		submit := func() error {
			_, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "nothing", Duration: time.Minute}, once("k", "a"))
			return err
		}
		refused(t, submit(), "invalid_field")
		var again *broker.Replayed
		if err := submit(); !errors.As(err, &again) || again.Reply.Status != 403 {
			t.Errorf("%v", err)
		}
	})
}

// Attack: REQ-08
func TestOneKeyManyAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				_, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "write", Duration: time.Minute, Reason: "x"}, once("k", "a"))
				var again *broker.Replayed
				var busy *broker.Error
				if err != nil && !errors.As(err, &again) && (!errors.As(err, &busy) || busy.Code != "idempotency_key_in_flight") {
					t.Errorf("%v", err)
				}
			})
		}
		group.Wait()
		if n := len(w.entries("request.created")); n != 1 {
			t.Errorf("%d requests were made", n)
		}
	})
}

// Attack: REQ-10, RES-02, APV-27
func TestPendingRequestsAreBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		var group sync.WaitGroup
		var mu sync.Mutex
		made, tooMany := 0, 0
		for range 200 {
			group.Go(func() {
				_, err := w.submit("user:ana", "write", time.Minute)
				mu.Lock()
				defer mu.Unlock()
				var e *broker.Error
				switch {
				case err == nil:
					made++
				case errors.As(err, &e) && e.Kind == broker.TooMany && e.RetryAfter > 0:
					tooMany++
				default:
					t.Errorf("%v", err)
				}
			})
		}
		group.Wait()
		if made != 20 || tooMany != 180 {
			t.Errorf("%d made, %d refused", made, tooMany)
		}
		if _, err := w.submit("user:ana", "read", time.Minute); err != nil {
			t.Errorf("what is decided at once is held up: %v", err)
		}
		if _, err := w.submit("user:dee", "write", time.Minute); err != nil {
			t.Errorf("another requester is held up: %v", err)
		}
	})
}

// Attack: WEB-07
func TestCursorsOfListsAreTheirCallersOwn(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 5 {
			w.mustSubmit("user:ana", "write", time.Minute)
			time.Sleep(time.Millisecond)
		}
		ctx := context.Background()
		seen := map[string]bool{}
		cursor := ""
		for range 3 {
			items, next, err := w.Requests(ctx, as("user:ana"), broker.RequestQuery{Page: broker.Page{Limit: 2, Cursor: cursor}})
			must(t, err)
			for _, v := range items {
				if seen[v.ID] {
					t.Error("a request is on two pages")
				}
				seen[v.ID] = true
			}
			if cursor = next; next == "" {
				break
			}
		}
		if len(seen) != 5 {
			t.Errorf("%d of 5 requests are on the pages", len(seen))
		}
		_, mine, err := w.Requests(ctx, as("user:ana"), broker.RequestQuery{Page: broker.Page{Limit: 2}})
		must(t, err)
		for name, c := range map[string]struct{ who, cursor string }{
			"another caller": {"user:bo", mine}, "made up": {"user:ana", "AAAA"}, "changed": {"user:ana", mine[:len(mine)-1] + "A"},
		} {
			_, _, err := w.Requests(ctx, as(c.who), broker.RequestQuery{Page: broker.Page{Cursor: c.cursor}})
			if e := refused(t, err, "invalid_cursor"); e.Kind != broker.Malformed {
				t.Errorf("%s: %v", name, e)
			}
		}
		_, _, err = w.Grants(ctx, as("user:ana"), "", broker.Page{Cursor: mine})
		refused(t, err, "invalid_cursor")
	})
}

// Attack: APV-27
func TestListsOfAReviewer(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "write", time.Minute)
		time.Sleep(time.Millisecond)
		w.mustSubmit("user:ana", "read", time.Minute)
		for who, want := range map[string]int{"user:bo": 1, "user:cy": 1, "user:ana": 0, "user:ada": 0, "user:dee": 0} {
			items, _, err := w.Requests(context.Background(), as(who), broker.RequestQuery{Role: "reviewer", State: "pending"})
			must(t, err)
			if len(items) != want || want == 1 && items[0].ID != v.ID {
				t.Errorf("%s has %d to review, want %d", who, len(items), want)
			}
		}
		mine, _, err := w.Requests(context.Background(), as("user:ana"), broker.RequestQuery{Role: "requester"})
		must(t, err)
		if len(mine) != 2 || fmt.Sprint(mine[1].Actions) != "[cancel]" {
			t.Errorf("%d of hers", len(mine))
		}
	})
}
