package rehearse

import (
	"fmt"
	"slices"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/policy"
)

// standing is what everybody can get by one catalog, at some points. It decides
// as policy.Evaluate does, with each condition evaluated once for all that look
// the same to it; a property test holds it to that.
type standing struct {
	c          *policy.Catalog
	survey     *policy.Survey
	points     []policy.Point
	guardrails []policy.Guardrail
	rules      []policy.Rule
	principals map[string]int
	targets    map[string]int
	answers    []string
	terms      map[termsKey]*terms
}

// termsKey is what the terms of an outcome depend on.
type termsKey struct {
	rule     int
	resource string
	limit    time.Duration // the smallest of the guardrails that matched; 0: none
}

type terms struct {
	text    string // "" when the resource has no owners to ask
	longest time.Duration
	stages  []access.Stage
	glass   *access.BreakGlass // offered, with the resource's owners in place
	short   map[string]string  // by the person who answers for the requester: the outcome
}

// maxDiffEvaluations bounds the evaluations of one catalog; beyond it a
// condition counts as undecided, which refuses.
const maxDiffEvaluations = 3_000_000

func newStanding(c *policy.Catalog, points []policy.Point) *standing {
	targets := slices.DeleteFunc(c.Targets(), func(t policy.Target) bool { return t.Scope == nil })
	s := &standing{
		c: c, points: points, guardrails: c.Guardrails(), rules: c.Rules(), survey: c.Survey(targets, points, maxDiffEvaluations),
		principals: map[string]int{}, targets: map[string]int{}, terms: map[termsKey]*terms{},
	}
	for i, p := range s.survey.Principals {
		s.principals[p.ID] = i
		s.answers = append(s.answers, c.Answers(p.ID))
	}
	for i, t := range targets {
		s.targets[t.Resource.ID+" "+t.Role] = i
	}
	return s
}

// outcome says in words what who gets of a role at a point.
func (s *standing) outcome(who, what string, point int) string {
	p, ok := s.principals[who]
	if !ok {
		return nobody
	}
	t, ok := s.targets[what]
	if !ok {
		return nobody
	}
	limit := time.Duration(0)
	for i, g := range s.guardrails {
		switch s.survey.Guardrail(i, p, t, point) {
		case policy.No:
		case policy.Yes:
			if g.Deny != "" {
				return nobody
			}
			if g.MaxDuration > 0 && (limit == 0 || g.MaxDuration < limit) {
				limit = g.MaxDuration
			}
		default:
			if !s.open(s.survey.Guardrail(i, p, t, point)) {
				return nobody
			}
		}
	}
	for i := range s.rules {
		switch s.survey.Rule(i, p, t, point) {
		case policy.No:
			continue
		case policy.Yes:
			return s.apply(i, p, t, point, limit)
		default:
			if !s.open(s.survey.Rule(i, p, t, point)) {
				return nobody
			}
			if out := s.apply(i, p, t, point, limit); out != nobody {
				return out + reaching
			}
		}
	}
	return nobody
}

// reaching follows an outcome that depends on what access would really reach,
// which no catalog knows.
const reaching = ", depending on what it really reaches"

// open reports whether a truth depends on the target alone. One that was not
// evaluated for want of budget refuses.
func (s *standing) open(t policy.Truth) bool { return t == policy.Unknown && !s.survey.Exhausted() }

func (s *standing) apply(rule, p, t, point int, limit time.Duration) string {
	resource := s.survey.Targets[t].Resource
	key := termsKey{rule, resource.ID, limit}
	known := s.terms[key]
	if known == nil {
		known = s.termsOf(key, resource)
		s.terms[key] = known
	}
	if known.text == "" || s.points[point].Duration > known.longest {
		return nobody
	}
	out, ok := known.short[s.answers[p]]
	if !ok {
		who := s.survey.Principals[p].ID
		switch {
		case s.c.Short(known.stages, who) != nil:
			out = nobody
		default:
			out = known.text + s.glass(known.glass, who)
		}
		known.short[s.answers[p]] = out
	}
	return out
}

func (s *standing) termsOf(key termsKey, resource *policy.Resource) *terms {
	r := s.rules[key.rule]
	stages, ownerless := s.c.Staffed(key.rule, resource)
	out := &terms{stages: stages, longest: r.MaxDuration, short: map[string]string{}}
	if ownerless != "" {
		return out
	}
	total := r.MaxTotal
	if total == 0 {
		total = r.MaxDuration
	}
	if key.limit > 0 {
		out.longest, total = min(out.longest, key.limit), min(total, key.limit)
	}
	out.text = Terms(access.Terms{Auto: r.Auto, Stages: stages, MaxDuration: out.longest, MaxTotal: total, ApproveWithin: r.ApproveWithin})
	if r.BreakGlass != nil {
		if told, none := s.c.Told(key.rule, resource); !none {
			out.glass = &access.BreakGlass{MaxDuration: min(out.longest, r.BreakGlass.MaxDuration), Notify: told}
		}
	}
	return out
}

// glass is what break-glass offers somebody, in words.
func (s *standing) glass(offer *access.BreakGlass, who string) string {
	if offer == nil || len(s.c.Candidates(access.Stage{From: offer.Notify}, who)) < policy.MustHear {
		return ""
	}
	return glassText(offer)
}

func glassText(offer *access.BreakGlass) string {
	if offer == nil {
		return ""
	}
	return fmt.Sprintf("; break-glass at most %s, telling %s", api.FormatDuration(offer.MaxDuration), listed(offer.Notify, "nobody"))
}

// Terms says in words what terms mean for whoever asks.
func Terms(t access.Terms) string {
	out := "at once"
	if !t.Auto {
		out = "needs "
		for i, s := range t.Stages {
			if i > 0 {
				out += ", then "
			}
			out += fmt.Sprintf("%d of %s", s.Quorum, listed(s.From, "nobody"))
		}
	}
	out += ", at most " + api.FormatDuration(t.MaxDuration)
	if t.MaxTotal > t.MaxDuration {
		out += " (" + api.FormatDuration(t.MaxTotal) + " in all)"
	}
	if t.ApproveWithin > 0 {
		out += ", within " + api.FormatDuration(t.ApproveWithin)
	}
	return out
}
