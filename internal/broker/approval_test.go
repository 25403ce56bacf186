package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
)

// Invariant: A9, A10, A11
// Attack: APV-01, APV-02, APV-08, APV-14, APV-17, APV-26
func TestWhoMayApprove(t *testing.T) {
	for who, code := range map[string]string{
		"user:ana":      "self_approval",
		"user:ana2":     "self_approval", // the same person
		"service:ci":    "not_found",     // ana's own, and no approver
		"user:cy":       "stage_not_open",
		"user:dee":      "not_found", // may not even see it
		"user:ada":      "not_an_approver",
		"agent:bot":     "not_an_approver", // in the group, but no user
		"user:stranger": "not_found",
	} {
		t.Run(who, func(t *testing.T) {
			inWorld(t, func(w *world) {
				v := w.mustSubmit("user:ana", "write", time.Minute)
				for _, decision := range []string{"approve", "deny"} {
					_, err := w.vote(who, v, decision)
					refused(t, err, code)
				}
				if got := w.get("user:ana", v.ID); got.State != "pending" || len(got.Reviews) != 0 {
					t.Errorf("it is %s with %d reviews", got.State, len(got.Reviews))
				}
				if code != "not_found" && len(w.entries("review.refused")) != 2 {
					t.Error("the refusals are not on record")
				}
			})
		})
	}
}

// Invariant: A8
// Attack: APV-06, APV-07, APV-11
func TestAVoteIsBoundToWhatWasShown(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		v := w.mustSubmit("user:ana", "write", 30*time.Minute)
		other := w.mustSubmit("user:ana", "write", 30*time.Minute)
		_, err := w.Review(ctx, as("user:bo"), v.ID, broker.Vote{Decision: "approve", ContentHash: other.ContentHash}, nil)
		refused(t, err, "content_changed")
		_, err = w.Review(ctx, as("user:bo"), v.ID, broker.Vote{Decision: "approve"}, nil)
		refused(t, err, "invalid_field")
		_, err = w.Review(ctx, as("user:bo"), v.ID, broker.Vote{Decision: "approve", ContentHash: v.ContentHash, Duration: time.Hour}, nil)
		refused(t, err, "invalid_field")
		_, err = w.Review(ctx, as("user:bo"), v.ID, broker.Vote{Decision: "approve", ContentHash: v.ContentHash, Duration: 10 * time.Minute}, nil)
		must(t, err)
		_, err = w.vote("user:bo", v, "approve")
		refused(t, err, "already_voted")
		_, err = w.vote("user:ben", v, "approve")
		refused(t, err, "stage_not_open") // the stage of the dba is full
		done := w.mustVote("user:cy", v, "approve")
		if done.ContentHash != v.ContentHash {
			t.Error("votes or narrowing changed the hash")
		}
		if got := done.Grant.ExpiresAt.Sub(done.Grant.StartsAt.Time); got != 10*time.Minute {
			t.Errorf("narrowed to 10m, the grant lasts %v", got)
		}
	})
}

// Attack: APV-28
func TestOneDenyIsFinal(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "write", time.Minute)
		if got := w.mustVote("user:bo", v, "deny"); got.State != "denied" {
			t.Fatalf("it is %s", got.State)
		}
		_, err := w.vote("user:ben", v, "approve")
		refused(t, err, "already_decided")
	})
}

// Attack: APV-10
func TestAVoteAfterTheDeadlineDoesNotCount(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "write", time.Minute)
		time.Sleep(2 * time.Hour)
		_, err := w.vote("user:bo", v, "approve")
		refused(t, err, "already_decided")
		if got := w.get("user:ana", v.ID); got.State != "expired" || len(w.entries("request.expired")) != 1 {
			t.Errorf("it is %s", got.State)
		}
	})
}

// Invariant: A7, A12
// Attack: APV-04, APV-05, REQ-12
func TestManyDecideAtOnce(t *testing.T) {
	acts := []struct {
		who, decision string
	}{{"user:bo", "approve"}, {"user:ben", "approve"}, {"user:cy", "approve"}, {"user:bo", "deny"}, {"user:ben", "deny"}, {"user:cy", "deny"}, {"user:ana", "cancel"}, {"user:cy", "approve"}}
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				v := w.mustSubmit("user:ana", "write", time.Hour)
				order := rand.New(rand.NewPCG(seed, 1)).Perm(len(acts))
				var group sync.WaitGroup
				var mu sync.Mutex
				finals := 0
				for _, i := range order[:2+int(seed%6)] {
					act := acts[i]
					group.Go(func() {
						var out broker.View
						var err error
						if act.decision == "cancel" {
							out, err = w.Cancel(context.Background(), as(act.who), v.ID)
						} else {
							out, err = w.vote(act.who, v, act.decision)
						}
						var lost *broker.Error
						if err != nil && !errors.As(err, &lost) {
							t.Errorf("%s %s: %v", act.who, act.decision, err)
						}
						mu.Lock()
						defer mu.Unlock()
						if err == nil && out.State != "pending" {
							finals++
						}
					})
				}
				group.Wait()
				end := w.get("user:ada", v.ID)
				decided := len(w.entries("request.approved", "request.denied", "request.cancelled"))
				if (end.State == "pending") != (decided == 0) || decided > 1 || finals > 1 {
					t.Errorf("%s after %d decisions, of which %d were told as final", end.State, decided, finals)
				}
				if grants := len(w.entries("grant.activated")); (end.State == "approved") != (grants == 1) || grants > 1 {
					t.Errorf("%s with %d grants", end.State, grants)
				}
				persons := map[string]bool{}
				for _, r := range end.Reviews {
					if persons[r.By] {
						t.Errorf("%s voted twice", r.By)
					}
					persons[r.By] = true
				}
			})
		})
	}
}

// Attack: APV-25
func TestTheStricterOfFrozenAndCurrentHolds(t *testing.T) {
	two := "{name: dba, from: [group:dba], quorum: 1}"
	t.Run("more are needed now", func(t *testing.T) {
		inWorld(t, func(w *world) {
			v := w.mustSubmit("user:ana", "write", time.Hour)
			w.mustVote("user:bo", v, "approve")
			w.change(two, "{name: dba, from: [group:dba], quorum: 2}")
			if got := w.mustVote("user:cy", v, "approve"); got.State != "pending" || len(got.Stages) != 3 {
				t.Fatalf("%s with stages %+v", got.State, got.Stages)
			}
			if got := w.mustVote("user:ben", v, "approve"); got.State != "approved" {
				t.Errorf("%s after the second dba", got.State)
			}
		})
	})
	t.Run("fewer are needed now", func(t *testing.T) {
		inWorld(t, func(w *world) {
			v := w.mustSubmit("user:ana", "write", time.Hour)
			w.change("approve: {stages: ["+two+", {name: owner, from: [resource.owners], quorum: 1}]}", "approve: auto", ", approve_within: 2h", "")
			if got := w.mustVote("user:bo", v, "approve"); got.State != "pending" {
				t.Errorf("%s although the frozen terms ask for an owner too", got.State)
			}
		})
	})
	t.Run("not so long any more", func(t *testing.T) {
		inWorld(t, func(w *world) {
			v := w.mustSubmit("user:ana", "write", time.Hour)
			w.change("max_duration: 1h", "max_duration: 30m")
			w.mustVote("user:bo", v, "approve")
			if got := w.mustVote("user:cy", v, "approve"); got.State != "denied" || got.DecidedBy != "system:policy" {
				t.Errorf("%s by %s", got.State, got.DecidedBy)
			}
		})
	})
}

func TestWhoJoinsAGroupLaterDoesNotDecideOnEarlierRequests(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "write", time.Hour)
		w.change("{id: user:dee, ", "{id: user:dee, groups: [group:dba], ")
		_, err := w.vote("user:dee", v, "approve")
		refused(t, err, "not_found")
		later := w.mustSubmit("user:ana", "write", time.Hour)
		w.mustVote("user:dee", later, "approve")
		w.restart(true) // the earlier catalog is read from the store again
		_, err = w.vote("user:dee", v, "approve")
		refused(t, err, "not_found")
		w.mustVote("user:bo", v, "approve")
	})
}

// Attack: APV-08, APV-09
func TestAnApproverWhoLeftDoesNotCount(t *testing.T) {
	for name, left := range map[string]string{"the group": "{id: user:bo}", "altogether": "{id: user:bo, groups: [group:dba], disabled: true}"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				v := w.mustSubmit("user:ana", "write", time.Hour)
				w.mustVote("user:bo", v, "approve")
				w.change("{id: user:bo, groups: [group:dba], email: bo@example.com}", left)
				_, err := w.vote("user:cy", v, "approve")
				refused(t, err, "stage_not_open") // the dba's stage is open again
				if shown := w.get("user:ana", v.ID); len(shown.Stages[0].Approvals) != 0 || strings.Contains(shown.Explanation, "user:bo") || !strings.Contains(shown.Explanation, "group:dba") {
					t.Errorf("shown as %+v: %s", shown.Stages, shown.Explanation)
				}
				w.mustVote("user:ben", v, "approve")
				if got := w.mustVote("user:cy", v, "approve"); got.State != "approved" {
					t.Errorf("it is %s", got.State)
				}
			})
		})
	}
}

// Attack: REQ-16, REQ-22
func TestWhoMaySeeARequest(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "write", time.Hour)
		for _, who := range []string{"user:ana", "user:bo", "user:ben", "user:cy", "user:ada", "user:aud"} {
			if _, err := w.Request(context.Background(), as(who), v.ID); err != nil {
				t.Errorf("%s: %v", who, err)
			}
		}
		for _, who := range []string{"user:dee", "service:ci", "service:orders", "user:nobody"} {
			_, err := w.Request(context.Background(), as(who), v.ID)
			seen := refused(t, err, "not_found")
			_, err = w.Request(context.Background(), as(who), "req_aaaaaaaaaaaaaaaaaaaaaaaaaa")
			if unknown := refused(t, err, "not_found"); unknown.Message != seen.Message {
				t.Errorf("%s can tell a hidden request from an unknown one", who)
			}
			if _, err := w.Cancel(context.Background(), as(who), v.ID); err == nil {
				t.Errorf("%s cancelled it", who)
			}
		}
		if _, err := w.Resource(context.Background(), as("user:dee"), "closed"); err == nil {
			t.Error("a resource that cannot be asked for is shown")
		}
	})
}

// What has lapsed is listed as expired at once, as it is shown, and not only
// when the worker has written it down.
func TestWhatHasLapsedIsListedAsExpired(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "write", time.Hour)
		time.Sleep(2 * time.Hour)
		for state, want := range map[string]int{"": 1, "pending": 0, "expired": 1, "denied": 0} {
			items, _, err := w.Requests(context.Background(), as("user:ana"), broker.RequestQuery{State: state})
			must(t, err)
			if len(items) != want || want == 1 && (items[0].ID != v.ID || items[0].State != "expired") {
				t.Errorf("the list of %q has %d", state, len(items))
			}
		}
	})
}

// A group that the requester loses before the last vote counts no more: the
// catalog in force is asked with what they still have.
//
// Invariant: A7, A11
func TestAGroupLostBeforeTheLastVoteDoesNotCount(t *testing.T) {
	inWorld(t, func(w *world) {
		rule := []string{`{name: two, when: 'resource.id == "orders"'`, `{name: two, when: 'resource.id == "orders" && "group:dev" in principal.groups'`}
		w.change(rule...)
		v := w.mustSubmit("user:ana", "write", time.Hour)
		w.mustVote("user:bo", v, "approve")
		w.change(append(rule, "{id: user:ana, groups: [group:dev],", "{id: user:ana, groups: [group:dba],", "{id: user:dee,", "{id: user:dee, groups: [group:dev],")...)
		if got := w.mustVote("user:cy", v, "approve"); got.State != "denied" || got.DecidedBy != "system:policy" || got.Grant != nil {
			t.Errorf("%s by %s", got.State, got.DecidedBy)
		}
	})
}
