package policy

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/config"
	"github.com/goccy/go-yaml/ast"
)

// resourceOwners in a stage's `from` stands for the owners of the resource.
const resourceOwners = "resource.owners"

// Bounds of one rule: more of either is a mistake, not a policy.
const (
	maxStages = 20
	maxQuorum = 100
)

// guardrail restricts whatever it matches.
type guardrail struct {
	name        string
	kind        string // empty: every kind
	when        *condition
	deny        string // empty: does not deny
	reason      bool
	ticket      *regexp.Regexp // matches the whole ticket
	ticketText  string
	maxDuration time.Duration // 0: no limit
}

// rule says how what it matches is decided.
type rule struct {
	name          string
	kind          string
	when          *condition
	auto          bool
	stages        []access.Stage // from may hold resourceOwners
	maxDuration   time.Duration
	maxTotal      time.Duration      // 0: as the duration
	approveWithin time.Duration      // 0: the server's default
	breakGlass    *access.BreakGlass // nil: none; notify may hold resourceOwners
}

type guardrailEntry struct {
	Name        text                          `yaml:"name,required"`
	Kind        text                          `yaml:"kind"`
	When        text                          `yaml:"when"`
	Require     config.Located[requireEntry]  `yaml:"require"`
	Deny        text                          `yaml:"deny"`
	MaxDuration config.Located[time.Duration] `yaml:"max_duration"`
}

type requireEntry struct {
	Reason      config.Located[bool]          `yaml:"reason"`
	Ticket      text                          `yaml:"ticket"`
	MaxDuration config.Located[time.Duration] `yaml:"max_duration"`
}

type ruleEntry struct {
	Name          text                            `yaml:"name,required"`
	Kind          text                            `yaml:"kind"`
	When          text                            `yaml:"when"`
	Approve       config.Located[approveEntry]    `yaml:"approve,required"`
	MaxDuration   config.Located[time.Duration]   `yaml:"max_duration,required"`
	MaxTotal      config.Located[time.Duration]   `yaml:"max_total"`
	ApproveWithin config.Located[time.Duration]   `yaml:"approve_within"`
	BreakGlass    config.Located[breakGlassEntry] `yaml:"break_glass"`
}

type approveEntry struct {
	auto   bool
	stages []config.Located[stageEntry]
}

type stageEntry struct {
	Name   text                   `yaml:"name,required"`
	From   config.Located[[]text] `yaml:"from,required"`
	Quorum config.Located[int]    `yaml:"quorum,required"`
}

// DecodeYAML implements config.NodeDecoder: the word auto, or stages.
func (a *approveEntry) DecodeYAML(node ast.Node) error {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		var entry struct {
			Stages []config.Located[stageEntry] `yaml:"stages,required"`
		}
		err := config.DecodeNode(node, &entry)
		a.stages = entry.Stages
		if err == nil && len(a.stages) == 0 {
			return errors.New("no stages: nobody would have to approve; write auto if that is meant")
		}
		return err
	}
	var word string
	if err := config.DecodeNode(node, &word); err != nil || word != "auto" {
		return errors.New("must be auto, or {stages: [{name: …, from: […], quorum: 1}]}")
	}
	a.auto = true
	return nil
}

// policy reads guardrails and rules.
func (k *checker) policy(e policyEntry) {
	names := make(map[string]bool)
	for _, g := range e.Guardrails {
		k.name(g.Value.Name, names)
		k.c.guardrails = append(k.c.guardrails, k.guardrail(g))
	}
	for _, r := range e.Rules {
		k.name(r.Value.Name, names)
		k.c.rules = append(k.c.rules, k.rule(r))
	}
}

func (k *checker) name(name text, seen map[string]bool) {
	switch {
	case !name.Sound():
	case len(name.Value) > 128 || !entryName.MatchString(name.Value) || strings.TrimSpace(name.Value) != name.Value:
		k.fault(name.Node, "a name is one line of at most 128 bytes, without spaces at its ends")
	case seen[name.Value]:
		k.fault(name.Node, "the name %q is already taken: names of guardrails and rules are unique", name.Value)
	default:
		seen[name.Value] = true
	}
}

// kind checks the kind of an entry; an unknown one yields no condition.
func (k *checker) kind(kind text) bool {
	if kind.Given() && k.kinds[kind.Value] == nil {
		k.unknownKind(kind)
		return false
	}
	return true
}

func (k *checker) guardrail(located config.Located[guardrailEntry]) *guardrail {
	e := located.Value
	g := &guardrail{name: e.Name.Value, kind: e.Kind.Value, deny: e.Deny.Value, reason: e.Require.Value.Reason.Value}
	if k.kind(e.Kind) && e.When.Sound() {
		g.when = k.condition(e.When, g.kind)
	}
	require := e.Require.Value
	if require.Ticket.Sound() {
		g.ticketText = require.Ticket.Value
		// By itself first: the parentheses below could hide a stray one.
		_, err := regexp.Compile(g.ticketText)
		if err == nil {
			// The whole ticket must match, whether or not the author wrote ^ and $.
			g.ticket, err = regexp.Compile(`\A(?:` + g.ticketText + `)\z`)
		}
		switch {
		case err != nil:
			k.fault(require.Ticket.Node, "not a regular expression (RE2): %s", regexpMessage(err))
		case g.ticket.MatchString(""):
			k.fault(require.Ticket.Node, "this expression also matches no ticket at all")
		}
	}
	for _, limit := range []config.Located[time.Duration]{e.MaxDuration, require.MaxDuration} {
		if limit.Sound() && (g.maxDuration == 0 || limit.Value < g.maxDuration) {
			g.maxDuration = limit.Value
		}
	}
	switch {
	case e.Deny.Sound() && (strings.TrimSpace(g.deny) == "" || len(g.deny) > 1024):
		k.fault(e.Deny.Node, "deny says in at most 1024 bytes what to do instead")
	case e.Deny.Given() && (e.Require.Given() || e.MaxDuration.Given()):
		k.fault(located.Node, "deny refuses everything: require and max_duration beside it mean nothing")
	case !e.Deny.Given() && !e.Require.Faulty && !require.Reason.Value && !require.Ticket.Given() && !e.MaxDuration.Given() && !require.MaxDuration.Given():
		k.fault(located.Node, "this guardrail restricts nothing: give deny, require or max_duration")
	}
	return g
}

func regexpMessage(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}

func (k *checker) rule(located config.Located[ruleEntry]) *rule {
	e := located.Value
	r := &rule{
		name: e.Name.Value, kind: e.Kind.Value, auto: e.Approve.Value.auto,
		maxDuration: e.MaxDuration.Value, maxTotal: e.MaxTotal.Value, approveWithin: e.ApproveWithin.Value,
	}
	if !e.When.Given() {
		k.fault(located.Node, `when is missing: write when: "true" if the rule is meant for everything`)
	} else if k.kind(e.Kind) && e.When.Sound() {
		r.when = k.condition(e.When, r.kind)
	}
	if e.MaxTotal.Sound() && e.MaxDuration.Sound() && r.maxTotal < r.maxDuration {
		k.fault(e.MaxTotal.Node, "max_total is shorter than max_duration")
	}
	if e.ApproveWithin.Sound() && r.auto {
		k.fault(e.ApproveWithin.Node, "approve_within means nothing where approve is auto")
	}
	k.stages(r, e.Approve)
	k.breakGlass(r, located)
	return r
}

func (k *checker) stages(r *rule, approve config.Located[approveEntry]) {
	if len(approve.Value.stages) > maxStages {
		k.fault(approve.Node, "more than %d stages", maxStages)
		return
	}
	names := make(map[string]bool)
	var fixed []candidates // of the stages that do not depend on the resource
	sound := true
	for _, s := range approve.Value.stages {
		stage, ok := k.stage(s, names)
		r.stages = append(r.stages, stage)
		sound = sound && ok
		if !ok || slices.Contains(stage.From, resourceOwners) || k.filledByLogin(stage.From) {
			continue
		}
		could := k.c.candidatesOf(stage, "")
		if len(could.persons) < stage.Quorum {
			k.fault(s.Value.Quorum.Node, "stage %q needs %s and only %d could approve: %s", stage.Name, people(stage.Quorum), len(could.persons), listed(could.persons))
			sound = false
			continue
		}
		fixed = append(fixed, could)
	}
	if sound && !fillable(fixed) {
		k.fault(approve.Node, "the stages need more different people than there are: each person counts once in a request")
	}
}

func (k *checker) stage(located config.Located[stageEntry], names map[string]bool) (access.Stage, bool) {
	e := located.Value
	before := len(k.errs)
	stage := access.Stage{Name: e.Name.Value, From: []string{}, Quorum: e.Quorum.Value}
	if e.Name.Sound() {
		if names[stage.Name] {
			k.fault(e.Name.Node, "the rule has two stages %q", clip(stage.Name))
		}
		if len(stage.Name) > 128 || !entryName.MatchString(stage.Name) {
			k.fault(e.Name.Node, "a name is one line of at most 128 bytes")
		}
		names[stage.Name] = true
	}
	if e.Quorum.Sound() && (stage.Quorum < 1 || stage.Quorum > maxQuorum) {
		k.fault(e.Quorum.Node, "quorum must be between 1 and %d", maxQuorum)
	}
	if e.From.Sound() && len(e.From.Value) == 0 {
		k.fault(e.From.Node, "from is empty: nobody could approve")
	}
	stage.From = k.from(e.From)
	return stage, len(k.errs) == before && e.Name.Sound() && e.From.Sound() && e.Quorum.Sound()
}

// from reads who approves, or is told: groups, users, and the owners of the
// resource.
func (k *checker) from(located config.Located[[]text]) []string {
	ids := []string{}
	for _, f := range located.Value {
		switch {
		case f.Value == resourceOwners:
		case !k.typed(f, "an approver", "group", "user"):
			continue
		case kindOf(f.Value) == "group" && k.groups[f.Value] == nil:
			k.fault(f.Node, "%s does not exist: list it on a principal or under groups", f.Value)
			continue
		case kindOf(f.Value) == "user" && k.c.principals[f.Value] == nil:
			k.fault(f.Node, "%s is not among the principals", f.Value)
			continue
		}
		if slices.Contains(ids, f.Value) {
			k.fault(f.Node, "%s is listed twice", f.Value)
			continue
		}
		ids = append(ids, f.Value)
	}
	return ids
}

func people(n int) string {
	if n == 1 {
		return "1 person"
	}
	return strconv.Itoa(n) + " people"
}

func listed(ids []string) string {
	switch {
	case len(ids) == 0:
		return "nobody"
	case len(ids) > 5:
		return strings.Join(ids[:5], ", ") + ", …"
	}
	return strings.Join(ids, ", ")
}

// shorter returns the smaller of two limits, where 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return cmp.Or(a, b)
	}
	return min(a, b)
}
