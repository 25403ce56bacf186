package broker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/rehearse"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Submission is what somebody asks for. Exactly one of Role and Scope is set.
type Submission struct {
	Resource, Role string
	Scope          json.RawMessage
	Duration       time.Duration
	Reason, Ticket string
	StartAt        *time.Time
	// BreakGlass takes access first, where the rule that decides allows it.
	BreakGlass bool
}

// Submit makes a request; it is decided at once where a rule says so.
func (b *Broker) Submit(ctx context.Context, c identity.Caller, s Submission, once *Once) (View, error) {
	var found inspected
	look := func() error {
		found = b.inspect(ctx, c, s)
		return nil
	}
	return onceIn(b, ctx, c, sqlstore.Normal, once, look, func(u *unit) (View, error) { return u.submit(s, "", found) })
}

// DryRun says how a submission would be decided. Nothing is kept but an entry.
func (b *Broker) DryRun(ctx context.Context, c identity.Caller, s Submission) (api.Decision, error) {
	var decision api.Decision
	found := b.inspect(ctx, c, s)
	err := b.do(ctx, c, sqlstore.Normal, func(u *unit) error {
		res, in, err := u.asked(s)
		if err != nil {
			return err
		}
		d, target, err := u.decide(res, &in, found)
		if err != nil {
			return err
		}
		decision.Target = target
		if d.Refusal == nil && d.Terms.BreakGlass != nil {
			duty, err := u.openDuty(u.state.catalog.Answerable(u.c.Principal))
			if err != nil {
				return err
			}
			if duty != "" {
				why := access.ReviewDue(duty)
				d = policy.Decision{Refusal: &policy.Refusal{Code: string(why.Code), Message: why.Message}, Explanation: why.Message}
			}
		}
		decision = rehearse.Decision(d)
		decision.Target = target
		e := entry(audit.RequestCreated, "", map[string]any{"dry_run": true, "decision": decision.Decision, "duration": api.FormatDuration(s.Duration), "principal": c.Principal})
		e.Resource, e.Scope, e.Outcome = s.Resource, in.Scope, audit.Allowed
		if s.BreakGlass {
			e.Details["break_glass"] = true
		}
		if job := u.workload(); job != nil {
			e.Details["workload"] = job
		}
		if d.Refusal != nil {
			e.Type, e.Outcome = audit.RequestRefused, audit.Denied
			e.Details["code"] = d.Refusal.Code
		}
		return u.append(e, c.Principal)
	})
	return decision, err
}

// asked checks a submission's fields and turns it into what policy decides on.
func (u *unit) asked(s Submission) (*policy.Resource, policy.Input, error) {
	var in policy.Input
	cat := u.state.catalog
	if !enabled(cat, u.c.Principal) {
		return nil, in, &Error{Kind: Unauthorized, Code: "unauthorized", Message: "This principal is disabled or no longer known."}
	}
	res, ok := cat.Resource(s.Resource)
	if !ok || res.Disabled {
		return nil, in, &Error{Kind: NotFound, Code: "not_found", Field: "body.resource", Message: fmt.Sprintf("There is no resource %q that you may ask for; list them with GET /v1/resources.", clip(s.Resource))}
	}
	scope, err := scopeOf(res, s)
	if err != nil {
		if !u.b.requestable(cat, u.c, res) {
			// What it is made of is not for those who may not ask for it.
			err = &Error{Kind: Forbidden, Code: "not_requestable", Message: fmt.Sprintf("You may not ask for anything on %s; list what you may ask for with GET /v1/resources.", res.ID)}
		}
		return nil, in, err
	}
	if s.Duration <= 0 || s.Duration > api.MaxDuration || s.Duration%time.Second != 0 {
		return nil, in, invalid("body.duration", "Ask for a duration of more than 0 and at most 8760h, such as 15m.")
	}
	starts := u.now
	if s.StartAt != nil {
		if s.StartAt.After(u.now.Add(30 * 24 * time.Hour)) {
			return nil, in, invalid("body.start_at", "A start lies at most 30 days ahead; ask later for a later one.")
		}
		if s.StartAt.After(starts) {
			starts = *s.StartAt
		}
	}
	in = policy.Input{
		Principal: u.c.Principal, Groups: cat.Groups(u.c.Principal), Resource: res.ID, Role: s.Role, Scope: scope.JSON(),
		Duration: s.Duration, StartsAt: starts, Now: u.now, Reason: strings.TrimSpace(s.Reason), Ticket: s.Ticket, Client: u.c.Channel,
		BreakGlass: s.BreakGlass,
	}
	return res, in, nil
}

func scopeOf(res *policy.Resource, s Submission) (policy.Scope, error) {
	if (s.Role == "") == (len(s.Scope) == 0) {
		return nil, invalid("body.role", "Name a role or spell a scope, one of the two.")
	}
	if s.Role == "" {
		scope, err := res.Kind.ParseScope(s.Scope)
		if err != nil {
			return nil, invalid("body.scope", "This is not a scope of the kind %s: %s.", res.Kind.Name(), err)
		}
		return scope, nil
	}
	names := []string{}
	for _, role := range res.Roles {
		if role.Name == s.Role {
			return role.Scope, nil
		}
		names = append(names, role.Name)
	}
	return nil, invalid("body.role", "%s has no role %q; it has: %s.", res.ID, clip(s.Role), strings.Join(names, ", "))
}

// submit makes a request. extends is the grant that it lengthens, if any, and
// found what the target was found to hold.
func (u *unit) submit(s Submission, extends string, found inspected) (View, error) {
	res, in, err := u.asked(s)
	if err != nil {
		return View{}, err
	}
	refusal := func(e *Error) error {
		details := map[string]any{"duration": api.FormatDuration(s.Duration), "principal": u.c.Principal}
		if s.BreakGlass {
			details["break_glass"] = true
		}
		// With these it can be decided again by another catalog (BacktestCatalog).
		details["policy"], details["groups"], details["starts_at"] = u.state.catalog.Version(), nonNil(in.Groups), api.TimeOf(in.StartsAt).String()
		if field, ok := strings.CutPrefix(e.Field, "body."); ok {
			details["field"] = field
		}
		if job := u.workload(); job != nil {
			details["workload"] = job
		}
		if in.Effective != nil {
			details["effective"] = in.Effective
		}
		if s.Role != "" {
			details["role"] = s.Role
		}
		return u.refuse(&audit.Entry{Type: audit.RequestRefused, Resource: res.ID, Scope: in.Scope, Details: details}, u.c.Principal, e)
	}
	if s.BreakGlass && extends != "" {
		return View{}, refusal(&Error{Kind: Forbidden, Code: "limit_reached", Message: "There is no break-glass to extend a grant; ask for more time in the ordinary way."})
	}
	d, target, err := u.decide(res, &in, found)
	if d.Refusal != nil {
		e := &Error{Kind: Forbidden, Code: d.Refusal.Code, Message: d.Refusal.Message}
		if d.Refusal.Field != "" {
			e.Field = "body." + d.Refusal.Field
		}
		e.Hint = u.hint(res, s, d)
		return View{}, refusal(e)
	}
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			return View{}, refusal(e)
		}
		return View{}, err
	}
	atOnce := d.Terms.Auto || d.Terms.BreakGlass != nil
	if !atOnce {
		if err := u.pendingLimits(res.ID); err != nil {
			return View{}, refusal(err)
		}
	}
	if atOnce {
		if err := u.b.barred(); err != nil {
			return View{}, err
		}
	}
	u.fillTerms(&d.Terms)
	content := access.Content{
		Requester: u.c.Principal, Resource: res.ID, Incarnation: u.state.incarnations[res.ID], Kind: res.Kind.Name(),
		Role: s.Role, Scope: in.Scope, Target: target, Workload: u.workload(), Duration: s.Duration, StartAt: s.StartAt, Extends: extends, Terms: d.Terms,
	}
	if content.StartAt != nil && !content.StartAt.After(u.now) {
		content.StartAt = nil
	}
	if content.ReasonDigest, err = u.text(in.Reason, u.c.Principal); err != nil {
		return View{}, err
	}
	if content.TicketDigest, err = u.text(in.Ticket, u.c.Principal); err != nil {
		return View{}, err
	}
	request := credential.NewIDAt("req", u.now)
	u.fresh = map[string]policy.Input{request: in}
	cmd := access.Submit{ID: request, GrantID: credential.NewIDAt("grt", u.now), Content: content}
	if g := content.Terms.BreakGlass; g != nil {
		cmd.Told, cmd.Person = u.told(g), u.state.catalog.Answerable(content.Requester)
	}
	r, err := u.run(nil, cmd, detail{words: in.Reason})
	if err != nil {
		var refused *access.Error
		if errors.As(err, &refused) {
			return View{}, refusal(domainError(refused))
		}
		return View{}, err
	}
	in.Reason, in.Ticket = "", "" // they are kept apart, where they can be erased
	raw, err := json.Marshal(in)
	if err != nil {
		return View{}, err
	}
	if err := u.tx.PutInput(r.ID, raw); err != nil {
		return View{}, err
	}
	return u.view(r)
}

// decide asks the policy, which may look at what was found in the target. What
// policy refuses whatever is in there, it refuses first: that is not for those
// who may not ask.
func (u *unit) decide(res *policy.Resource, in *policy.Input, found inspected) (policy.Decision, json.RawMessage, error) {
	target, err := found.fits(res, u.state.incarnations[res.ID], in.Scope)
	if err != nil {
		if d := u.state.catalog.Outlook(*in); d.Refusal != nil {
			return d, nil, nil
		}
		return policy.Decision{}, nil, err
	}
	in.Effective = policy.Effective(target)
	d := u.state.catalog.Evaluate(*in)
	if d.Refusal != nil {
		target = nil
	}
	return d, target, nil
}

// hint is a submission that would not be refused for the same reason; nil
// where there is none to offer.
func (u *unit) hint(res *policy.Resource, s Submission, d policy.Decision) *api.AccessHint {
	if d.Refusal.Longest <= 0 || s.Role == "" {
		return nil
	}
	longest := api.Duration(d.Refusal.Longest)
	return &api.AccessHint{
		Method: "POST", URL: u.b.cfg.PublicURL + "/v1/requests",
		Body:    api.SubmitRequest{Resource: res.ID, Role: s.Role, Duration: longest, Reason: s.Reason, Ticket: s.Ticket},
		Command: fmt.Sprintf("daypass request %s --role %s --for %s --reason TEXT", res.ID, s.Role, longest),
	}
}

// pendingLimits bounds what waits for reviews of one requester.
func (u *unit) pendingLimits(resource string) *Error {
	all, here, err := u.tx.CountPending(u.c.Principal, resource)
	limits := u.b.cfg.Limits
	switch {
	case err != nil:
		return &Error{Kind: Unavailable, Code: "unavailable", Message: "The number of your pending requests could not be read. Try again."}
	case here >= limits.PendingResource:
		return &Error{Kind: TooMany, Code: "too_many_pending", RetryAfter: time.Minute, Message: fmt.Sprintf("You have %d requests waiting for %s; cancel some or wait for their reviews.", here, resource)}
	case all >= limits.PendingRequester:
		return &Error{Kind: TooMany, Code: "too_many_pending", RetryAfter: time.Minute, Message: fmt.Sprintf("You have %d requests waiting; cancel some or wait for their reviews.", all)}
	}
	return nil
}

// text keeps personal text beside the log and returns its digest.
func (u *unit) text(text, subject string) (string, error) {
	if text == "" {
		return "", nil
	}
	var salt [16]byte
	_, _ = rand.Read(salt[:]) // never fails (crypto/rand)
	digest := audit.NewText(salt, text).Digest
	return digest, u.tx.PutText(digest, salt, text, subject)
}

// input returns the decision input of r as it was asked, without words that
// were erased since.
func (u *unit) input(r *access.Request) (policy.Input, error) {
	if in, ok := u.fresh[r.ID]; ok {
		return in, nil
	}
	var in policy.Input
	raw, err := u.tx.Input(r.ID)
	if err != nil {
		return in, fmt.Errorf("the decision input of %s: %w", r.ID, err)
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return in, fmt.Errorf("the decision input of %s: %w", r.ID, err)
	}
	reached(&in, r)
	if in.Reason, err = u.tx.Text(r.Content.ReasonDigest); err != nil {
		return in, err
	}
	in.Ticket, err = u.tx.Text(r.Content.TicketDigest)
	return in, err
}

// reached puts what was found in the target into an input from before it was
// kept there.
func reached(in *policy.Input, r *access.Request) {
	if in.Effective == nil {
		in.Effective = policy.Effective(r.Content.Target)
	}
}

func (u *unit) view(r *access.Request) (View, error) {
	return u.who().view(u.tx, r)
}

func invalid(field, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Code: "invalid_field", Field: field, Message: fmt.Sprintf(format, args...)}
}

func notFound(what string) *Error {
	return &Error{Kind: NotFound, Code: "not_found", Message: what + " does not exist, or you may not see it."}
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// domainError turns a refusal of the domain into one of the API.
func domainError(e *access.Error) *Error {
	out := &Error{Code: string(e.Code), Message: e.Message}
	if e.Field != "" {
		out.Field = "body." + e.Field
	}
	switch e.Code {
	case access.CodeSelfApproval, access.CodeNotAnApprover:
		out.Kind = Forbidden
	case access.CodeLimitReached:
		out.Kind = Forbidden
	case access.CodeAlreadyDecided, access.CodeStageNotOpen, access.CodeAlreadyVoted, access.CodeNotActive:
		out.Kind = Conflict
	case access.CodeReviewDue:
		out.Kind = Forbidden
	case access.CodeContentChanged:
		out.Kind = Precondition
	case access.CodeInvalidField:
		out.Kind = Invalid
	case access.CodeIssuingOff:
		out.Kind, out.RetryAfter = Unavailable, time.Minute
	default:
		out.Kind, out.Code = Unavailable, "unavailable"
	}
	return out
}
