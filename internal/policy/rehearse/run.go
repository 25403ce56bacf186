package rehearse

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/policy"
)

// Verdict is what became of a suite.
type Verdict struct {
	Results  []Result `json:"results"`
	Passed   int      `json:"passed"`
	Failed   int      `json:"failed"`
	Coverage Coverage `json:"coverage"`
}

// Result is what became of one case.
type Result struct {
	Name        string       `json:"name"`
	Line        int          `json:"line"`
	Column      int          `json:"column"`
	Passed      bool         `json:"passed"`
	Differences []Difference `json:"differences"`
	Explanation string       `json:"explanation"` // of the decision
}

// Difference is one thing that came out otherwise than expected.
type Difference struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
}

// Coverage says which rules and guardrails matched in some case.
type Coverage struct {
	Percent    int      `json:"percent"` // of all, rounded down
	Rules      []string `json:"rules_without"`
	Guardrails []string `json:"guardrails_without"`
}

// Run decides every case by a catalog.
func Run(c *policy.Catalog, s *Suite) Verdict {
	out := Verdict{Results: []Result{}}
	rules, guardrails := map[string]bool{}, map[string]bool{}
	for _, one := range s.Cases {
		r := Result{Name: one.Name, Line: one.Line, Column: one.Column, Differences: []Difference{}}
		in, err := Input(c, one.Given)
		if err != nil {
			r.Differences = append(r.Differences, Difference{What: "given", Want: "something that can be asked for", Got: err.Error()})
		} else {
			e := c.Explain(in)
			r.Explanation = e.Decision.Explanation
			r.Differences = append(r.Differences, one.Expect.differences(e)...)
			note(rules, e.Rules)
			note(guardrails, e.Guardrails)
		}
		if r.Passed = len(r.Differences) == 0; r.Passed {
			out.Passed++
		} else {
			out.Failed++
		}
		out.Results = append(out.Results, r)
	}
	out.Coverage = coverage(c, rules, guardrails)
	return out
}

func note(seen map[string]bool, steps []policy.Step) {
	for _, name := range matched(steps) {
		seen[name] = true
	}
}

func matched(steps []policy.Step) []string {
	out := []string{}
	for _, s := range steps {
		if s.Outcome == policy.Matched {
			out = append(out, s.Name)
		}
	}
	return out
}

func coverage(c *policy.Catalog, rules, guardrails map[string]bool) Coverage {
	out := Coverage{Percent: 100, Rules: []string{}, Guardrails: []string{}}
	all := 0
	for _, r := range c.Rules() {
		if all++; !rules[r.Name] {
			out.Rules = append(out.Rules, r.Name)
		}
	}
	for _, g := range c.Guardrails() {
		if all++; !guardrails[g.Name] {
			out.Guardrails = append(out.Guardrails, g.Name)
		}
	}
	if all > 0 {
		out.Percent = 100 * (all - len(out.Rules) - len(out.Guardrails)) / all
	}
	return out
}

// differences compares a decision with what was expected.
func (x Expectation) differences(e policy.Explanation) []Difference {
	var out []Difference
	compare := func(what, want, got string) {
		if want != got {
			out = append(out, Difference{What: what, Want: want, Got: got})
		}
	}
	d := Decision(e.Decision)
	compare("decision", x.Decision, d.Decision)
	if x.Code != nil {
		compare("code", *x.Code, d.Code)
	}
	if x.Rule != nil {
		compare("rule", *x.Rule, strings.Join(matched(e.Rules), ", "))
	}
	if x.Guardrails != nil {
		compare("guardrails", text(*x.Guardrails), text(matched(e.Guardrails)))
	}
	if x.MaxDuration != nil {
		compare("max_duration", api.FormatDuration(*x.MaxDuration), api.FormatDuration(e.Decision.Terms.MaxDuration))
	}
	if x.Stages != nil {
		got := []ExpectedStage{}
		for _, s := range e.Decision.Terms.Stages {
			got = append(got, ExpectedStage(s))
		}
		if !slices.EqualFunc(*x.Stages, got, func(a, b ExpectedStage) bool { return text(a) == text(b) }) {
			compare("stages", text(*x.Stages), text(got))
		}
	}
	return out
}

// text is a value as JSON.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
