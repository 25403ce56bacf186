package broker

import (
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
)

// detail is what a command adds to the entries of its events.
type detail struct {
	reason audit.Text     // the author's words, by digest
	words  string         // the same words, for notices
	more   map[string]any // beside what the event says
}

// record writes the audit entries of events: one for each change of state,
// none for steps that another entry of the same decision already says.
func (u *unit) record(r *access.Request, events []access.Event, d detail) error {
	for i := range events {
		e := entryOf(r, events, i)
		if e == nil {
			continue
		}
		e.Request, e.Resource, e.Scope = r.ID, r.Content.Resource, r.Content.Scope
		if e.Outcome == "" {
			e.Outcome = audit.Allowed
		}
		if e.Reason.Digest == "" {
			e.Reason = d.reason
		}
		for k, v := range d.more {
			e.Details[k] = v
		}
		e.Details["principal"] = r.Content.Requester
		if err := u.append(e, r.Content.Requester); err != nil {
			return err
		}
	}
	return nil
}

// entryOf composes the entry of events[i]; nil when another one says it.
func entryOf(r *access.Request, events []access.Event, i int) *audit.Entry {
	switch ev := events[i].(type) {
	case access.Submitted:
		return created(r)
	case access.Voted:
		return voted(r, ev.Review, events[i+1:])
	case access.RequestApproved:
		return entry(audit.RequestApproved, ev.By, map[string]any{
			"rule": r.Content.Terms.Rule, "policy": r.Content.Terms.PolicyVersion,
			"duration": api.FormatDuration(access.Effective(r)), "content_hash": r.ContentHash,
		})
	case access.RequestDenied:
		e := entry(audit.RequestDenied, ev.By, map[string]any{"why": ev.Reason})
		e.Outcome = audit.Denied
		return e
	case access.GlassBroken:
		g := r.Content.Terms.BreakGlass
		e := entry(audit.GlassUsed, "", map[string]any{
			"rule": r.Content.Terms.Rule, "policy": r.Content.Terms.PolicyVersion, "content_hash": r.ContentHash, "duration": api.FormatDuration(access.Effective(r)),
			"max_duration": api.FormatDuration(g.MaxDuration), "notify": g.Notify, "told": ev.Told, "person": ev.Person, "stages": stageDetails(r.Content.Terms.Stages),
		})
		e.Reason = audit.Text{Digest: r.Content.ReasonDigest}
		return e
	case access.GlassFound:
		e := entry(audit.GlassFound, "", map[string]any{"content_hash": r.ContentHash})
		e.Outcome = audit.Denied
		return e
	case access.GlassReviewed:
		return entry(audit.GlassReviewed, "", map[string]any{"content_hash": r.ContentHash, "finding": r.Duty.Finding, "reviewers": reviewers(r)})
	case access.RequestCancelled:
		return entry(audit.RequestCancelled, ev.By, map[string]any{})
	case access.RequestExpired:
		e := entry(audit.RequestExpired, "", map[string]any{"why": ev.Reason, "decided_at": api.TimeOf(ev.At).String()})
		e.Outcome = audit.Denied
		return e
	}
	return grantEntry(r, events, i)
}

// grantEntry composes the entry of an event of r's grant.
func grantEntry(r *access.Request, events []access.Event, i int) *audit.Entry {
	var e *audit.Entry
	switch ev := events[i].(type) {
	case access.Granted:
		e = entry(audit.GrantScheduled, "", window(r.Grant))
		if ev.Grant.State == access.Active {
			e.Type = audit.GrantActivated
		}
	case access.GrantActivating:
		if i+1 < len(events) {
			return nil // GrantActivated, right after, says it
		}
		e = entry(audit.GrantScheduled, "", window(r.Grant))
	case access.GrantActivated:
		e = entry(audit.GrantActivated, "", window(r.Grant))
	case access.GrantExtended:
		e = entry(audit.GrantExtended, "", window(r.Grant))
		e.Details["extension"] = ev.By
	case access.GrantEnding:
		e = entry(audit.GrantEnding, ev.By, over(r.Grant, ev.Reason, ev.At))
		if ev.Reason == access.EndActivationFailed {
			e.Type, e.Outcome = audit.GrantActivationFailed, audit.Failed
		} else if i+1 < len(events) {
			e.Type = audit.GrantEnded // nothing is left to clean up
		}
	case access.GrantEnded:
		if i > 0 {
			return nil // GrantEnding, right before, said it
		}
		at := time.Time{}
		if r.Grant.EndedAt != nil {
			at = *r.Grant.EndedAt
		}
		e = entry(audit.GrantEnded, "", over(r.Grant, r.Grant.EndedReason, at))
	case access.CleanupFailed:
		e = entry(audit.GrantCleanupFailed, "", map[string]any{"why": ev.Reason})
		e.Outcome = audit.Failed
	default:
		return nil
	}
	e.Grant = r.Grant.ID
	return e
}

// entry starts an entry. An actor of "" is the caller.
func entry(kind, actor string, details map[string]any) *audit.Entry {
	return &audit.Entry{Type: kind, Actor: system(actor), Details: details}
}

// system returns actor only where Daypass itself acted: a person is an actor
// because the call was theirs (A33), not because an event names them.
func system(actor string) string {
	if len(actor) > 7 && actor[:7] == "system:" {
		return actor
	}
	return ""
}

func created(r *access.Request) *audit.Entry {
	c := r.Content
	e := entry(audit.RequestCreated, "", map[string]any{
		"kind": c.Kind, "duration": api.FormatDuration(c.Duration), "content_hash": r.ContentHash,
		"rule": c.Terms.Rule, "policy": c.Terms.PolicyVersion, "guardrails": c.Terms.Guardrails,
		"stages": stageDetails(c.Terms.Stages), "approve_by": api.TimeOf(r.ApproveBy).String(),
	})
	e.Reason = audit.Text{Digest: c.ReasonDigest}
	if c.Role != "" {
		e.Details["role"] = c.Role
	}
	if len(c.Target) > 0 {
		e.Details["target"] = c.Target
	}
	if len(c.Workload) > 0 {
		e.Details["workload"] = c.Workload
	}
	if c.StartAt != nil {
		e.Details["start_at"] = api.TimeOf(*c.StartAt).String()
	}
	if c.Terms.BreakGlass != nil {
		e.Details["break_glass"] = true
	}
	if c.Extends != "" {
		e.Details["extends"] = c.Extends
	}
	return e
}

func voted(r *access.Request, v access.Review, rest []access.Event) *audit.Entry {
	e := entry(audit.ReviewRecorded, "", map[string]any{
		"review": v.ID, "decision": string(v.Decision), "person": v.Person,
		"stage": r.Stages()[v.Stage].Name, "stage_index": v.Stage, "content_hash": v.ContentHash,
	})
	if v.Decision == access.Deny {
		e.Outcome = audit.Denied
	}
	if v.Duration > 0 {
		e.Details["duration"] = api.FormatDuration(v.Duration)
	}
	for _, ev := range rest {
		if added, ok := ev.(access.StagesAdded); ok {
			e.Details["stages_added"] = stageDetails(added.Stages)
		}
	}
	return e
}

func stageDetails(stages []access.Stage) []any {
	out := []any{}
	for _, s := range stages {
		out = append(out, map[string]any{"name": s.Name, "from": s.From, "quorum": s.Quorum})
	}
	return out
}

func window(g *access.Grant) map[string]any {
	return map[string]any{
		"starts_at": api.TimeOf(g.StartsAt).String(), "expires_at": api.TimeOf(g.ExpiresAt).String(), "state": string(g.State),
	}
}

func over(g *access.Grant, why access.EndReason, at time.Time) map[string]any {
	return map[string]any{"ended_reason": string(why), "access_ended_at": api.TimeOf(at).String(), "state": string(g.State)}
}
