package access

import (
	"encoding/json"
	"time"
)

// submit makes a request out of its content, and at once the grant when the
// rule approves by itself.
func submit(cmd Submit, f Facts) ([]Event, error) {
	c := cloneContent(cmd.Content)
	if c.StartAt != nil {
		*c.StartAt = c.StartAt.UTC().Truncate(time.Millisecond)
	}
	if cmd.ID == "" || c.Requester == "" || c.Resource == "" || !json.Valid(c.Scope) {
		return nil, invalid("a request needs an ID, a requester, a resource and a scope")
	}
	if err := checkTerms(c.Terms); err != nil {
		return nil, err
	}
	if err := checkWindow(c, f.Now); err != nil {
		return nil, err
	}
	hash := c.Hash()
	if hash == "" {
		return nil, invalid("the content of the request has no canonical form")
	}
	if c.Extends != "" {
		if err := checkExtension(c, f); err != nil {
			return nil, err
		}
	}
	r := Request{
		ID: cmd.ID, Revision: 1, ContentHash: hash, Content: c, State: Pending,
		CreatedAt: f.Now, ApproveBy: f.Now.Add(c.Terms.ApproveWithin).Truncate(time.Millisecond),
	}
	if c.Terms.BreakGlass != nil {
		return breakGlass(r, cmd, f)
	}
	events := []Event{Submitted{Request: r}}
	if !c.Terms.Auto {
		return events, nil
	}
	if f.IssuingOff {
		return nil, issuingOff()
	}
	// The rule approved when the request was composed; what counts is the
	// catalog in force in this transaction (A7).
	if f.Current == nil || f.Current.Refusal != "" || !f.Current.Terms.Auto || overCaps(c.Duration, c.Duration, f.Current.Terms) != "" {
		return nil, invalid("an automatic approval that the catalog in force does not bear out")
	}
	events = append(events, RequestApproved{At: f.Now, By: byPolicy})
	if c.Extends != "" {
		return events, nil
	}
	if cmd.GrantID == "" {
		return nil, invalid("an automatic approval came without an ID for its grant")
	}
	return append(events, Granted{Grant: newGrant(&r, cmd.GrantID, f)}), nil
}

// checkTerms refuses terms under which a request could be approved by nobody
// (A13): the catalog's check has refused them before.
func checkTerms(t Terms) error {
	if t.ApproveWithin < 0 || t.MaxTotal < 0 {
		return invalid("the terms hold a negative time")
	}
	if g := t.BreakGlass; g != nil && (t.Auto || g.MaxDuration <= 0 || len(g.Notify) == 0) {
		return invalid("break-glass needs stages that review it, a longest duration, and somebody to tell")
	}
	if t.Auto {
		if len(t.Stages) != 0 {
			return invalid("an automatic approval has no stages")
		}
		return nil
	}
	if t.ApproveWithin == 0 {
		return invalid("the terms leave no time for a review")
	}
	return checkStages(t.Stages)
}

func checkStages(stages []Stage) error {
	if len(stages) == 0 {
		return invalid("the terms name no stage of approval")
	}
	for _, s := range stages {
		if s.Quorum < 1 || len(s.From) == 0 {
			return invalid("stage %q has no approvers or no quorum", s.Name)
		}
	}
	return nil
}

// checkWindow refuses a duration or a start outside the limits.
func checkWindow(c Content, now time.Time) error {
	if c.Duration <= 0 || c.Duration%time.Second != 0 {
		return field("duration", "Ask for a whole number of seconds, more than none.")
	}
	if reason := overCaps(c.Duration, c.Duration, c.Terms); reason != "" {
		return field("duration", "%s", reason)
	}
	if c.StartAt == nil {
		return nil
	}
	if c.Extends != "" {
		return field("start_at", "Leave the start out: an extension begins where its grant ends.")
	}
	// A start in the past means now: the window begins at the approval.
	if c.StartAt.Sub(now) > maxAhead {
		return field("start_at", "Choose a start at most 30 days ahead.")
	}
	return nil
}

// checkExtension refuses an extension of a grant that is over, and one that
// would make it longer than the terms allow in total (A6).
func checkExtension(c Content, f Facts) error {
	if !f.Base.live(f.Now) {
		return refuse(CodeNotActive, "The grant to extend is not live any more; ask for a new one.")
	}
	if f.Base.ID != c.Extends {
		return invalid("the grant at hand is not the one to extend")
	}
	if f.Base.BreakGlass {
		return noLonger()
	}
	if tooLong(f.Base, c.Duration, c.Terms.MaxTotal) {
		return refuse(CodeLimitReached, "With this extension the grant would last longer than %s in total; ask for less, or for a new grant when this one is over.", spoken(c.Terms.MaxTotal))
	}
	return nil
}

// overCaps says, in a sentence, which cap of t a duration or a whole window is
// over; empty for none. A MaxTotal of zero is none of its own: MaxDuration
// holds then.
func overCaps(duration, window time.Duration, t Terms) string {
	if duration > t.MaxDuration {
		return "Access may last " + spoken(t.MaxDuration) + " at most; ask for " + spoken(t.MaxDuration) + " or less."
	}
	if t.MaxTotal > 0 && window > t.MaxTotal {
		return "Access may last " + spoken(t.MaxTotal) + " in total at most; ask for less."
	}
	return ""
}

func issuingOff() *Error {
	return refuse(CodeIssuingOff, "An administrator has switched issuing off: nothing can be approved now; try again when it is on.")
}
