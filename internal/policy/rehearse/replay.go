package rehearse

import (
	"slices"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/policy"
)

// Recorded is a request as the record has it.
type Recorded struct {
	ID     string       // of the request; "" when it was refused
	Event  string       // of the entry, when it was refused
	Input  policy.Input // what it was decided on
	Terms  access.Terms // the decision; meaningless when it was refused
	Code   string       // of the refusal; "" when it was taken
	Why    string       // of the refusal
	Erased bool         // its reason or ticket were erased since, or never kept
}

// Replay decides recorded requests by another catalog.
type Replay struct {
	c      *policy.Catalog
	frozen bool
	most   int
	out    api.Backtest
}

// NewReplay starts a replay. It keeps at most that many flips. With frozen the
// groups of a requester are those when it was asked; otherwise those of the
// catalog, as if it were asked now.
func NewReplay(c *policy.Catalog, since, until time.Time, frozen bool, most int) *Replay {
	return &Replay{c: c, frozen: frozen, most: most, out: api.Backtest{
		Version: c.Version(), Since: api.TimeOf(since), Until: api.TimeOf(until), Changes: map[string]int{}, Flips: []api.Flip{},
	}}
}

// Skip counts a request that cannot be replayed.
func (r *Replay) Skip() { r.out.NotCovered++ }

// Result is what was found.
func (r *Replay) Result() api.Backtest { return r.out }

// Add replays one request. Its groups, its role's scope and the approvers are
// those of the catalog; all else is as it was asked.
func (r *Replay) Add(was Recorded) {
	in := was.Input
	flip := api.Flip{
		Request: was.ID, Event: was.Event, At: api.TimeOf(in.Now), Requester: in.Principal, Resource: in.Resource, Role: in.Role,
		Duration: api.Duration(in.Duration), From: DecisionOf(was.Terms), GroupsLost: []string{}, GroupsGained: []string{}, Erased: was.Erased,
	}
	flip.Was = Terms(was.Terms)
	if was.Code != "" {
		flip.From, flip.Was = "refused", was.Why
	}
	now := r.c.Groups(in.Principal)
	if !r.frozen {
		flip.GroupsLost, flip.GroupsGained = missing(in.Groups, now), missing(now, in.Groups)
		in.Groups = now
	}
	if scope, ok := r.roleScope(in); ok && string(scope) != string(in.Scope) {
		in.Scope, flip.ScopeChanged = scope, true
	}
	// What cannot be read any more was checked when it was asked.
	in.Decided = in.Decided || was.Erased
	d := r.c.Evaluate(in)
	r.out.Replayed++
	if was.Code != "" {
		r.out.Refusals++
	}
	if was.Erased {
		r.out.Erased++
	}
	flip.To, flip.Now = DecisionOf(d.Terms), d.Explanation
	if d.Refusal != nil {
		flip.To = "refused"
	}
	kind := flip.From + " → " + flip.To
	switch {
	case flip.From != flip.To:
	case flip.From == "review" && !sameStages(was.Terms.Stages, d.Terms.Stages):
		kind = "other reviewers"
	default:
		r.out.Same++
		return
	}
	r.out.Flipped++
	r.out.Changes[kind]++
	if len(r.out.Flips) < r.most {
		r.out.Flips = append(r.out.Flips, flip)
	} else {
		r.out.Truncated = true
	}
}

// DecisionOf is the decision that terms are: auto, review or break_glass.
func DecisionOf(t access.Terms) string {
	switch {
	case t.BreakGlass != nil:
		return "break_glass"
	case t.Auto:
		return "auto"
	}
	return "review"
}

func (r *Replay) roleScope(in policy.Input) ([]byte, bool) {
	resource, ok := r.c.Resource(in.Resource)
	if !ok || in.Role == "" {
		return nil, false
	}
	i := slices.IndexFunc(resource.Roles, func(role policy.Role) bool { return role.Name == in.Role })
	if i < 0 {
		return nil, false
	}
	return resource.Roles[i].Scope.JSON(), true
}

func sameStages(a, b []access.Stage) bool {
	return slices.EqualFunc(a, b, func(x, y access.Stage) bool { return x.Quorum == y.Quorum && slices.Equal(x.From, y.From) })
}

func missing(from, in []string) []string {
	out := []string{}
	for _, s := range from {
		if !slices.Contains(in, s) {
			out = append(out, s)
		}
	}
	return out
}
