package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
)

// apply answers q by rule r.
func (c *Catalog) apply(q question, r *rule, matched []*guardrail) Decision {
	longest, total, by := r.maxDuration, r.maxTotal, (*guardrail)(nil)
	if total == 0 {
		total = r.maxDuration
	}
	names := []string{}
	for _, g := range matched {
		names = append(names, g.name)
		if g.maxDuration > 0 && g.maxDuration < longest {
			longest, by = g.maxDuration, g
		}
		total = shorter(total, g.maxDuration)
	}
	offer, none := c.offer(q, r, longest)
	if q.in.BreakGlass {
		if none != nil {
			return refused(none)
		}
		if offer.MaxDuration < longest {
			longest, by = offer.MaxDuration, nil
		}
	}
	if refusal := tooLong(q.in.Duration, longest, r, by); refusal != nil {
		return refused(refusal)
	}
	terms := access.Terms{
		PolicyVersion: c.version, Rule: r.name, Guardrails: names, Auto: r.auto, Stages: []access.Stage{},
		MaxDuration: longest, MaxTotal: total, ApproveWithin: r.approveWithin,
	}
	var could []candidates
	for _, s := range r.stages {
		stage, refusal := q.stage(s, r)
		if refusal != nil {
			return refused(refusal)
		}
		terms.Stages = append(terms.Stages, stage)
		who := c.candidatesOf(stage, q.principal.ID)
		if len(who.persons) < stage.Quorum {
			return refused(refuse(NotRequestable, "", "rule %q needs %s of %s in stage %q, and %s who could approve for %s",
				r.name, people(stage.Quorum), listed(stage.From), stage.Name, thereAre(len(who.persons)), q.principal.ID))
		}
		could = append(could, who)
	}
	if !fillable(could) {
		return refused(refuse(NotRequestable, "", "the stages of rule %q need more different people than could approve for %s: each person counts once", r.name, q.principal.ID))
	}
	d := Decision{Terms: terms, Explanation: explanation(terms), BreakGlass: offer}
	if q.in.BreakGlass {
		return q.breakGlass(d)
	}
	if offer != nil {
		d.Explanation += "; in an emergency break-glass gives at most " + api.FormatDuration(offer.MaxDuration) + " at once"
	}
	return d
}

func thereAre(n int) string {
	switch n {
	case 0:
		return "there is nobody"
	case 1:
		return "there is only 1 person"
	}
	return fmt.Sprintf("there are only %d people", n)
}

func tooLong(asked, longest time.Duration, r *rule, by *guardrail) *Refusal {
	switch {
	case asked < 0:
		return refuse(NotRequestable, "duration", "a duration is more than 0")
	case asked <= longest:
		return nil
	}
	refusal := refuse(NotRequestable, "duration", "%s is longer than the %s that rule %q allows: ask for at most %s",
		api.FormatDuration(asked), api.FormatDuration(longest), r.name, api.FormatDuration(longest))
	refusal.Longest = longest
	if by == nil {
		return refusal
	}
	refusal = refuse(DeniedByGuardrail, "duration", "%s is longer than the %s that guardrail %q allows: ask for at most %s",
		api.FormatDuration(asked), api.FormatDuration(longest), by.name, api.FormatDuration(longest))
	refusal.Guardrail, refusal.Longest = by.name, longest
	return refusal
}

// stage is s with the resource's owners in their place.
func (q question) stage(s access.Stage, r *rule) (access.Stage, *Refusal) {
	out := access.Stage{Name: s.Name, Quorum: s.Quorum, From: make([]string, 0, len(s.From))}
	for _, id := range s.From {
		ids := []string{id}
		if id == resourceOwners {
			if ids = q.resource.Owners; len(ids) == 0 {
				return out, refuse(NotRequestable, "", "rule %q needs the owners of %s in stage %q, and it has none: add owners to the resource", r.name, q.resource.ID, s.Name)
			}
		}
		for _, id := range ids {
			if !slices.Contains(out.From, id) {
				out.From = append(out.From, id)
			}
		}
	}
	return out, nil
}

// explanation is one sentence that says how terms decide.
func explanation(t access.Terms) string {
	if t.Auto {
		return fmt.Sprintf("approved by rule %q: at most %s", t.Rule, api.FormatDuration(t.MaxDuration))
	}
	return fmt.Sprintf("needs %s (rule %q, at most %s)", steps(t), t.Rule, api.FormatDuration(t.MaxDuration))
}

// steps says who agrees, stage by stage.
func steps(t access.Terms) string {
	words := make([]string, len(t.Stages))
	for i, s := range t.Stages {
		words[i] = fmt.Sprintf("%d of %s", s.Quorum, strings.Join(s.From, " or "))
	}
	return strings.Join(words, ", then ")
}
