package policy

import (
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"github.com/daypass/daypass/internal/access"
)

// Owners in the From of a written stage stands for the owners of the resource
// that is asked for.
const Owners = resourceOwners

// When is a condition as it was written.
type When struct {
	Text string   // empty: always
	AST  *cel.Ast // checked; nil: always
	Env  *cel.Env // in which it was
}

// Guardrail is one as it was written. It must not be changed.
type Guardrail struct {
	Name, Kind  string
	When        When
	Deny        string
	Reason      bool
	Ticket      string
	MaxDuration time.Duration // the smaller of the two that may be given; 0: none
}

// Rule is one as it was written. It must not be changed.
type Rule struct {
	Name, Kind    string
	When          When
	Auto          bool
	Stages        []access.Stage // From may hold Owners
	MaxDuration   time.Duration
	MaxTotal      time.Duration      // 0: as MaxDuration
	ApproveWithin time.Duration      // 0: the server's default
	BreakGlass    *access.BreakGlass // nil: none; Notify may hold Owners
}

// Guardrails returns the guardrails in the order of the file.
func (c *Catalog) Guardrails() []Guardrail {
	out := make([]Guardrail, len(c.guardrails))
	for i, g := range c.guardrails {
		out[i] = Guardrail{Name: g.name, Kind: g.kind, When: g.when.written(), Deny: g.deny, Reason: g.reason, Ticket: g.ticketText, MaxDuration: g.maxDuration}
	}
	return out
}

// Rules returns the rules in the order of the file, which is the order in
// which they are tried.
func (c *Catalog) Rules() []Rule {
	out := make([]Rule, len(c.rules))
	for i, r := range c.rules {
		out[i] = Rule{
			Name: r.name, Kind: r.kind, When: r.when.written(), Auto: r.auto, Stages: r.stages,
			MaxDuration: r.maxDuration, MaxTotal: r.maxTotal, ApproveWithin: r.approveWithin, BreakGlass: r.breakGlass,
		}
	}
	return out
}

func (c *condition) written() When {
	if c == nil {
		return When{}
	}
	return When{Text: c.checked.Source().Content(), AST: c.checked, Env: c.env}
}

// GroupIDs returns every group that exists, sorted, also those without members.
func (c *Catalog) GroupIDs() []string { return slices.Clone(c.groupIDs) }

// Users returns the enabled user accounts that a group has, directly and
// through other groups, sorted; of a user, the account itself.
func (c *Catalog) Users(id string) []string { return slices.Clone(c.usersOf[id]) }

// Parents returns the groups that list id, a principal or a group, directly.
func (c *Catalog) Parents(id string) []string { return slices.Clone(c.parents[id]) }

// Answers returns the person who answers for what id does: the person of a
// user, that of the owner of a service or an agent. That person, and no other,
// never counts as an approver of id.
func (c *Catalog) Answers(id string) string {
	p, ok := c.principals[id]
	if !ok {
		return ""
	}
	line := c.line(p)
	return line[len(line)-1]
}

// Shortage says why stages could not all be filled.
type Shortage struct {
	Stage   access.Stage // which has too few; without a name when all stages together do
	Persons []string     // who could fill it
}

// Staffed returns the stages of the rule of that index in Rules on a resource,
// with the resource's owners in place of Owners. It is the name of a stage that
// has no owners to put there when the resource has none.
func (c *Catalog) Staffed(rule int, resource *Resource) (stages []access.Stage, ownerless string) {
	q := question{resource: resource}
	for _, s := range c.rules[rule].stages {
		stage, refusal := q.stage(s, c.rules[rule])
		if refusal != nil {
			return nil, s.Name
		}
		stages = append(stages, stage)
	}
	return stages, ""
}

// Candidates returns the persons who could vote in stage on a request of
// requester, sorted; with an empty requester, of one to whom nobody is related.
func (c *Catalog) Candidates(stage access.Stage, requester string) []string {
	return c.candidatesOf(stage, requester).persons
}

// Short reports why stages could not all be filled for requester, nil when
// they could. An empty requester is one to whom nobody is related.
func (c *Catalog) Short(stages []access.Stage, requester string) *Shortage {
	could := make([]candidates, len(stages))
	for i, s := range stages {
		if could[i] = c.candidatesOf(s, requester); len(could[i].persons) < s.Quorum {
			return &Shortage{Stage: s, Persons: could[i].persons}
		}
	}
	if fillable(could) {
		return nil
	}
	var all []string
	for _, who := range could {
		all = append(all, who.persons...)
	}
	slices.Sort(all)
	return &Shortage{Persons: slices.Compact(all)}
}
