// Package lint finds what a catalog says and cannot mean: rules that never
// decide, approvals that nobody could give, names that nothing has, limits that
// contradict each other. Since principals, resources and roles are finite, most
// of it is proven by asking every condition about all of them.
//
// It refuses to decide a request, to change a catalog, and to call proven what
// is only suspected: a catalog with findings is still a good catalog.
package lint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/policy"
)

// Severity says how much a finding matters.
type Severity string

// The severities of findings. Errors are those of policy.Parse alone.
const (
	Warning Severity = "warning" // something does not do what it says
	Note    Severity = "note"    // worth knowing; no reason to hold a catalog back
)

// Finding is one thing that a reader should know.
type Finding struct {
	policy.Place
	Code      string // stable
	Severity  Severity
	Message   string // what is wrong
	Fix       string // what to do
	Suspected bool   // not proven
}

// Report is what was found, in the order of the file.
type Report struct {
	Findings []Finding
	// Bounded says what was not looked at; "" when everything was.
	Bounded string
}

// Options are what is known beside the catalog.
type Options struct {
	// RequestTTL is how long a request waits where its rule does not say; 0 is
	// unknown.
	RequestTTL time.Duration
}

// Bounds of one run: two seconds or so.
const (
	maxEvaluations = 400_000
	maxLookups     = 600_000_000
)

// linter is one run.
type linter struct {
	c          *policy.Catalog
	guardrails []policy.Guardrail
	rules      []policy.Rule
	options    Options
	report     Report
}

// Check looks at a catalog.
func Check(c *policy.Catalog, o Options) Report {
	l := &linter{c: c, guardrails: c.Guardrails(), rules: c.Rules(), options: o}
	l.conditions()
	l.names()
	l.groups()
	l.durations(l.reach())
	slices.SortStableFunc(l.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message))
	})
	return l.report
}

// warn adds a proven warning.
func (l *linter) warn(at policy.Place, code, fix, format string, args ...any) {
	l.add(Finding{Place: at, Code: code, Severity: Warning, Message: fmt.Sprintf(format, args...), Fix: fix})
}

func (l *linter) note(at policy.Place, code, fix, format string, args ...any) {
	l.add(Finding{Place: at, Code: code, Severity: Note, Message: fmt.Sprintf(format, args...), Fix: fix})
}

func (l *linter) add(f Finding) {
	f.Line, f.Column = max(f.Line, 1), max(f.Column, 1)
	l.report.Findings = append(l.report.Findings, f)
}

// listed names at most five of many.
func listed(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Source parses a catalog and checks it; a catalog that is not taken has only
// problems.
func Source(src []byte, kinds []policy.Kind, o Options) (*policy.Catalog, api.CatalogCheck) {
	out := api.CatalogCheck{Problems: []api.CatalogProblem{}, Findings: []api.CatalogFinding{}}
	c, err := policy.Parse(src, kinds)
	if err != nil {
		out.Problems = Problems(err)
		for _, p := range out.Problems {
			out.Findings = append(out.Findings, api.CatalogFinding{Line: p.Line, Column: p.Column, Code: "invalid", Severity: "error", Message: p.Message})
		}
		return nil, out
	}
	report := Check(c, o)
	out.OK, out.Version, out.Bounded = true, c.Version(), report.Bounded
	for _, f := range report.Findings {
		out.Findings = append(out.Findings, api.CatalogFinding{
			Line: f.Line, Column: f.Column, Code: f.Code, Severity: string(f.Severity), Message: f.Message, Fix: f.Fix, Suspected: f.Suspected,
		})
	}
	return c, out
}

// Problems lists what policy.Parse found wrong.
func Problems(err error) []api.CatalogProblem {
	var problems policy.Problems
	if !errors.As(err, &problems) {
		return []api.CatalogProblem{{Line: 1, Column: 1, Message: err.Error()}}
	}
	out := make([]api.CatalogProblem, 0, len(problems))
	for _, p := range problems {
		out = append(out, api.CatalogProblem{Line: p.Line, Column: p.Column, Message: p.Message})
	}
	return out
}
