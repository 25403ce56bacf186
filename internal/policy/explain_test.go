package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func outcomes(steps []Step) string {
	var out []string
	for _, s := range steps {
		out = append(out, s.Name+" "+string(s.Outcome))
	}
	return strings.Join(out, ", ")
}

func partsOf(s Step) string {
	var out strings.Builder
	for _, p := range s.Parts {
		value := "-"
		if p.Evaluated {
			value = p.Value
		}
		fmt.Fprintf(&out, "%s%s = %s\n", strings.Repeat("  ", p.Depth), p.Text, value)
	}
	return out.String()
}

func TestExplain(t *testing.T) {
	c := parse(t, contractCatalog)
	e := c.Explain(ask(c, "user:bo", "orders-db", scopeOf("update")))
	if got := outcomes(e.Guardrails); got != "production needs a ticket matched, no schema changes not_matched" {
		t.Error(got)
	}
	if got := outcomes(e.Rules); got != "on-call reads not_matched, production writes matched" {
		t.Error(got)
	}
	want := `"group:oncall" in principal.groups && scope.actions == ["select"] = false
  "group:oncall" in principal.groups = false
    principal.groups = ["group:dba"]
  scope.actions == ["select"] = -
`
	if got := partsOf(e.Rules[0]); got != want {
		t.Errorf("got\n%s", cmp.Diff(want, got))
	}
	if got := fmt.Sprint(e.Seats); got != "[{{dba [group:dba] 1} [] [{user:bo is the requester}]} {{owner [group:payments] 1} [user:ana user:cy] []}]" {
		t.Error(got)
	}
	if e.Decision.Refusal == nil || !strings.Contains(e.Decision.Explanation, "there is nobody") {
		t.Error(e.Decision.Explanation)
	}
	c = parse(t, rules(`    - {name: r, when: 'resource.labels.team == "x" || 1 == 2', approve: auto, max_duration: 1h}
`+auto))
	e = c.Explain(ask(c, "user:ana", "prod-db", scopeOf("select")))
	if got := outcomes(e.Rules); got != "r failed, all not_reached" || !strings.Contains(e.Rules[0].Why, "reads the label team") {
		t.Error(got, e.Rules[0].Why)
	}
	if !strings.Contains(partsOf(e.Rules[0]), "resource.labels.team = error: no such key: team") {
		t.Error(partsOf(e.Rules[0]))
	}
}

// What Explain shows is what Evaluate decides.
//
// Invariant: A16
func TestExplanationIsTheDecision(t *testing.T) {
	explore(t, []string{"auto", "stages", NotRequestable, DeniedByGuardrail, string(Failed), string(NotReached)}, func(t *rapid.T, seen map[string]int) {
		guardrails, rules := lines(t, "guardrail", guardrailLine), append(lines(t, "rule", ruleLine), catchAll(t)...)
		c := parse(t, withPolicy(guardrails, rules))
		in := drawInput(t, c)
		d, e := c.Evaluate(in), c.Explain(in)
		if !cmp.Equal(d, e.Decision) {
			t.Fatalf("another decision: %s", cmp.Diff(d, e.Decision))
		}
		if len(e.Guardrails) != len(c.guardrails) || len(e.Rules) != len(c.rules) {
			t.Fatalf("not every step is there: %s; %s", outcomes(e.Guardrails), outcomes(e.Rules))
		}
		deciding, matched := "", []string{}
		for _, s := range e.Rules {
			seen[string(s.Outcome)]++
			if s.Outcome == Matched {
				deciding += s.Name
			}
			if len(s.Parts) > 0 && s.Outcome != Failed && s.Parts[0].Value != fmt.Sprint(s.Outcome == Matched) {
				t.Fatalf("%s is shown as %s", s.Outcome, partsOf(s))
			}
		}
		for _, s := range e.Guardrails {
			if s.Outcome == Matched {
				matched = append(matched, s.Name)
			}
		}
		if d.Refusal != nil {
			seen[d.Refusal.Code]++
			return
		}
		if deciding != d.Terms.Rule || !cmp.Equal(matched, d.Terms.Guardrails) || len(e.Seats) != len(d.Terms.Stages) {
			t.Fatalf("%q and %v decide, and shown are %s; %s", d.Terms.Rule, d.Terms.Guardrails, outcomes(e.Rules), outcomes(e.Guardrails))
		}
		for i, s := range d.Terms.Stages {
			if !cmp.Equal(s, e.Seats[i].Stage) || !cmp.Equal(c.Approvers(s, in.Principal), e.Seats[i].May) {
				t.Fatalf("stage %+v is shown as %+v", s, e.Seats[i])
			}
		}
		limits := c.Limits(d.Terms.Rule, d.Terms.Guardrails)
		if limits.MaxDuration != d.Terms.MaxDuration || limits.MaxTotal != d.Terms.MaxTotal || limits.ApproveWithin != d.Terms.ApproveWithin {
			t.Fatalf("limits %+v of %+v", limits, d.Terms)
		}
		if d.Terms.Auto {
			seen["auto"]++
		} else {
			seen["stages"]++
		}
	})
}

// A survey says of each condition what an evaluation says, for whatever is
// left open.
//
// Invariant: A16
func TestSurvey(t *testing.T) {
	conditions := []string{
		`"group:dba" in principal.groups`, `principal.groups.exists(g, g == "group:lead")`, `size(principal.groups) > 1`, `principal.id == "user:bo"`, `principal.id in ["user:cy", "user:ana"]`,
		`principal.owner != ""`, `principal.attributes.level == "2"`, `has(principal.attributes.level)`, `resource.labels.env == "prod"`, `resource.id != "prod-db"`, `"group:lead" in resource.owners`,
		`resource.owners.exists(o, o in principal.groups)`, `scope.actions == ["select"]`, `request.duration > duration("20m")`, `now.getHours() < 13`, `unverified.ticket == ""`, `principal.kind + resource.kind == "userpostgres"`,
		`[principal].exists(principal, principal.id.startsWith("user:c"))`, `{"a": principal.attributes["level"]}["a"] == "2"`, `resource.kind == "http" ? principal.kind == "user" : principal.id > "user:b"`,
	}
	explore(t, []string{"Yes", "No", "Fails", "Unknown", "settled"}, func(t *rapid.T, seen map[string]int) {
		draw := func(label string) string { return rapid.SampledFrom(conditions).Draw(t, label) }
		when := draw("a")
		switch rapid.IntRange(0, 3).Draw(t, "form") {
		case 0:
			when = fmt.Sprintf("(%s) && !(%s)", when, draw("b"))
		case 1:
			when = fmt.Sprintf("(%s) || (%s)", when, draw("b"))
		}
		c := parse(t, rules("    - {name: r, kind: postgres, when: '"+when+"', approve: auto, max_duration: 1h}\n"))
		points := []Point{{Duration: 600e9, At: noon}, {Duration: 1800e9, At: noon.Add(3600e9)}}
		exact, open := c.Survey(c.Targets(), points, 1e6), c.Survey(c.Targets(), nil, 1e6)
		n := 0
		for p, principal := range exact.Principals {
			for i, target := range exact.Targets {
				if target.Scope == nil {
					continue
				}
				for at, point := range points {
					in := ask(c, principal.ID, target.Resource.ID, string(target.Scope.JSON()))
					in.Duration, in.Now, in.StartsAt, in.Reason, in.Ticket = point.Duration, point.At, point.At, "", ""
					q, refusal := c.ask(in)
					if refusal != nil {
						t.Fatal(refusal.Message)
					}
					want := No
					switch truth, err := c.rules[0].when.eval(q.vars); {
					case err != nil:
						want = Fails
					case truth == yes:
						want = Yes
					}
					n++
					seen[map[Truth]string{Yes: "Yes", No: "No", Fails: "Fails"}[want]]++
					if got := exact.Rule(0, p, i, at); got != want {
						t.Fatalf("%s: %s on %s: %d, and it is %d", when, principal.ID, target.Resource.ID, got, want)
					}
					last := i
					for exact.Targets[last].Scope != nil {
						last++
					}
					for _, got := range []Truth{open.Rule(0, p, i, 0), open.Rule(0, p, last, 0)} {
						if got == Unknown {
							seen["Unknown"]++
						} else if seen["settled"]++; got != want {
							t.Fatalf("%s: %s on %s is %d whatever the rest, and it is %d", when, principal.ID, target.Resource.ID, got, want)
						}
					}
				}
			}
		}
		if n == 0 || exact.Exhausted() {
			t.Fatal("nothing was asked")
		}
	})
}
