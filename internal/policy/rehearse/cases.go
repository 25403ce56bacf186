package rehearse

import (
	"encoding/json"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/config"
)

// Suite is a file of cases: what must come out where something is given.
type Suite struct {
	Catalog string // path of the catalog, as it was written
	Cases   []Case
}

// Case is one of them.
type Case struct {
	Name         string
	Line, Column int
	Given        Question
	Expect       Expectation
}

// Expectation is what must come out. What is nil is not looked at.
type Expectation struct {
	Decision    string // auto, review, break_glass or refused
	Code        *string
	Rule        *string   // the rule that matched, also where it refused; "" is none
	Guardrails  *[]string // those that matched, in the order of the catalog
	Stages      *[]ExpectedStage
	MaxDuration *time.Duration
}

// ExpectedStage is one stage of an Expectation.
type ExpectedStage struct {
	Name   string   `json:"name"`
	From   []string `json:"from"`
	Quorum int      `json:"quorum"`
}

// Bounds of one file.
const (
	maxSuite = 4 << 20 // bytes
	maxCases = 10_000
)

type (
	located = config.Located[string]

	suiteEntry struct {
		Catalog located                     `yaml:"catalog,required"`
		At      *api.Time                   `yaml:"at"`
		Cases   []config.Located[caseEntry] `yaml:"cases,required"`
	}
	caseEntry struct {
		Name   located                     `yaml:"name,required"`
		Given  config.Located[givenEntry]  `yaml:"given,required"`
		Expect config.Located[expectEntry] `yaml:"expect,required"`
	}
	givenEntry struct {
		As       located       `yaml:"as,required"`
		Resource located       `yaml:"resource,required"`
		Role     string        `yaml:"role"`
		Scope    ast.Node      `yaml:"scope"`
		For      time.Duration `yaml:"for"`
		Reason   string        `yaml:"reason"`
		Ticket   string        `yaml:"ticket"`
		At       *api.Time     `yaml:"at"`
		Groups   *[]string     `yaml:"groups"`
		Client   string        `yaml:"client"`
		Glass    bool          `yaml:"break_glass"`
		Reaches  ast.Node      `yaml:"effective"`
	}
	expectEntry struct {
		Decision    located                      `yaml:"decision,required"`
		Code        *string                      `yaml:"code"`
		Rule        *string                      `yaml:"rule"`
		Guardrails  *[]string                    `yaml:"guardrails"`
		Stages      []config.Located[stageEntry] `yaml:"stages"`
		MaxDuration *time.Duration               `yaml:"max_duration"`
	}
	stageEntry struct {
		Name   string   `yaml:"name,required"`
		From   []string `yaml:"from,required"`
		Quorum int      `yaml:"quorum,required"`
	}
)

// ParseSuite reads a file of cases, strictly. now is when a case asks that says
// no time, in a file that says none. Its error is a config.Errors.
func ParseSuite(name string, src []byte, now time.Time) (*Suite, error) {
	root, err := config.Parse(name, src, maxSuite)
	if err != nil {
		return nil, err
	}
	var file suiteEntry
	errs := config.At(root, config.DecodeNode(root, &file))
	fault := func(node ast.Node, format string, args ...any) {
		errs = append(errs, config.Errorf(node, format, args...))
	}
	if root == nil {
		errs = config.Errors{{Line: 1, Column: 1, Message: "the file is empty: give catalog and cases"}}
	}
	if len(file.Cases) > maxCases {
		fault(file.Cases[maxCases].Node, "more than %d cases", maxCases)
		file.Cases = nil
	}
	if file.At != nil {
		now = file.At.Time
	}
	out := &Suite{Catalog: file.Catalog.Value}
	seen := map[string]bool{}
	for _, e := range file.Cases {
		line, column := config.Position(e.Node)
		c := Case{Name: e.Value.Name.Value, Line: line, Column: column}
		if e.Value.Name.Sound() && seen[c.Name] {
			fault(e.Value.Name.Node, "another case has the name %q", c.Name)
		}
		seen[c.Name] = true
		c.Given = given(e.Value.Given.Value, now, fault)
		c.Expect = expected(e.Value.Expect.Value, fault)
		out.Cases = append(out.Cases, c)
	}
	if root != nil && len(errs) == 0 && len(out.Cases) == 0 {
		fault(root, "no cases: nothing would be tested")
	}
	if len(errs) > 0 {
		for i := range errs {
			errs[i].File = name
		}
		return nil, errs.Sorted()
	}
	return out, nil
}

func given(e givenEntry, now time.Time, fault func(ast.Node, string, ...any)) Question {
	q := Question{Principal: e.As.Value, Resource: e.Resource.Value, Role: e.Role, Duration: e.For, Reason: e.Reason, Ticket: e.Ticket, At: now, Client: e.Client, BreakGlass: e.Glass}
	if e.At != nil {
		q.At = e.At.Time
	}
	if e.Groups != nil {
		q.Groups = append([]string{}, *e.Groups...)
	}
	if e.Reaches != nil {
		raw, err := config.JSON(e.Reaches)
		if err != nil {
			fault(e.Reaches, "%s", err)
		}
		q.Effective = raw
	}
	if e.Scope != nil {
		var raw json.RawMessage
		raw, err := config.JSON(e.Scope)
		if err != nil {
			fault(e.Scope, "%s", err)
		}
		q.Scope = raw
		if e.Role != "" {
			fault(e.Scope, "name a role or spell a scope, one of the two")
		}
	}
	return q
}

func expected(e expectEntry, fault func(ast.Node, string, ...any)) Expectation {
	out := Expectation{Decision: e.Decision.Value, Code: e.Code, Rule: e.Rule, Guardrails: e.Guardrails, MaxDuration: e.MaxDuration}
	switch {
	case !e.Decision.Sound():
	case out.Decision != "auto" && out.Decision != "review" && out.Decision != "refused" && out.Decision != "break_glass":
		fault(e.Decision.Node, "a decision is auto, review, break_glass or refused, not %q", out.Decision)
	case out.Code != nil && out.Decision != "refused":
		fault(e.Decision.Node, "only what is refused has a code")
	case out.Decision == "refused" && (len(e.Stages) > 0 || e.MaxDuration != nil):
		fault(e.Decision.Node, "what is refused has no stages and no max_duration")
	}
	if len(e.Stages) > 0 {
		stages := []ExpectedStage{}
		for _, s := range e.Stages {
			stages = append(stages, ExpectedStage(s.Value))
		}
		out.Stages = &stages
	}
	return out
}
