// Package rehearse tries a catalog before it rules: it explains one decision,
// runs written cases, says what differs between two catalogs, and replays
// recorded requests.
//
// It refuses to read a store or a clock, and to decide anything by itself: every
// decision that it shows is policy's.
package rehearse

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/policy"
)

// Decision is a decision of policy as the API shows it.
func Decision(d policy.Decision) api.Decision {
	out := api.Decision{
		Decision: "review", Explanation: d.Explanation, Stages: []api.Stage{}, MaxDuration: api.Duration(d.Terms.MaxDuration),
		Policy: api.Policy{Version: d.Terms.PolicyVersion, Rule: d.Terms.Rule, Guardrails: nonNil(d.Terms.Guardrails)},
	}
	switch {
	case d.Refusal != nil:
		out.Decision, out.Code, out.Field = "refused", d.Refusal.Code, d.Refusal.Field
	case d.Terms.BreakGlass != nil:
		out.Decision = "break_glass"
	case d.Terms.Auto:
		out.Decision = "auto"
	}
	if g := d.BreakGlass; g != nil {
		out.BreakGlass = &api.BreakGlassOffer{MaxDuration: api.Duration(g.MaxDuration), Notify: nonNil(g.Notify)}
	}
	for _, s := range d.Terms.Stages {
		out.Stages = append(out.Stages, api.Stage{Name: s.Name, From: nonNil(s.From), Quorum: s.Quorum, Approvals: []string{}})
	}
	return out
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// Question is what somebody could ask for.
type Question struct {
	Principal, Resource, Role string
	Scope                     json.RawMessage
	Duration                  time.Duration // 0: not stated
	Reason, Ticket            string
	At                        time.Time
	Groups                    []string // nil: those of the catalog
	Client                    string
	BreakGlass                bool
	Effective                 json.RawMessage // what it would really reach; nil: nothing was found
}

// QuestionError says what of a question cannot be asked.
type QuestionError struct {
	Field, Message string
	Unknown        bool // it names what the catalog does not have
}

func (e *QuestionError) Error() string { return e.Message }

// Input is the question as policy takes it. A resource with one role needs
// neither role nor scope. Its error is a *QuestionError.
func Input(c *policy.Catalog, q Question) (policy.Input, error) {
	at := q.At.UTC().Truncate(time.Millisecond)
	in := policy.Input{
		Principal: q.Principal, Groups: q.Groups, Resource: q.Resource, Role: q.Role, Scope: q.Scope, Duration: q.Duration,
		StartsAt: at, Now: at, Reason: strings.TrimSpace(q.Reason), Ticket: q.Ticket, Client: q.Client, BreakGlass: q.BreakGlass, Effective: q.Effective,
	}
	if _, ok := c.Principal(q.Principal); !ok {
		return in, &QuestionError{Field: "principal", Unknown: true, Message: fmt.Sprintf("the catalog has no principal %q", q.Principal)}
	}
	r, ok := c.Resource(q.Resource)
	if !ok {
		return in, &QuestionError{Field: "resource", Unknown: true, Message: fmt.Sprintf("the catalog has no resource %q", q.Resource)}
	}
	if in.Groups == nil {
		in.Groups = c.Groups(q.Principal)
	}
	if in.Effective != nil {
		if err := policy.ParseEffective(r.Kind, in.Effective); err != nil {
			return in, &QuestionError{Field: "effective", Message: fmt.Sprintf("effective: %s", err)}
		}
	}
	if q.Role != "" && len(q.Scope) > 0 {
		return in, &QuestionError{Field: "role", Message: "name a role or spell a scope, one of the two"}
	}
	if len(q.Scope) > 0 {
		scope, err := r.Kind.ParseScope(q.Scope)
		if err != nil {
			return in, &QuestionError{Field: "scope", Message: fmt.Sprintf("this is not a scope of the kind %s: %s", r.Kind.Name(), err)}
		}
		in.Scope = scope.JSON()
		return in, nil
	}
	names := make([]string, len(r.Roles))
	for i, role := range r.Roles {
		names[i] = role.Name
	}
	if in.Role == "" && len(names) == 1 {
		in.Role = names[0]
	}
	i := slices.Index(names, in.Role)
	switch {
	case i >= 0:
		in.Scope = r.Roles[i].Scope.JSON()
		return in, nil
	case in.Role == "":
		return in, &QuestionError{Field: "role", Message: fmt.Sprintf("say which role or scope: %s has %s", q.Resource, listed(names, "no role"))}
	}
	return in, &QuestionError{Field: "role", Unknown: true, Message: fmt.Sprintf("%s has no role %q: it has %s", q.Resource, q.Role, listed(names, "none"))}
}

func listed(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}

// Explain explains the decision on a question. Its error is a *QuestionError.
func Explain(c *policy.Catalog, q Question) (api.Explained, error) {
	in, err := Input(c, q)
	if err != nil {
		return api.Explained{}, err
	}
	e := c.Explain(in)
	out := api.Explained{
		Decision: Decision(e.Decision), Principal: in.Principal, Groups: nonNil(in.Groups), Resource: in.Resource, Role: in.Role, Scope: in.Scope,
		Duration: api.Duration(in.Duration), At: api.TimeOf(in.Now), Guardrails: entries(e.Guardrails), Rules: entries(e.Rules), Stages: []api.ExplainedStage{},
	}
	for _, s := range e.Seats {
		out.Stages = append(out.Stages, seat(s))
	}
	if e.Decision.Refusal == nil {
		limits := c.Limits(e.Decision.Terms.Rule, e.Decision.Terms.Guardrails)
		out.MaxTotal, out.ApproveWithin, out.LimitedBy = api.Duration(limits.MaxTotal), api.Duration(limits.ApproveWithin), limits.By
	}
	return out, nil
}

func entries(steps []policy.Step) []api.ExplainedEntry {
	out := []api.ExplainedEntry{}
	for _, s := range steps {
		e := api.ExplainedEntry{Name: s.Name, Kind: s.Kind, When: s.When, Outcome: string(s.Outcome), Why: s.Why, Parts: []api.ExplainedPart{}}
		for _, p := range s.Parts {
			part := api.ExplainedPart{Depth: p.Depth, Text: p.Text}
			if p.Evaluated {
				part.Value = &p.Value
			}
			e.Parts = append(e.Parts, part)
		}
		out = append(out, e)
	}
	return out
}

func seat(s policy.Seat) api.ExplainedStage {
	out := api.ExplainedStage{Name: s.Stage.Name, From: nonNil(s.Stage.From), Quorum: s.Stage.Quorum, Eligible: nonNil(s.May), Barred: []api.BarredVoter{}}
	for _, b := range s.Bars {
		out.Barred = append(out.Barred, api.BarredVoter{Principal: b.Principal, Why: b.Why})
	}
	return out
}
