package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
)

// Question asks whether a subject may do one action on a resource now. It names
// the subject; whoever asks vouches for who that is.
type Question struct {
	SubjectType, SubjectID   string // user, ana; the ID may have its type: user:ana
	ResourceType, ResourceID string // the kind, and the ID in the catalog
	Action                   string
	Property                 func(string) string // of the resource, as text; "" when not given
}

// principal is the subject as the catalog writes it, "" where type and ID
// contradict each other.
func (q *Question) principal() string {
	kind, _, typed := strings.Cut(q.SubjectID, ":")
	switch {
	case !typed:
		return q.SubjectType + ":" + q.SubjectID
	case kind == q.SubjectType:
		return q.SubjectID
	}
	return ""
}

// Answer is what is said to a Question. The fields beside Decision are of a
// grant, or tell how to ask for one.
type Answer struct {
	Decision       bool
	Grant, Request string
	ExpiresAt      time.Time

	Auto bool            // a policy would decide at once
	Ask  *api.AccessHint // nil: there is nothing to ask for
	Form string          // the page that says how to ask
}

// Evaluate answers a question from the index alone: yes only while a live
// grant of that very subject covers the action. Who asks must front the
// resource: a refusal is the same whether there is such a resource or not.
func (b *Broker) Evaluate(ctx context.Context, c identity.Caller, q Question) (Answer, error) {
	cat := b.catalog()
	admin := who{b: b, cat: cat, c: c}.admin()
	if !admin && !cat.Fronts(c.Principal) {
		return Answer{}, b.forbid(ctx, c, "asking for a decision", "Only the principals that a resource lists under introspect, and admins, ask for decisions.")
	}
	r, ok := cat.Resource(q.ResourceID)
	if !admin && (!ok || !slices.Contains(r.Introspect, c.Principal)) {
		return Answer{}, b.evaluatedNo(ctx, c, &q, "", "another resource",
			&Error{Kind: Forbidden, Code: "not_fronted", Message: "You may not ask about this resource. It must list you under introspect."})
	}
	subject := q.principal()
	if !ok || r.Disabled || r.Kind.Name() != q.ResourceType || !enabled(cat, subject) {
		return Answer{}, b.evaluatedNo(ctx, c, &q, "", "unknown", nil)
	}
	action, err := b.action(r, &q)
	if err != nil {
		return Answer{}, b.evaluatedNo(ctx, c, &q, subject, err.Error(), nil)
	}
	grant := b.covering(r, subject, action)
	if grant == nil {
		answer := b.howToAsk(cat, r, subject, action)
		return answer, b.evaluatedNo(ctx, c, &q, subject, "no live grant covers it", nil)
	}
	if !grant.Used() {
		e := entry(audit.AccessAllowed, "", map[string]any{"what": "evaluation", "principal": subject, "action": clip(q.Action)})
		e.Actor, e.OnBehalfOf = c.Principal, c.OnBehalfOf
		e.Request, e.Grant, e.Resource, e.Scope, e.Outcome = grant.Request, grant.ID, grant.Resource, grant.Scope, audit.Allowed
		e.Source = audit.Source{IP: c.IP, Channel: c.Channel}
		if err := b.Record(ctx, e, subject, true); err != nil {
			return Answer{}, err
		}
		grant.MarkUsed()
		if !b.cfg.Index.LiveAt(grant, b.cfg.Clock.Now()) {
			return Answer{}, b.evaluatedNo(ctx, c, &q, subject, "ended while its first use was written", nil)
		}
	}
	return Answer{Decision: true, Grant: grant.ID, Request: grant.Request, ExpiresAt: grant.ExpiresAt()}, nil
}

// action is what a question is about, as a scope of the resource's kind.
func (b *Broker) action(r *policy.Resource, q *Question) (policy.Scope, error) {
	kind, ok := r.Kind.(policy.Actions)
	if !ok {
		return nil, fmt.Errorf("single actions of the kind %s cannot be asked about", r.Kind.Name())
	}
	return kind.Action(q.Action, q.Property)
}

// covering finds a live grant of subject on r whose scope covers action.
// Grants that share their scope are looked at once.
func (b *Broker) covering(r *policy.Resource, subject string, action policy.Scope) *live.Grant {
	incarnation := b.Incarnation(r.ID)
	var not *byte // the scope that was looked at last, and does not cover it
	return b.cfg.Index.Held(subject, r.ID, func(of string, text json.RawMessage) bool {
		if of != incarnation || len(text) == 0 || &text[0] == not {
			return false
		}
		scope, err := b.scopes.Scope(r.Kind, text)
		if err == nil && scope.Covers(action) {
			return true
		}
		not = &text[0]
		return false
	})
}

// howToAsk tells how the subject could ask for the action; the answer is empty
// when they could not.
func (b *Broker) howToAsk(cat *policy.Catalog, r *policy.Resource, subject string, action policy.Scope) Answer {
	in := b.inputFor(cat, identity.Caller{Principal: subject}, r)
	var what string
	if role, ok := r.Narrowest(action); ok {
		in.Role, in.Scope = role.Name, role.Scope.JSON()
		what = "--role " + in.Role
	} else if r.FreeScope {
		in.Scope = action.JSON()
		what = "--scope '" + strings.ReplaceAll(string(in.Scope), "'", `'\''`) + "'"
	} else {
		return Answer{}
	}
	d := cat.Outlook(in)
	if d.Refusal != nil {
		return Answer{}
	}
	duration := 15 * time.Minute
	if most := d.Terms.MaxDuration; most > 0 {
		duration = min(duration, most)
	}
	hint := &api.AccessHint{
		Method: http.MethodPost, URL: b.cfg.PublicURL + "/v1/requests",
		Body:    api.SubmitRequest{Resource: r.ID, Role: in.Role, Duration: api.Duration(duration)},
		Command: fmt.Sprintf("daypass request %s %s --for %s --reason TEXT", r.ID, what, api.FormatDuration(duration)),
	}
	form := b.cfg.PublicURL + "/request?resource=" + url.QueryEscape(r.ID)
	if in.Role == "" {
		hint.Body.Scope = in.Scope
	} else {
		form += "&role=" + url.QueryEscape(in.Role)
	}
	return Answer{Auto: d.Terms.Auto, Ask: hint, Form: form}
}

// evaluatedNo records a decision that says no, and returns refusal unless that
// fails.
func (b *Broker) evaluatedNo(ctx context.Context, c identity.Caller, q *Question, subject, why string, refusal *Error) error {
	e := entry(audit.AccessDenied, "", map[string]any{"what": "evaluation", "why": why, "subject": clip(q.SubjectID), "action": clip(q.Action)})
	e.Actor, e.OnBehalfOf, e.Outcome = c.Principal, c.OnBehalfOf, audit.Denied
	if _, known := b.catalog().Resource(q.ResourceID); known {
		e.Resource = q.ResourceID
	} else {
		e.Details["resource"] = clip(q.ResourceID)
	}
	e.Source = audit.Source{IP: c.IP, Channel: c.Channel}
	if err := b.Record(ctx, e, subject, false); err != nil {
		return err
	}
	if refusal == nil {
		return nil
	}
	return refusal
}
