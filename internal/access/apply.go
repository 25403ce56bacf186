package access

import (
	"slices"
	"time"
)

// Apply returns r as it is after events; r, which is nil before Submitted, and
// the events stay as they are and share no memory with the result. It never
// fails and never decides: an event about what does not exist changes nothing.
// Version is the store's to move.
func Apply(r *Request, events ...Event) *Request {
	r = r.clone()
	for _, e := range events {
		if s, ok := e.(Submitted); ok {
			r = s.Request.clone()
			continue
		}
		if r == nil {
			continue
		}
		applyRequest(r, e)
		if g, ok := e.(Granted); ok {
			r.Grant = g.Grant.clone()
		} else if r.Grant != nil {
			applyGrant(r.Grant, e)
		}
	}
	return r
}

func applyRequest(r *Request, e Event) {
	switch e := e.(type) {
	case Voted:
		r.Reviews = append(r.Reviews, e.Review)
	case GlassBroken:
		r.Duty = &Duty{Told: slices.Clone(e.Told), Person: e.Person}
	case GlassFound:
		if r.Duty != nil {
			r.Duty.Finding = true
		}
	case GlassReviewed:
		if r.Duty != nil {
			at := e.At
			r.Duty.DoneAt = &at
		}
	case StagesAdded:
		r.Added = append(r.Added, cloneStages(e.Stages)...)
	case RequestApproved:
		r.decide(Approved, e.At, e.By, "")
	case RequestDenied:
		r.decide(Denied, e.At, e.By, e.Reason)
	case RequestCancelled:
		r.decide(Cancelled, e.At, e.By, "")
	case RequestExpired:
		r.decide(Expired, e.At, byClock, e.Reason)
	}
}

func (r *Request) decide(s State, at time.Time, by, outcome string) {
	r.State, r.DecidedAt, r.DecidedBy, r.Outcome = s, &at, by, outcome
}

func applyGrant(g *Grant, e Event) {
	switch e := e.(type) {
	case GrantActivating:
		g.State = Activating
	case GrantActivated:
		g.State = Active
	case GrantExtended:
		g.ExpiresAt = e.ExpiresAt
	case GrantEnding:
		// Access is off from here on; what follows is clean-up.
		at := e.At
		g.State, g.EndedAt, g.EndedReason, g.EndedBy = Ending, &at, e.Reason, e.By
	case GrantEnded:
		g.State, g.CleanupPending = Ended, false
	case CleanupFailed:
		g.CleanupPending = true
	}
}

func (r *Request) clone() *Request {
	if r == nil {
		return nil
	}
	c := *r
	c.Content = cloneContent(r.Content)
	c.DecidedAt = cloneTime(r.DecidedAt)
	c.Reviews = slices.Clone(r.Reviews)
	c.Added = cloneStages(r.Added)
	c.Duty = r.Duty.clone()
	c.Grant = r.Grant.clone()
	return &c
}

func (g *Grant) clone() *Grant {
	if g == nil {
		return nil
	}
	c := *g
	c.EndedAt = cloneTime(g.EndedAt)
	return &c
}

func cloneContent(c Content) Content {
	c.Scope = slices.Clone(c.Scope)
	c.StartAt = cloneTime(c.StartAt)
	c.Terms.Guardrails = slices.Clone(c.Terms.Guardrails)
	c.Terms.Stages = cloneStages(c.Terms.Stages)
	c.Terms.BreakGlass = c.Terms.BreakGlass.clone()
	return c
}

func cloneStages(stages []Stage) []Stage {
	stages = slices.Clone(stages)
	for i := range stages {
		stages[i].From = slices.Clone(stages[i].From)
	}
	return stages
}

func cloneTime(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	c := *t
	return &c
}
