package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/daypass/daypass/internal/access"
)

// Outcome is what became of one guardrail or rule for one request.
type Outcome string

// The outcomes of a step.
const (
	Matched    Outcome = "matched"
	NotMatched Outcome = "not_matched"
	Failed     Outcome = "failed"      // it could not be evaluated, which refuses
	OtherKind  Outcome = "other_kind"  // it is for another kind of resource
	NotReached Outcome = "not_reached" // it was decided before
)

// Step is one guardrail or rule as it was looked at.
type Step struct {
	Name, Kind, When string
	Outcome          Outcome
	Why              string // of Failed
	Parts            []Part // of the condition, the whole first; nil where it was not evaluated
}

// Seat is one stage, and who could fill it.
type Seat struct {
	Stage access.Stage
	May   []string // accounts that could vote, sorted
	Bars  []Bar    // those in the stage that could not
}

// Bar says why somebody in a stage cannot vote in it.
type Bar struct{ Principal, Why string }

// Explanation is a decision with all that led to it.
type Explanation struct {
	Decision   Decision
	Guardrails []Step
	Rules      []Step
	Seats      []Seat // of the rule that decided, also where it could not be filled
}

// Explain decides like Evaluate, and shows each step. It is slow.
func (c *Catalog) Explain(in Input) Explanation {
	out := Explanation{Decision: c.Evaluate(in)}
	q, refusal := c.ask(in)
	asked := refusal == nil
	for _, g := range c.guardrails {
		step, _ := q.step(g.name, "guardrail", g.kind, g.when, asked)
		out.Guardrails = append(out.Guardrails, step)
	}
	if asked {
		var matched []*guardrail
		if matched, refusal = c.guard(q); refusal == nil {
			refusal = within(q)
		}
		if refusal == nil {
			refusal = requirements(q, matched)
		}
	}
	going := asked && refusal == nil
	for _, r := range c.rules {
		step, t := q.step(r.name, "rule", r.kind, r.when, going)
		out.Rules = append(out.Rules, step)
		if !going || step.Outcome != Failed && t != yes {
			continue
		}
		going = false
		if t == yes {
			out.Seats = c.seats(q, r)
		}
	}
	return out
}

// step looks at one condition.
func (q question) step(name, what, kind string, when *condition, reached bool) (Step, truth) {
	s := Step{Name: name, Kind: kind, When: when.written().Text, Outcome: NotReached}
	switch {
	case !reached:
		return s, no
	case kind != "" && kind != q.resource.Kind.Name():
		s.Outcome = OtherKind
		return s, no
	}
	t, err := when.eval(q.vars)
	s.Parts = when.parts(q.vars)
	switch {
	case err != nil:
		s.Outcome, s.Why = Failed, when.explain(fmt.Sprintf("%s %q", what, name), err, q)
		t = no
	case t == yes:
		s.Outcome = Matched
	default:
		s.Outcome = NotMatched
	}
	return s, t
}

// seats are the stages of r and who could fill them.
func (c *Catalog) seats(q question, r *rule) []Seat {
	var out []Seat
	for _, written := range r.stages {
		stage, refusal := q.stage(written, r)
		if refusal != nil {
			stage.From = []string{}
		}
		seat := Seat{Stage: stage, May: c.Approvers(stage, q.principal.ID)}
		for _, id := range c.principalIDs {
			if slices.Contains(seat.May, id) || !slices.ContainsFunc(stage.From, func(s string) bool { return s == id || c.memberOf[id][s] }) {
				continue
			}
			seat.Bars = append(seat.Bars, Bar{Principal: id, Why: c.bar(c.principals[id], q.principal)})
		}
		out = append(out, seat)
	}
	return out
}

// bar says why p cannot approve for requester.
func (c *Catalog) bar(p, requester *Principal) string {
	switch {
	case p.ID == requester.ID:
		return "is the requester"
	case p.DisabledBy == p.ID:
		return "is disabled"
	case p.Disabled:
		return "is disabled, because " + p.DisabledBy + " is"
	case p.Kind() != "user":
		return "is no user: only users review"
	case p.person() == requester.person():
		return "is the requester with another account"
	case slices.Contains(c.line(requester), p.person()):
		return "answers for " + requester.ID
	}
	return "is related to the requester"
}

// Limits are the durations that a rule and guardrails allow together.
type Limits struct {
	MaxDuration, MaxTotal, ApproveWithin time.Duration
	By                                   string // what sets MaxDuration: rule "…" or guardrail "…"
}

// Limits returns what holds for a request on which the named rule and
// guardrails matched.
func (c *Catalog) Limits(ruleName string, guardrails []string) Limits {
	i := slices.IndexFunc(c.rules, func(r *rule) bool { return r.name == ruleName })
	if i < 0 {
		return Limits{}
	}
	r := c.rules[i]
	out := Limits{MaxDuration: r.maxDuration, MaxTotal: r.maxTotal, ApproveWithin: r.approveWithin, By: fmt.Sprintf("rule %q", r.name)}
	if out.MaxTotal == 0 {
		out.MaxTotal = r.maxDuration
	}
	for _, g := range c.guardrails {
		if !slices.Contains(guardrails, g.name) {
			continue
		}
		if g.maxDuration > 0 && g.maxDuration < out.MaxDuration {
			out.MaxDuration, out.By = g.maxDuration, fmt.Sprintf("guardrail %q", g.name)
		}
		out.MaxTotal = shorter(out.MaxTotal, g.maxDuration)
	}
	return out
}
