package policy

import (
	"fmt"
	"strings"
	"testing"
)

const placed = `principals:
  - {id: user:ana, groups: [group:dev, group:ops]}
  - id: user:bo
    groups: [group:dev]
groups:
  - {id: group:all, members: [group:dev]}
resources:
  - id: db
    kind: postgres
    postgres: {upstream: h}
    roles:
      read: {actions: [select]}
      write: {actions: [update]}
  - {id: free, kind: postgres, free_scope: true, postgres: {upstream: h}}
policy:
  guardrails:
    - name: short
      when: 'resource.id == "db"'
      max_duration: 2h
    - {name: shorter, require: {max_duration: 1h}}
    - {name: reason, require: {reason: true}}
  rules:
    - name: two
      when: 'true'
      approve:
        stages:
          - {name: first, from: [user:ana], quorum: 1}
          - {name: second, from: [user:bo], quorum: 1}
      max_duration: 1h
      max_total: 4h
      approve_within: 2h
    - {name: self, when: 'true', approve: auto, max_duration: 15m}
`

// Everything has its place in the file, and what has none that of what it
// belongs to.
func TestPlaces(t *testing.T) {
	c := parse(t, placed)
	lines := strings.Split(placed, "\n")
	for path, starts := range map[string]string{ // the text that begins there
		"principal user:ana":             "user:ana, groups",
		"principal user:bo":              "user:bo",
		"group group:dev":                "group:dev, group:ops",
		"group group:ops":                "group:ops]",
		"group group:all":                "group:all",
		"resource db":                    "db",
		"resource db role read":          "read:",
		"resource db role write":         "write:",
		"resource db role none":          "db",
		"resource free":                  "free,",
		"resource free role read":        "free,",
		"guardrail short":                "short",
		"guardrail short when":           "'resource.id",
		"guardrail short max_duration":   "2h",
		"guardrail shorter max_duration": "1h}}",
		"guardrail shorter when":         "shorter",
		"guardrail reason max_duration":  "reason, require",
		"rule two":                       "two",
		"rule two when":                  "'true'",
		"rule two approve":               "stages:",
		"rule two stage 0":               "{name: first",
		"rule two stage 1":               "{name: second",
		"rule two stage 2":               "two",
		"rule two max_duration":          "1h",
		"rule two max_total":             "4h",
		"rule two approve_within":        "2h",
		"rule self approve":              "auto",
		"rule self max_total":            "self,",
		"rule none":                      "",
		"principal user:cy":              "",
		"":                               "",
	} {
		got := c.Place(strings.Fields(path)...)
		if starts == "" {
			if got != (Place{}) {
				t.Errorf("%s stands at %+v, and is not there", path, got)
			}
			continue
		}
		if got.Line < 1 || got.Line > len(lines) || got.Column < 1 || got.Column > len(lines[got.Line-1]) || !strings.HasPrefix(lines[got.Line-1][got.Column-1:], starts) {
			t.Errorf("%s stands at %+v, want where %q does", path, got, starts)
		}
	}
}

// Why somebody in a stage cannot vote in it is said of each, and by the first
// reason that holds.
//
// Invariant: A9, A10, A13
func TestBarsOfAStage(t *testing.T) {
	c := parse(t, `principals:
  - {id: user:ana, groups: [group:dev]}
  - {id: user:ana2, person: user:ana, groups: [group:dev]}
  - {id: user:bo, groups: [group:dev]}
  - {id: user:bo2, person: user:bo, groups: [group:dev]}
  - {id: user:off, disabled: true, groups: [group:dev]}
  - {id: user:off2, person: user:off, groups: [group:dev]}
  - {id: user:cy}
  - {id: user:dee}
  - {id: service:ci, owner: user:ana, groups: [group:dev]}
  - {id: agent:bot, owner: user:bo2, groups: [group:dev]}
resources:
  - {id: db, kind: postgres, free_scope: true, postgres: {upstream: h}}
policy:
  rules:
    - {name: r, when: 'true', approve: {stages: [{name: s, from: [group:dev, user:cy], quorum: 1}]}, max_duration: 1h}
`)
	same := "user:off is disabled, user:off2 is disabled, because user:off is, "
	for requester, want := range map[string]string{
		"user:ana": "[user:bo user:bo2 user:cy]; agent:bot is no user: only users review, service:ci is no user: only users review, " + same +
			"user:ana is the requester, user:ana2 is the requester with another account",
		"user:ana2": "[user:bo user:bo2 user:cy]; agent:bot is no user: only users review, service:ci is no user: only users review, " + same +
			"user:ana is the requester with another account, user:ana2 is the requester",
		"user:cy":    "[user:ana user:ana2 user:bo user:bo2]; agent:bot is no user: only users review, service:ci is no user: only users review, " + same + "user:cy is the requester",
		"user:dee":   "[user:ana user:ana2 user:bo user:bo2 user:cy]; agent:bot is no user: only users review, service:ci is no user: only users review, " + same,
		"service:ci": "[user:bo user:bo2 user:cy]; agent:bot is no user: only users review, service:ci is the requester, " + same + "user:ana answers for service:ci, user:ana2 answers for service:ci",
		"agent:bot":  "[user:ana user:ana2 user:cy]; agent:bot is the requester, service:ci is no user: only users review, " + same + "user:bo answers for agent:bot, user:bo2 answers for agent:bot",
	} {
		seats := c.Explain(ask(c, requester, "db", scopeOf("select"))).Seats
		if len(seats) != 1 {
			t.Fatalf("%s: %d seats", requester, len(seats))
		}
		var bars []string
		for _, who := range []string{"agent:", "service:", "user:off", "user:"} {
			for _, b := range seats[0].Bars {
				if strings.HasPrefix(b.Principal, who) && (who != "user:" || !strings.HasPrefix(b.Principal, "user:off")) {
					bars = append(bars, b.Principal+" "+b.Why)
				}
			}
		}
		got := fmt.Sprint(seats[0].May) + "; " + strings.Join(bars, ", ")
		if got != strings.TrimSuffix(want, ", ") {
			t.Errorf("%s:\ngot  %s\nwant %s", requester, got, want)
		}
	}
	// Somebody whom the requester owns is neither the requester nor answers for it.
	if why := c.bar(c.principals["user:ana"], c.principals["user:bo"]); why != "is related to the requester" {
		t.Error(why)
	}
	ownerless := parse(t, rules("    - {name: r, when: 'true', approve: {stages: [{name: s, from: [resource.owners], quorum: 1}]}, max_duration: 1h}\n"))
	seats := ownerless.Explain(ask(ownerless, "user:ana", "dev-db", scopeOf("select"))).Seats
	if len(seats) != 1 || len(seats[0].Stage.From) != 0 || seats[0].Stage.From == nil || len(seats[0].May) != 0 || len(seats[0].Bars) != 0 {
		t.Errorf("a stage of owners on a resource without: %+v", seats)
	}
}

// The parts of a condition are what decides it: a chain of one connective is
// one step, a macro is one value, and what was not needed has none.
func TestPartsOfConditions(t *testing.T) {
	for when, want := range map[string]string{
		`principal.id == "x" || principal.id == "y" || principal.id == "user:ana"`: `principal.id == "x" || principal.id == "y" || principal.id == "user:ana" = true
  principal.id == "x" = false
    principal.id = "user:ana"
  principal.id == "y" = false
    principal.id = "user:ana"
  principal.id == "user:ana" = true
    principal.id = "user:ana"
`,
		`principal.id == "user:ana" && (resource.id == "x" || resource.id == "y")`: `principal.id == "user:ana" && (resource.id == "x" || resource.id == "y") = false
  principal.id == "user:ana" = true
    principal.id = "user:ana"
  resource.id == "x" || resource.id == "y" = false
    resource.id == "x" = false
      resource.id = "prod-db"
    resource.id == "y" = false
      resource.id = "prod-db"
`,
		`principal.kind == "user" && resource.kind == "postgres" && resource.id == "x"`: `principal.kind == "user" && resource.kind == "postgres" && resource.id == "x" = false
  principal.kind == "user" = true
    principal.kind = "user"
  resource.kind == "postgres" = true
    resource.kind = "postgres"
  resource.id == "x" = false
    resource.id = "prod-db"
`,
		`principal.groups.exists(g, g == "group:dev") && principal.id in ["user:ana"]`: `principal.groups.exists(g, g == "group:dev") && principal.id in ["user:ana"] = true
  principal.groups.exists(g, g == "group:dev") = true
  principal.id in ["user:ana"] = true
    principal.id = "user:ana"
`,
		`resource.id.startsWith("prod")`: `resource.id.startsWith("prod") = true
  resource.id = "prod-db"
`,
		`!(resource.id == "prod-db")`: `!(resource.id == "prod-db") = false
  resource.id == "prod-db" = true
    resource.id = "prod-db"
`,
		`size(principal.groups) > 1 / (size(principal.groups) - 1)`: `size(principal.groups) > 1 / (size(principal.groups) - 1) = error: division by zero
  size(principal.groups) = 1
    principal.groups = ["group:dev"]
  1 / (size(principal.groups) - 1) = error: division by zero
    size(principal.groups) - 1 = 0
      size(principal.groups) = 1
        principal.groups = ["group:dev"]
`,
		`has(resource.labels.env)`: "has(resource.labels.env) = true\n",
		`true`:                     "true = true\n",
	} {
		c := parse(t, rules("    - {name: r, when: '"+when+"', approve: auto, max_duration: 1h}\n"))
		if got := partsOf(c.Explain(ask(c, "user:ana", "prod-db", scopeOf("select"))).Rules[0]); got != want {
			t.Errorf("%s:\ngot\n%s\nwant\n%s", when, got, want)
		}
	}
	// Of a huge condition and of a huge value no more is shown than a person reads.
	var terms []string
	for i := range 150 {
		terms = append(terms, fmt.Sprintf("principal.id != \"user:%d\"", i))
	}
	c := parse(t, rules("    - {name: r, when: '"+strings.Join(terms, " && ")+"', approve: auto, max_duration: 1h}\n"))
	if got := len(c.Explain(ask(c, "user:ana", "prod-db", scopeOf("select"))).Rules[0].Parts); got != maxParts {
		t.Errorf("%d parts", got)
	}
	c = parse(t, rules("    - {name: r, when: 'unverified.reason != \"\"', approve: auto, max_duration: 1h}\n"))
	for _, n := range []int{maxValue - 2, maxValue - 1} { // and two quotes
		in := ask(c, "user:ana", "prod-db", scopeOf("select"))
		in.Reason = strings.Repeat("r", n)
		want := `"` + in.Reason + `"`
		if len(want) > maxValue {
			want = want[:maxValue] + "…"
		}
		if got := c.Explain(in).Rules[0].Parts[1].Value; got != want {
			t.Errorf("%d characters are shown as %d", n, len(got))
		}
	}
}
