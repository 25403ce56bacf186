package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// crowded is a catalog in which some people and resources look alike.
const crowded = `principals:
  - {id: user:a1, groups: [group:a], attributes: {level: "1"}}
  - {id: user:a2, groups: [group:a], attributes: {level: "1"}}
  - {id: user:b1, groups: [group:b]}
  - {id: user:b2, groups: [group:b], attributes: {level: ""}}
  - {id: user:ab, groups: [group:a, group:b], attributes: {level: "2"}}
  - {id: user:off, disabled: true, groups: [group:a]}
  - {id: service:s, owner: user:a1}
resources:
  - {id: db1, kind: postgres, labels: {env: prod}, owners: [group:a], postgres: {upstream: h}, roles: {read: {actions: [select]}, write: {actions: [select, update]}}}
  - {id: db2, kind: postgres, labels: {env: prod}, owners: [group:a], postgres: {upstream: h}, roles: {read: {actions: [select]}}}
  - {id: db3, kind: postgres, labels: {env: dev}, owners: [group:b], postgres: {upstream: h}, roles: {read: {actions: [select]}}}
  - {id: db4, kind: postgres, postgres: {upstream: h}, roles: {read: {actions: [select]}}}
  - {id: closed, kind: postgres, disabled: true, postgres: {upstream: h}, roles: {read: {actions: [select]}}}
  - {id: web, kind: http, labels: {env: prod}, owners: [group:a], http: {upstream: h}, roles: {read: {actions: [GET]}}}
policy:
  rules:
`

// A survey asks a condition once for all whom it cannot tell apart, which is
// what makes it possible to ask about everybody; and it tells apart whom the
// condition does.
func TestSurveyAsksOnceForAllThatLookAlike(t *testing.T) {
	// Six enabled principals; four databases of which one has two roles, and a
	// web service. Each resource has any scope beside its roles: eleven targets.
	const everybody, everything = 6, 5
	for when, want := range map[string]struct{ who, what, points int }{
		`true`:                          {1, 1, 1},
		`"group:a" in principal.groups`: {2, 1, 1},
		`"group:a" in principal.groups || "group:b" in principal.groups`: {4, 1, 1}, // a, b, both, none
		`size(principal.groups) > 1`:                                     {4, 1, 1},
		`principal.groups.exists(g, g == "group:a")`:                     {4, 1, 1},
		`principal.id == "user:a1"`:                                      {2, 1, 1},
		`"user:a1" == principal.id`:                                      {2, 1, 1},
		`principal.id != "user:a1"`:                                      {2, 1, 1},
		`principal.id in ["user:a1", "user:b1"]`:                         {3, 1, 1},
		`principal.id in [resource.id]`:                                  {everybody, everything, 1},
		`principal.id in principal.groups`:                               {everybody, 1, 1},
		`resource.id in ["db1"]`:                                         {1, 2, 1},
		`principal.id < "user:b"`:                                        {everybody, 1, 1},
		`principal.id == principal.owner`:                                {everybody, 1, 1},
		`principal.kind == "user"`:                                       {2, 1, 1},
		`principal.owner == "user:a1"`:                                   {2, 1, 1},
		`principal.attributes.level == "1"`:                              {4, 1, 1}, // 1, none, empty, 2
		`principal.attributes["level"] == "1"`:                           {4, 1, 1},
		`has(principal.attributes.level)`:                                {4, 1, 1},
		`principal.attributes[principal.owner] == "1"`:                   {everybody, 1, 1},
		`resource.labels[principal.owner] == "1"`:                        {2, everything, 1},
		`size(principal.attributes) == 0`:                                {everybody, 1, 1},
		`resource.labels.env == "prod"`:                                  {1, 3, 1}, // prod, dev, none
		`resource.labels["env"] == "prod"`:                               {1, 3, 1},
		`has(resource.labels.env)`:                                       {1, 3, 1},
		`resource.id == "db1"`:                                           {1, 2, 1},
		`resource.id.startsWith("db")`:                                   {1, everything, 1},
		`resource.kind == "http"`:                                        {1, 2, 1},
		`"group:a" in resource.owners`:                                   {1, 3, 1},
		`size(resource.owners) == 0`:                                     {1, 3, 1},
		`request.duration > duration("20m")`:                             {1, 1, 2},
		`now < timestamp("2026-11-23T13:00:00Z")`:                        {1, 1, 2},
		`unverified.reason == ""`:                                        {1, 1, 1},
		`[principal].exists(p, p.kind == "user")`:                        {everybody, 1, 1},
		`{"k": resource.id}["k"] == "db1"`:                               {1, everything, 1},
		`{principal.id: 1}.size() == 1`:                                  {everybody, 1, 1},
		`resource == resource`:                                           {1, everything, 1},
		`principal.kind == "user" && resource.kind == "http" && request.duration > duration("1m")`: {2, 2, 2},
		`principal.kind + resource.kind == "userhttp"`:                                             {2, 2, 1},
	} {
		c := parse(t, crowded+"    - {name: r, when: '"+when+"', approve: auto, max_duration: 1h}\n")
		points := []Point{{Duration: 10 * time.Minute, At: noon}, {Duration: 30 * time.Minute, At: noon.Add(2 * time.Hour)}}
		const budget = 1000
		s := c.Survey(c.Targets(), points, budget)
		if len(s.Principals) != everybody || len(s.Targets) != everything+6 {
			t.Fatalf("%d principals, %d targets", len(s.Principals), len(s.Targets))
		}
		for range 2 { // the second time nothing is asked again
			for p := range s.Principals {
				for i := range s.Targets {
					for at := range points {
						if got := s.Rule(0, p, i, at); got == Unknown || got == unseen {
							t.Errorf("%s: of %s on %s: %d", when, s.Principals[p].ID, s.Targets[i].Resource.ID, got)
						}
					}
				}
			}
		}
		if asked := budget - s.budget; asked != want.who*want.what*want.points {
			t.Errorf("%s: asked %d times, want %d × %d × %d", when, asked, want.who, want.what, want.points)
		}
		if s.Exhausted() {
			t.Errorf("%s: exhausted", when)
		}
	}
}

// A condition on the scope is asked for each different scope of a kind that it
// knows, and any scope of a resource is one more.
func TestSurveyOfScopes(t *testing.T) {
	c := parse(t, crowded+"    - {name: r, kind: postgres, when: 'scope.actions == [\"select\"]', approve: auto, max_duration: 1h}\n")
	s := c.Survey(c.Targets(), nil, 1000)
	got := map[string]Truth{}
	for i, target := range s.Targets {
		got[target.Resource.ID+" "+target.Role] = s.Rule(0, 0, i, 0)
	}
	want := "map[db1 :3 db1 read:2 db1 write:1 db2 :3 db2 read:2 db3 :3 db3 read:2 db4 :3 db4 read:2 web :1 web read:1]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if asked := 1000 - s.budget; asked != 3 {
		t.Errorf("asked %d times, want one for each of two scopes and one for any", asked)
	}
}

// When the budget is spent, what was not asked is Unknown, what was is kept,
// and the survey says so.
//
// Invariant: A16
func TestSurveyWithinItsBudget(t *testing.T) {
	c := parse(t, crowded+"    - {name: r, when: 'principal.id.startsWith(\"user:a\")', approve: auto, max_duration: 1h}\n    - {name: all, when: 'true', approve: auto, max_duration: 1h}\n")
	for budget := range 8 {
		s := c.Survey(c.Targets(), nil, budget)
		var got []Truth
		for range 2 {
			got = got[:0]
			for p := range s.Principals {
				got = append(got, s.Rule(0, p, 0, 0))
			}
		}
		for p, truth := range got {
			want := Unknown
			if p < budget {
				want = No
				if strings.HasPrefix(s.Principals[p].ID, "user:a") {
					want = Yes
				}
			}
			if truth != want {
				t.Errorf("budget %d: %s is %d, want %d", budget, s.Principals[p].ID, truth, want)
			}
		}
		if s.Exhausted() != (budget <= len(s.Principals)) {
			t.Errorf("budget %d: exhausted %v", budget, s.Exhausted())
		}
	}
	s := c.Survey(c.Targets(), nil, 100)
	s.tables[0].cells = nil // as of a condition that tells too many apart to be remembered
	for range 2 {
		if s.Rule(0, 0, 0, 0) != No && s.Rule(0, 0, 0, 0) != Yes {
			t.Error("not asked")
		}
	}
	if asked := 100 - s.budget; asked < 2 {
		t.Errorf("asked %d times and remembered nothing", asked)
	}
}

// What is remembered of a condition is bounded, to the last cell.
func TestSurveyRemembersNoMoreThanFits(t *testing.T) {
	for when, c := range map[string]struct {
		points int
		fits   bool
	}{
		`size(principal.groups) > 1`: {maxCells / 4, true},    // four sorts of people
		`resource.id != "x" + "y"`:   {maxCells/5 + 1, false}, // five resources: one cell too many
	} {
		catalog := parse(t, crowded+"    - {name: r, when: '"+when+" && request.duration > duration(\"1m\")', approve: auto, max_duration: 1h}\n")
		s := catalog.Survey(catalog.Targets(), make([]Point, c.points), 1)
		cells := len(s.tables[0].whoAt) * len(s.tables[0].whatAt) * s.tables[0].points
		if over := cells - maxCells; over != 0 && over != 1 || (over == 0) != c.fits {
			t.Fatalf("%s: the test looks beside the bound, at %d", when, over)
		}
		if (s.tables[0].cells != nil) != c.fits {
			t.Errorf("%s: %d cells of at most %d, remembered: %v", when, cells, maxCells, s.tables[0].cells != nil)
		}
	}
}

// One point is one request of which everything is known.
func TestSurveyOfOnePoint(t *testing.T) {
	c := parse(t, crowded+"    - {name: r, when: 'request.duration > duration(\"20m\") && unverified.reason == \"\"', approve: auto, max_duration: 1h}\n")
	for long, want := range map[time.Duration]Truth{20 * time.Minute: No, 21 * time.Minute: Yes} {
		if got := c.Survey(c.Targets(), []Point{{Duration: long, At: noon}}, 10).Rule(0, 0, 0, 0); got != want {
			t.Errorf("%s: %d", long, got)
		}
	}
}

// What a condition says of everybody and everything.
func TestConstantConditions(t *testing.T) {
	for when, want := range map[string]Truth{
		"true": Yes, "false": No, "1 == 1 || principal.id == \"x\"": Yes, "1 == 2 && principal.id == \"x\"": No, "principal.id == \"user:a1\"": Unknown,
		"resource.id == \"x\"": Unknown, "request.duration > duration(\"1m\")": Unknown, "now > timestamp(\"2026-01-01T00:00:00Z\")": Unknown, "unverified.reason == \"\"": Unknown,
		"1 / 0 == 1": Fails, "true || 1 / 0 == 1": Yes, "1 / 0 == 1 && false": No, "scope.actions == []": Unknown,
	} {
		c := parse(t, crowded+"    - {name: r, kind: postgres, when: '"+when+"', approve: auto, max_duration: 1h}\n")
		if got := c.Rules()[0].When.Constant(); got != want {
			t.Errorf("%s: %d, want %d", when, got, want)
		}
	}
	if (When{}).Constant() != Yes {
		t.Error("no condition is not always true")
	}
	c := parse(t, crowded+"    - {name: r, when: 'true', approve: auto, max_duration: 1h}\n  guardrails:\n    - {name: g, max_duration: 1h}\n    - {name: h, kind: http, deny: never}\n")
	if w := c.Guardrails()[0].When; w.Text != "" || w.Constant() != Yes {
		t.Errorf("a guardrail without a condition: %+v", w)
	}
	s := c.Survey(c.Targets(), nil, 10)
	web := slices.IndexFunc(s.Targets, func(target Target) bool { return target.Resource.ID == "web" })
	if s.Guardrail(0, 0, 0, 0) != Yes || s.Guardrail(1, 0, 0, 0) != No || s.Guardrail(1, 0, web, 0) != Yes || s.Rule(0, 0, 0, 0) != Yes || s.budget != 9 {
		t.Errorf("guardrails without a condition: %d, %d, %d, and %d asked", s.Guardrail(0, 0, 0, 0), s.Guardrail(1, 0, 0, 0), s.Guardrail(1, 0, web, 0), 10-s.budget)
	}
}
