package lint

import (
	"fmt"
	"slices"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/policy"
)

// reached is what became of all principals and targets.
type reached struct {
	whole      bool // every pair was looked at
	rules      []ruleReach
	guardrails []guardrailReach
	targets    []policy.Target
	open       []bool // target → somebody could be let through
}

// ruleReach is where one rule decides.
type ruleReach struct {
	matched  int         // pairs for which its condition may hold
	roles    int         // of these, pairs of a role
	decides  int         // pairs that it may decide
	byRole   int         // of these, pairs of a role
	denied   int         // of those that it may decide: a guardrail denies them in any case
	barred   map[int]int // guardrail → how many of those
	shadows  map[int]int // earlier rule → pairs in which it decides instead, whatever else is known
	breaks   map[int]int // earlier rule → pairs in which it cannot be evaluated, which refuses
	fails    int         // pairs in which its own condition cannot be evaluated
	failsFor string      // one of them
	let      int         // pairs that it may decide, not denied, with enough approvers
	capped   []int       // guardrail → pairs that it may decide, under this guardrail in any case
	short    map[string]*shortfall
	// ownerless and few name resources by what is missing on them.
	ownerless, few map[string]bool
	// glass are the requesters of whose broken glass too few would be told, and
	// glassOn the resources.
	glass, glassOn map[string]bool
}

// shortfall are the requesters for whom a rule's stages cannot be filled.
type shortfall struct {
	requesters map[string]bool
	resources  map[string]bool
	own        bool // those who could approve are all the requester, or answer for it
	why        *policy.Shortage
	example    string // the requester of why
}

// guardrailReach is where one guardrail matches.
type guardrailReach struct {
	matched  int
	fails    int
	failsFor string
}

// reach asks every condition about everybody and everything.
func (l *linter) reach() *reached {
	s := l.c.Survey(l.c.Targets(), nil, maxEvaluations)
	out := &reached{whole: true, rules: make([]ruleReach, len(l.rules)), guardrails: make([]guardrailReach, len(l.guardrails)), targets: s.Targets, open: make([]bool, len(s.Targets))}
	for i := range out.rules {
		r := &out.rules[i]
		r.barred, r.shadows, r.breaks, r.capped = map[int]int{}, map[int]int{}, map[int]int{}, make([]int, len(l.guardrails))
		r.short, r.ownerless, r.few = map[string]*shortfall{}, map[string]bool{}, map[string]bool{}
		r.glass, r.glassOn = map[string]bool{}, map[string]bool{}
	}
	w := newWalk(l, s, out)
	lookups := 0
	for t := range s.Targets {
		for p := range s.Principals {
			if lookups += len(l.guardrails) + len(l.rules); lookups > maxLookups {
				out.whole = false
				l.report.Bounded = fmt.Sprintf("%d principals and %d roles are too many to ask all of them of %d rules: only some were", len(s.Principals), len(s.Targets), len(l.rules))
				l.tell(out)
				return out
			}
			w.pair(p, t)
		}
	}
	if s.Exhausted() {
		out.whole = false
		l.report.Bounded = fmt.Sprintf("the conditions look at so much that not all of their cases were tried (%d were)", maxEvaluations)
	}
	l.tell(out)
	return out
}

// walk follows one pair after the other through the policy.
type walk struct {
	*linter
	survey *policy.Survey
	out    *reached
	sure   []int         // guardrails that match the pair in any case
	staffs [][]*staffing // rule → number of the target's resource → who approves
	number []int         // target → number of its resource
	shared map[string]*staffing
	told   map[hearing]bool
	answer []string // principal → the person who answers for it
}

// staffing is who could approve one list of stages.
type staffing struct {
	stages    []access.Stage
	ownerless bool
	few       bool                // too few whoever asks
	ample     bool                // enough whoever asks
	persons   map[string]bool     // who could approve anything of it
	verdicts  map[string]*verdict // by the person who answers for the requester
}

type verdict struct {
	ok  bool
	own bool
	why *policy.Shortage
}

func newWalk(l *linter, s *policy.Survey, out *reached) *walk {
	w := &walk{linter: l, survey: s, out: out, shared: map[string]*staffing{}, told: map[hearing]bool{}}
	for _, p := range s.Principals {
		w.answer = append(w.answer, l.c.Answers(p.ID))
	}
	numbers := map[string]int{}
	for _, t := range s.Targets {
		n, ok := numbers[t.Resource.ID]
		if !ok {
			n = len(numbers)
			numbers[t.Resource.ID] = n
		}
		w.number = append(w.number, n)
	}
	for range l.rules {
		w.staffs = append(w.staffs, make([]*staffing, len(numbers)))
	}
	return w
}

// pair follows a request of one principal for one target.
func (w *walk) pair(p, t int) {
	denied := w.guard(p, t)
	sure := false // an earlier rule has ended it in any case
	by, broken := -1, -1
	target := w.survey.Targets[t]
	for i := range w.rules {
		truth := w.survey.Rule(i, p, t, 0)
		if truth == policy.No {
			continue
		}
		r := &w.out.rules[i]
		if truth == policy.Fails {
			if !sure && told(target) {
				r.fails++
				if r.failsFor == "" {
					r.failsFor = w.survey.Principals[p].ID + " on " + target.Resource.ID
				}
			}
			if !sure {
				sure, broken = true, i
			}
			continue
		}
		r.matched++
		if target.Scope != nil {
			r.roles++
		}
		switch {
		case broken >= 0:
			r.breaks[broken]++
			continue
		case sure:
			r.shadows[by]++
			continue
		}
		w.decides(r, i, p, t, denied)
		if truth == policy.Yes {
			sure, by = true, i
		}
	}
}

// told reports whether a failure at target is worth counting: once for each
// role, or once for a resource without any.
func told(t policy.Target) bool { return t.Scope != nil || len(t.Resource.Roles) == 0 }

// guard notes the guardrails of a pair, and returns one that denies it in any
// case; -1 for none.
func (w *walk) guard(p, t int) int {
	denied := -1
	w.sure = w.sure[:0]
	for i, g := range w.guardrails {
		seen := &w.out.guardrails[i]
		switch w.survey.Guardrail(i, p, t, 0) {
		case policy.Fails:
			if told(w.survey.Targets[t]) {
				seen.fails++
				if seen.failsFor == "" {
					seen.failsFor = w.survey.Principals[p].ID + " on " + w.survey.Targets[t].Resource.ID
				}
			}
			seen.matched++
			denied = i
		case policy.Yes:
			seen.matched++
			w.sure = append(w.sure, i)
			if g.Deny != "" {
				denied = i
			}
		case policy.Unknown:
			seen.matched++
		case policy.No:
		}
	}
	return denied
}

// decides notes that rule i may decide a pair.
func (w *walk) decides(r *ruleReach, i, p, t, denied int) {
	target := w.survey.Targets[t]
	r.decides++
	if target.Scope != nil {
		r.byRole++
	}
	for _, g := range w.sure {
		r.capped[g]++
	}
	if denied >= 0 {
		r.denied++
		r.barred[denied]++
		return
	}
	if !w.rules[i].Auto && !w.approvable(r, i, p, t) {
		return
	}
	r.let++
	if w.rules[i].BreakGlass != nil && !w.heard(i, p, t) {
		r.glass[w.survey.Principals[p].ID], r.glassOn[target.Resource.ID] = true, true
	}
	w.out.open[t] = true
}

// approvable reports whether rule i could be approved for principal p on the
// resource of target t.
func (w *walk) approvable(r *ruleReach, i, p, t int) bool {
	staff := w.staffs[i][w.number[t]]
	resource := w.survey.Targets[t].Resource
	if staff == nil {
		staff = w.staffing(i, resource)
		w.staffs[i][w.number[t]] = staff
		if staff.ownerless {
			r.ownerless[resource.ID] = true
		}
		if staff.few {
			r.few[resource.ID] = true
		}
	}
	switch {
	case staff.ample:
		return true
	case staff.ownerless, staff.few:
		return false
	case !staff.persons[w.answer[p]]:
		return true // enough for those to whom nobody is related
	}
	requester := w.survey.Principals[p].ID
	v := staff.verdicts[w.answer[p]]
	if v == nil {
		v = w.verdict(staff.stages, requester, w.answer[p])
		staff.verdicts[w.answer[p]] = v
	}
	if v.ok {
		return true
	}
	cause := fmt.Sprint(v.own, v.why.Stage.Name)
	if r.short[cause] == nil {
		r.short[cause] = &shortfall{requesters: map[string]bool{}, resources: map[string]bool{}, own: v.own, why: v.why, example: requester}
	}
	r.short[cause].requesters[requester] = true
	r.short[cause].resources[resource.ID] = true
	return false
}

// hearing is a case of breaking glass.
type hearing struct {
	rule, resource int
	person         string
}

// heard reports whether enough others would be told if principal p broke the
// glass of rule i. A resource without owners to tell has its own finding.
func (w *walk) heard(i, p, t int) bool {
	key := hearing{i, w.number[t], w.answer[p]}
	enough, known := w.told[key]
	if !known {
		ids, none := w.c.Told(i, w.survey.Targets[t].Resource)
		enough = none || len(w.c.Candidates(access.Stage{From: ids}, w.survey.Principals[p].ID)) >= policy.MustHear
		w.told[key] = enough
	}
	return enough
}

// staffing works out who approves under rule i on a resource; the same stages
// are worked out once.
func (w *walk) staffing(i int, resource *policy.Resource) *staffing {
	stages, ownerless := w.c.Staffed(i, resource)
	if ownerless != "" {
		return &staffing{ownerless: true}
	}
	key := fmt.Sprint(stages)
	if known := w.shared[key]; known != nil {
		return known
	}
	s := &staffing{stages: stages, few: w.c.Short(stages, "") != nil, persons: map[string]bool{}, verdicts: map[string]*verdict{}}
	least, seats := 0, 0
	for n, stage := range stages {
		persons := w.c.Candidates(stage, "")
		for _, person := range persons {
			s.persons[person] = true
		}
		if n == 0 || len(persons) < least {
			least = len(persons)
		}
		seats += stage.Quorum
	}
	// One person less, the one who answers for the requester, is still enough.
	s.ample = !s.few && least > seats
	w.shared[key] = s
	return s
}

func (w *walk) verdict(stages []access.Stage, requester, person string) *verdict {
	why := w.c.Short(stages, requester)
	if why == nil {
		return &verdict{ok: true}
	}
	// Nobody is left: because all of them are the requester's?
	return &verdict{why: why, own: len(why.Persons) == 0 && slices.Equal(w.c.Candidates(why.Stage, ""), []string{person})}
}
