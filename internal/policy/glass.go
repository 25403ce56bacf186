package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/config"
)

// MustHear is how many people have to be told when somebody breaks glass.
const MustHear = 2

type breakGlassEntry struct {
	MaxDuration config.Located[time.Duration] `yaml:"max_duration,required"`
	Notify      config.Located[[]text]        `yaml:"notify,required"`
}

// breakGlass reads what a rule allows in an emergency.
func (k *checker) breakGlass(r *rule, e config.Located[ruleEntry]) {
	located := e.Value.BreakGlass
	if !located.Given() {
		return
	}
	entry, before := located.Value, len(k.errs)
	if r.auto {
		k.fault(located.Node, "break_glass means nothing where approve is auto: nobody has to agree")
	}
	if limit := entry.MaxDuration; limit.Sound() && e.Value.MaxDuration.Sound() && limit.Value > r.maxDuration {
		k.fault(limit.Node, "break_glass is longer than max_duration: in an emergency it cannot be more than people could approve")
	}
	notify := k.from(entry.Notify)
	if entry.Notify.Sound() && len(entry.Notify.Value) == 0 {
		k.fault(entry.Notify.Node, "notify is empty: break-glass tells %d people at once", MustHear)
	}
	if len(k.errs) == before && !located.Faulty && !slices.Contains(notify, resourceOwners) {
		could := k.c.candidatesOf(access.Stage{From: notify}, "")
		if len(could.persons) < MustHear {
			k.fault(entry.Notify.Node, "break-glass tells %d people at once and this names only %d: %s", MustHear, len(could.persons), listed(could.persons))
		}
	}
	r.breakGlass = &access.BreakGlass{MaxDuration: entry.MaxDuration.Value, Notify: notify}
}

// offer is the break-glass of rule r for q, or why there is none. longest is
// what guardrails and rule leave.
func (c *Catalog) offer(q question, r *rule, longest time.Duration) (*access.BreakGlass, *Refusal) {
	switch {
	case r.auto:
		return nil, refuse(NotRequestable, "break_glass", "rule %q approves this by itself: ask without break-glass", r.name)
	case r.breakGlass == nil:
		return nil, refuse(NotRequestable, "break_glass", "rule %q, which decides this, has no break-glass: ask without it, and people will be asked", r.name)
	}
	told, refusal := q.stage(access.Stage{Name: "break_glass", From: r.breakGlass.Notify}, r)
	if refusal != nil {
		return nil, refusal
	}
	who := c.candidatesOf(told, q.principal.ID)
	if len(who.persons) < MustHear {
		return nil, refuse(NotRequestable, "break_glass", "break-glass of rule %q tells %s of %s at once, and %s who could be told of %s: ask without it",
			r.name, people(MustHear), listed(told.From), thereAre(len(who.persons)), q.principal.ID)
	}
	return &access.BreakGlass{MaxDuration: min(longest, r.breakGlass.MaxDuration), Notify: told.From}, nil
}

// breakGlass makes d a decision to break glass: access first, and what the
// ordinary way would have asked for as the review afterwards.
func (q question) breakGlass(d Decision) Decision {
	if !q.in.Decided && blank(q.in.Reason) {
		return refused(refuse(NotRequestable, "reason", "break-glass needs a reason: say what the emergency is"))
	}
	g := d.BreakGlass
	d.Terms.BreakGlass, d.Terms.MaxDuration, d.Terms.MaxTotal = g, g.MaxDuration, g.MaxDuration
	d.Explanation = fmt.Sprintf("gives access at once, before anybody agrees (break-glass of rule %q, at most %s): %s are told, and it has to be reviewed afterwards by %s",
		d.Terms.Rule, api.FormatDuration(g.MaxDuration), strings.Join(g.Notify, " and "), steps(d.Terms))
	return d
}

// Told returns whom break-glass of the rule of that index in Rules tells on a
// resource; none reports that there is nobody, because the resource has no
// owners or the rule no break-glass.
func (c *Catalog) Told(rule int, resource *Resource) (ids []string, none bool) {
	r := c.rules[rule]
	if r.breakGlass == nil {
		return nil, true
	}
	told, refusal := question{resource: resource}.stage(access.Stage{Name: "break_glass", From: r.breakGlass.Notify}, r)
	return told.From, refusal != nil
}

// UsesBreakGlass reports whether some rule lets anybody break glass.
func (c *Catalog) UsesBreakGlass() bool {
	return slices.ContainsFunc(c.rules, func(r *rule) bool { return r.breakGlass != nil })
}

// GlassWarning says, in a sentence, who would not hear of a broken glass with
// the notifiers that are configured; "" when everybody would.
func (c *Catalog) GlassWarning(notifiers []string) string {
	switch {
	case !c.UsesBreakGlass():
		return ""
	case len(notifiers) == 0:
		return "the catalog has break_glass and no notifier is configured: nobody is sent a notice when somebody breaks glass, only the audit log and the lists show it"
	case !slices.Equal(notifiers, []string{"smtp"}):
		return "" // a webhook is told of everybody
	}
	var deaf []string
	for i := range c.rules {
		for _, r := range c.Resources() {
			told, none := c.Told(i, r)
			if none {
				continue
			}
			for _, from := range told {
				for _, id := range c.usersOf[from] {
					if c.principals[id].Email == "" {
						deaf = append(deaf, id)
					}
				}
			}
		}
	}
	slices.Sort(deaf)
	if deaf = slices.Compact(deaf); len(deaf) == 0 {
		return ""
	}
	return fmt.Sprintf("break_glass tells %s, by mail alone, and the catalog has no email of them: give their principals one, or configure notify.webhook", listed(deaf))
}
