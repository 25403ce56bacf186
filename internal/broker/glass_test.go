package broker_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/notify"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

const withGlass = `max_duration: 1h, approve_within: 2h, break_glass: {max_duration: 20m, notify: [group:dba, resource.owners]}}`

// breakable is base with a break-glass on the rule that asks people.
func (w *world) breakable(pairs ...string) {
	w.t.Helper()
	w.change(append([]string{`max_duration: 1h, approve_within: 2h}`, withGlass}, pairs...)...)
}

func (w *world) breakGlass(who string, d time.Duration) (broker.View, error) {
	return w.Submit(context.Background(), as(who), broker.Submission{Resource: "orders", Role: "write", Duration: d, Reason: "payments are down", BreakGlass: true}, nil)
}

func (w *world) mustBreak(who string) broker.View {
	w.t.Helper()
	v, err := w.breakGlass(who, 15*time.Minute)
	must(w.t, err)
	return v
}

// Invariant: A2, A7, A9, A10, A20, A30
func TestBreakGlass(t *testing.T) {
	withWorld(t, func(w *world) { w.notifiers = []string{"webhook"} }, func(w *world) {
		w.breakable()
		v := w.mustBreak("user:ana")
		if v.State != "approved" || v.Grant == nil || v.Grant.State != "active" || !v.Grant.BreakGlass || slices.Contains(v.Actions, "extend") {
			t.Fatalf("it is %s with %+v; actions %v", v.State, v.Grant, v.Actions)
		}
		if g := v.BreakGlass; g == nil || g.Review != "due" || strings.Join(g.Told, " ") != "user:ben user:bo user:cy" || !strings.Contains(v.Explanation, "before anybody agreed") {
			t.Fatalf("%+v; %s", g, v.Explanation)
		}
		if token := w.token("user:ana", v.Grant.ID); !w.active(token) {
			t.Error("its token is not active")
		}
		e := w.entries("break_glass.used")
		if len(e) != 1 || e[0].Actor != "user:ana" || *e[0].Request != v.ID || !strings.Contains(string(e[0].Details), `"person":"user:ana"`) {
			t.Fatalf("entries %+v", e)
		}
		// The notice is a job of the same commit.
		jobs := w.jobs()
		if len(jobs) != 1 || jobs[0].Notice != notify.GlassBroken {
			t.Fatalf("jobs %+v", jobs)
		}
		f, to, err := w.Notice(context.Background(), jobs[0])
		must(t, err)
		m, err := notify.Compose(f, to)
		must(t, err)
		if len(to) != 3 || !strings.Contains(m.Subject, "BREAK-GLASS") || !strings.Contains(m.Text, "payments are down") {
			t.Fatalf("to %+v: %s", to, m.Text)
		}

		// Nobody of ana's breaks glass again, with whatever account; others do.
		_, err = w.breakGlass("user:ana", time.Minute)
		refused(t, err, "review_due")
		_, err = w.breakGlass("user:ana2", time.Minute)
		refused(t, err, "review_due")
		_, err = w.breakGlass("service:ci", time.Minute)
		refused(t, err, "review_due")
		w.restart(false)
		_, err = w.breakGlass("user:ana", time.Minute)
		refused(t, err, "review_due")
		other := w.mustBreak("user:dee")

		// It waits for its reviewers, in the lists too.
		list := func(who, role string) (ids []string) {
			views, _, err := w.Requests(context.Background(), as(who), broker.RequestQuery{Role: role, ReviewDue: true})
			must(t, err)
			for _, v := range views {
				ids = append(ids, v.ID)
			}
			return ids
		}
		if got := list("user:bo", "reviewer"); !slices.Contains(got, v.ID) || !slices.Contains(got, other.ID) {
			t.Errorf("bo is to review %v", got)
		}
		_, err = w.vote("user:ana2", v, "approve")
		refused(t, err, "self_approval")
		_, err = w.vote("user:cy", v, "approve")
		refused(t, err, "stage_not_open")
		w.mustVote("user:bo", v, "approve")
		time.Sleep(time.Hour)
		w.due()
		after := w.mustVote("user:cy", v, "approve")
		if after.BreakGlass.Review != "passed" || after.Grant.State != "ended" || len(w.entries("break_glass.reviewed")) != 1 {
			t.Fatalf("%+v %+v", after.BreakGlass, after.Grant)
		}
		if got := list("user:bo", ""); slices.Contains(got, v.ID) {
			t.Errorf("it is still due: %v", got)
		}
		w.mustBreak("user:ana2")
	})
}

// A deny takes away what is left, in the same commit.
//
// Invariant: A2, A5, A10
func TestADenyOfBreakGlass(t *testing.T) {
	inWorld(t, func(w *world) {
		w.breakable()
		v := w.mustBreak("user:ana")
		token := w.token("user:ana", v.Grant.ID)
		after := w.mustVote("user:ben", v, "deny")
		if w.active(token) || after.Grant.State != "ended" || *after.Grant.EndedReason != "revoked" || !after.BreakGlass.Finding || after.BreakGlass.Review != "due" {
			t.Fatalf("%+v %+v", after.BreakGlass, after.Grant)
		}
		if e := w.entries("break_glass.finding"); len(e) != 1 || e[0].Actor != "user:ben" {
			t.Fatalf("entries %+v", e)
		}
		_, err := w.breakGlass("user:ana", time.Minute)
		refused(t, err, "review_due")
		after = w.mustVote("user:cy", v, "approve")
		if after.BreakGlass.Review != "finding" {
			t.Fatalf("%+v", after.BreakGlass)
		}

		// What a service of hers does is hers to have reviewed.
		w.mustBreak("service:ci")
		_, err = w.breakGlass("user:ana", time.Minute)
		refused(t, err, "review_due")
	})
}

// Invariant: A6, A13, A16, A17
func TestBreakGlassIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		_, err := w.breakGlass("user:ana", time.Minute)
		refused(t, err, "not_requestable") // no rule allows it
		w.breakable("guardrails: []", "guardrails: [{name: ticket, when: 'true', require: {ticket: 'INC-[0-9]+'}}, {name: bo, when: 'principal.id == \"user:bo\"', deny: not you}]")
		_, err = w.breakGlass("user:ana", time.Minute)
		refused(t, err, "denied_by_guardrail")
		_, err = w.breakGlass("user:bo", time.Minute)
		refused(t, err, "denied_by_guardrail")
		w.breakable()
		_, err = w.breakGlass("user:ana", 21*time.Minute)
		refused(t, err, "not_requestable")
		s := broker.Submission{Resource: "orders", Role: "write", Duration: time.Minute, BreakGlass: true}
		_, err = w.Submit(ctx, as("user:ana"), s, nil)
		if e := refused(t, err, "not_requestable"); e.Field != "body.reason" {
			t.Errorf("without a reason: %+v", e)
		}
		s.Reason = "payments are down"
		later := time.Now().Add(time.Hour)
		s.StartAt = &later
		_, err = w.Submit(ctx, as("user:ana"), s, nil)
		refused(t, err, "invalid_field")
		_, err = w.SetIssuing(ctx, as("user:ada"), false)
		must(t, err)
		_, err = w.breakGlass("user:ana", time.Minute)
		refused(t, err, "issuing_off")
		_, err = w.SetIssuing(ctx, as("user:ada"), true)
		must(t, err)

		// Two people who could be told, and one of them asks.
		w.breakable("notify: [group:dba, resource.owners]", "notify: [user:bo, user:cy]", `group:dba], person`, `group:dba], person`)
		_, err = w.breakGlass("user:bo", time.Minute)
		refused(t, err, "not_requestable")

		v := w.mustBreak("user:ana")
		_, err = w.Extend(ctx, as("user:ana"), v.Grant.ID, time.Minute, "more", "", nil)
		refused(t, err, "limit_reached")
	})
}

// The duty stays whatever happens to groups, and those who are in them now
// look back.
//
// Invariant: A9, A11
func TestTheDutySurvivesTheCatalog(t *testing.T) {
	inWorld(t, func(w *world) {
		w.breakable()
		v := w.mustBreak("user:ana")
		// Everybody who could review has left; ana2 is somebody else's name now.
		w.change(`max_duration: 1h, approve_within: 2h}`, withGlass,
			"{id: user:bo, groups: [group:dba]", "{id: user:bo, groups: [group:dev]",
			"{id: user:ben, groups: [group:dba]}", "{id: user:ben}\n  - {id: user:di, groups: [group:dba]}\n  - {id: user:ed, groups: [group:dba]}",
			"person: user:ana}", "person: user:dee}")
		_, err := w.breakGlass("user:ana", time.Minute)
		refused(t, err, "review_due")
		_, err = w.vote("user:bo", v, "approve")
		refused(t, err, "not_an_approver")
		_, err = w.vote("user:ana2", v, "approve") // once related is related
		refused(t, err, "self_approval")
		w.mustVote("user:di", v, "approve")
		if after := w.mustVote("user:cy", v, "approve"); after.BreakGlass.Review != "passed" {
			t.Fatalf("%+v", after.BreakGlass)
		}
	})
}

// Invariant: A36
func TestReviewersAreReminded(t *testing.T) {
	withWorld(t, func(w *world) { w.notifiers = []string{"webhook"} }, func(w *world) {
		ctx := context.Background()
		w.breakable()
		v := w.mustBreak("user:ana")
		reminders := 0
		step := func() {
			for _, j := range w.jobs() {
				_, to, err := w.Notice(ctx, j)
				must(t, err)
				if j.Notice == notify.ReviewDue && len(to) > 0 {
					reminders++
				}
				must(t, w.Done(ctx, broker.Outcome{Job: j}))
			}
		}
		for range 3 {
			step()
			time.Sleep(25 * time.Hour)
			w.due()
		}
		step()
		if reminders != 3 {
			t.Fatalf("%d reminders in three days", reminders)
		}
		w.mustVote("user:bo", v, "approve")
		w.mustVote("user:cy", v, "approve")
		step() // that it is reviewed
		reminders = 0
		time.Sleep(25 * time.Hour)
		step()
		if reminders != 0 {
			t.Errorf("%d reminders of what is reviewed", reminders)
		}
		time.Sleep(25 * time.Hour)
		if next := w.jobs(); len(next) != 0 {
			t.Errorf("left: %+v", next)
		}
	})
}

// A review that was due in a backup is due in what is restored from it, and its
// reviewers are reminded there.
//
// Invariant: A36
func TestReviewersAreRemindedAfterARestore(t *testing.T) {
	withWorld(t, func(w *world) { w.notifiers = []string{"webhook"} }, func(w *world) {
		ctx := context.Background()
		w.breakable()
		w.mustBreak("user:ana")
		must(t, w.store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error {
			_, err := broker.Restored(tx, api.Quarantine{}, time.Now().UTC().Truncate(time.Millisecond))
			return err
		}))
		w.restart(true)
		_, err := w.breakGlass("user:ana", time.Minute)
		refused(t, err, "quarantined")
		_, err = w.EndQuarantine(ctx, as("user:ada"), false)
		must(t, err)
		_, err = w.breakGlass("user:ana", time.Minute)
		refused(t, err, "review_due")
		time.Sleep(25 * time.Hour)
		reminders := 0
		for _, j := range w.jobs() {
			if j.Notice == notify.ReviewDue && j.Again {
				reminders++
			}
		}
		if reminders != 1 {
			t.Errorf("%d reminders a day after the restore", reminders)
		}
	})
}

// Invariant: A23, A30
func TestDryRunOfBreakGlass(t *testing.T) {
	inWorld(t, func(w *world) {
		w.breakable()
		if w.Warnings() == nil {
			t.Error("no warning that nobody is sent a notice")
		}
		s := broker.Submission{Resource: "orders", Role: "write", Duration: time.Minute, Reason: "r", BreakGlass: true}
		d, err := w.DryRun(context.Background(), as("user:ana"), s)
		must(t, err)
		if d.Decision != "break_glass" || d.BreakGlass == nil || !strings.Contains(d.Explanation, "before anybody agrees") {
			t.Fatalf("%+v", d)
		}
		r, err := w.Resource(context.Background(), as("user:ana"), "orders")
		must(t, err)
		i := slices.IndexFunc(r.Roles, func(r api.Role) bool { return r.Name == "write" })
		if d := r.Roles[i].Decision; d.Decision != "review" || d.BreakGlass == nil || d.BreakGlass.MaxDuration.Std() != 20*time.Minute {
			t.Fatalf("%+v", d)
		}
		if len(w.entries("break_glass.used")) != 0 {
			t.Error("a dry run broke glass")
		}
		// What would be refused because of a review is said to be.
		w.mustBreak("service:ci")
		d, err = w.DryRun(context.Background(), as("user:ana"), s)
		must(t, err)
		if d.Decision != "refused" || d.Code != "review_due" {
			t.Errorf("with a review that is due: %+v", d)
		}
	})
}
