package rehearse

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/daypass/daypass/internal/policy"
	web "github.com/daypass/daypass/internal/resource/http"
	pgkind "github.com/daypass/daypass/internal/resource/postgres"
)

var kinds = []policy.Kind{web.Kind{}, pgkind.Kind{}}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const base = `principals:
  - {id: user:ana, groups: [group:dev]}
  - {id: user:bo, groups: [group:dba]}
  - {id: user:cy, groups: [group:dba, group:lead]}
  - {id: user:di, groups: [group:lead]}
  - {id: user:old, disabled: true, groups: [group:lead]}
  - {id: agent:x, owner: user:cy, groups: [group:dev]}
resources:
  - id: db
    kind: http
    labels: {env: prod}
    owners: [group:lead]
    http: {upstream: http://h}
    roles:
      read: {methods: [GET], paths: ["/**"]}
      write: {methods: [GET, POST], paths: ["/**"]}
  - id: web
    kind: http
    owners: [user:bo]
    http: {upstream: http://w}
    roles:
      look: {methods: [GET], paths: ["/**"]}
policy:
  guardrails:
    - {name: ticket, when: 'has(resource.labels.env) && resource.labels.env == "prod"', require: {ticket: 'INC-[0-9]+', max_duration: 4h}}
    - {name: frozen, kind: http, when: '"POST" in scope.methods && now.getDayOfWeek() == 0', deny: wait for Monday}
  rules:
    - {name: devs, kind: http, when: '"group:dev" in principal.groups && scope.methods == ["GET"] && request.duration <= duration("30m")', approve: auto, max_duration: 1h}
    - {name: short, when: 'request.duration < duration("10m") && principal.kind == "user"', approve: {stages: [{name: s, from: [group:dba], quorum: 1}]}, max_duration: 2h, max_total: 3h}
    - {name: rest, when: 'true', approve: {stages: [{name: s, from: [resource.owners], quorum: 1}, {name: t, from: [group:dba], quorum: 1}]}, max_duration: 8h, approve_within: 2h,
       break_glass: {max_duration: 20m, notify: [group:lead, group:dba]}}
`

func parse(t interface {
	Helper()
	Fatalf(string, ...any)
}, src string) *policy.Catalog {
	t.Helper()
	c, err := policy.Parse([]byte(src), kinds)
	if err != nil {
		t.Fatalf("%v\n%s", err, src)
	}
	return c
}

// edits are what people do to a catalog; some change nobody's access.
var edits = [][2]string{
	{"max_duration: 1h", "max_duration: 90m"}, {"max_duration: 4h", "max_duration: 30m"}, {"quorum: 1}, {name: t", "quorum: 2}, {name: t"}, {`duration("30m")`, `duration("45m")`},
	{"groups: [group:dba]", "groups: [group:dba, group:dev]"}, {"user:di, groups: [group:lead]", "user:di"}, {"owners: [user:bo]", "owners: [user:bo, group:lead]"}, {"deny: wait for Monday", "max_duration: 5m"},
	{"getDayOfWeek() == 0", "getDayOfWeek() == 2"}, {"when: 'true'", `when: 'principal.kind == "user"'`}, {"max_total: 3h", "max_total: 2h"}, {"disabled: true, ", ""}, {"from: [group:dba], quorum: 1}]}, max_duration: 2h", "from: [group:lead], quorum: 1}]}, max_duration: 2h"},
	{"name: devs", "name: developers"}, {"# nothing", ""}, {"http://h", "http://elsewhere"}, {"has(resource.labels.env) && ", ""}, {"labels: {env: prod}", "labels: {env: test}"}, {"max_duration: 20m", "max_duration: 10m"}, {"notify: [group:lead, group:dba]", "notify: [group:lead, user:bo]"},
	{"look:", "peek:"}, {"approve_within: 2h", "approve_within: 3h"}, {"  - {id: agent:x, owner: user:cy, groups: [group:dev]}\n", ""}, {"write: {methods: [GET, POST]", "write: {methods: [GET]"},
}

func edited(t *rapid.T, label string) string {
	src := base
	for range rapid.IntRange(0, 3).Draw(t, label) {
		e := rapid.SampledFrom(edits).Draw(t, "edit")
		src = strings.Replace(src, e[0], e[1], 1)
	}
	return src
}

// asIs is what Evaluate says, in the words of a difference.
func asIs(c *policy.Catalog, who, what string, p policy.Point) string {
	resource, role, _ := strings.Cut(what, " ")
	in, err := Input(c, Question{Principal: who, Resource: resource, Role: role, Duration: p.Duration, At: p.At})
	if err != nil {
		return nobody
	}
	in.Decided = true
	d := c.Evaluate(in)
	if d.Refusal != nil {
		return nobody
	}
	return Terms(d.Terms) + glassText(d.BreakGlass)
}

// A difference is shown exactly where decisions differ.
//
// Invariant: A16, A19
func TestDiffIsWhatDiffers(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		a, errA := policy.Parse([]byte(edited(t, "old")), kinds)
		b, errB := policy.Parse([]byte(edited(t, "new")), kinds)
		if errA != nil || errB != nil {
			seen["refused"]++
			return
		}
		d := Diff(a, b, noon)
		if d.Bounded != "" {
			t.Fatal(d.Bounded)
		}
		points := pointsFor(noon, a, b)
		shown := map[string]bool{}
		for _, c := range d.Access {
			for _, who := range c.Principals {
				for _, what := range c.Roles {
					for _, at := range d.Asked {
						if len(c.When) == 0 || slices.Contains(c.When, at) {
							shown[fmt.Sprint(who, what, at, c.From, c.To)] = true
						}
					}
				}
			}
		}
		people, roles := unionOf(a, b)
		differs := 0
		for _, who := range people {
			for _, what := range roles {
				for i, p := range points {
					was, now := asIs(a, who, what, p), asIs(b, who, what, p)
					if was == now {
						continue
					}
					differs++
					if !shown[fmt.Sprint(who, what, d.Asked[i], was, now)] {
						t.Fatalf("%s on %s at %s: %s, then %s; not shown in %+v", who, what, d.Asked[i], was, now, d.Access)
					}
				}
			}
		}
		if differs > 0 != !d.Empty() {
			t.Fatalf("%d differences, and shown are %+v", differs, d.Access)
		}
		pairs := 0
		for _, c := range d.Access {
			n := len(c.When)
			if n == 0 {
				n = len(points)
			}
			pairs += n * len(c.Principals) * len(c.Roles)
		}
		if pairs != differs {
			t.Fatalf("%d are shown, and %d differ", pairs, differs)
		}
		seen[map[bool]string{true: "same", false: "differs"}[d.Empty()]]++
	})
	if seen["same"] == 0 || seen["differs"] == 0 {
		t.Errorf("not tried: %v", seen)
	}
}

func TestDiffOfThings(t *testing.T) {
	now := base
	for _, e := range [][2]string{
		{"  - {id: user:di, groups: [group:lead]}\n", "  - {id: user:di, groups: [group:lead], email: di@example.com}\n  - {id: user:new, groups: [group:ops]}\n"},
		{"look:", "peek:"}, {"http://w", "http://v"}, {"deny: wait for Monday", "deny: wait"},
	} {
		now = strings.Replace(now, e[0], e[1], 1)
	}
	i, j := strings.Index(now, "    - {name: devs"), strings.Index(now, "    - {name: short")
	k := strings.Index(now, "    - {name: rest")
	now = now[:i] + now[j:k] + now[i:j] + now[k:]
	var got []string
	for _, c := range Diff(parse(t, base), parse(t, now), noon).Things {
		got = append(got, strings.TrimSpace(fmt.Sprint(c.How, " ", c.What, " ", c.Name, " ", strings.Join(c.Fields, ","))))
	}
	want := []string{
		"changed principal user:di email", "added principal user:new", "added group group:ops", "changed resource web http block", "removed role web look", "added role web peek",
		"changed guardrail frozen deny", "moved rule short",
	}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if d := Diff(parse(t, base), parse(t, "# a comment\n"+base), noon); len(d.Things) != 0 || !d.Empty() {
		t.Errorf("the same catalog differs: %+v", d)
	}
}

const cases = `catalog: catalog.yaml
at: 2026-11-24T12:00:00Z
cases:
  - name: devs read
    given: {as: user:ana, resource: web, for: 15m}
    expect: {decision: auto, rule: devs, guardrails: [], max_duration: 1h}
  - name: not for longer
    given: {as: user:ana, resource: web, role: look, for: 9h}
    expect: {decision: refused, code: not_requestable, rule: rest}
  - name: on Sunday nothing is written
    given: {as: user:di, resource: db, role: write, for: 1h, ticket: INC-1, at: 2026-11-29T12:00:00Z}
    expect: {decision: refused, code: denied_by_guardrail, rule: "", guardrails: [ticket, frozen]}
  - name: by scope, as another group
    given: {as: user:di, groups: [group:dev], resource: db, scope: {methods: [GET], paths: [/v1]}, for: 5m, ticket: INC-1}
    expect: {decision: auto}
  - name: an emergency
    given: {as: user:ana, resource: db, role: write, for: 20m, ticket: INC-1, reason: it burns, break_glass: true}
    expect: {decision: break_glass, rule: rest, stages: [{name: s, from: [group:lead], quorum: 1}, {name: t, from: [group:dba], quorum: 1}], max_duration: 20m}
`

func TestRun(t *testing.T) {
	suite, err := ParseSuite("cases.yaml", []byte(cases), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, base)
	v := Run(c, suite)
	if v.Passed != 5 || v.Failed != 0 || v.Coverage.Percent != 80 || !cmp.Equal(v.Coverage.Rules, []string{"short"}) || len(v.Coverage.Guardrails) != 0 {
		t.Fatalf("%+v", v)
	}
	// Each expectation can fail, by itself.
	for _, e := range [][3]string{
		{"decision: auto, rule: devs", "decision: review, rule: devs", "decision: want review, got auto"},
		{"code: not_requestable", "code: denied_by_guardrail", "code: want denied_by_guardrail, got not_requestable"},
		{"rule: devs", "rule: rest", "rule: want rest, got devs"},
		{"guardrails: []", "guardrails: [ticket]", `guardrails: want ["ticket"], got []`},
		{"max_duration: 1h", "max_duration: 2h", "max_duration: want 2h, got 1h"},
		{"from: [group:lead], quorum: 1", "from: [group:lead], quorum: 2", `stages: want [{"name":"s","from":["group:lead"],"quorum":2},{"name":"t","from":["group:dba"],"quorum":1}], got [{"name":"s","from":["group:lead"],"quorum":1},{"name":"t","from":["group:dba"],"quorum":1}]`},
		{"as: user:ana, resource: web, for", "as: user:zoe, resource: web, for", `given: want something that can be asked for, got the catalog has no principal "user:zoe"`},
	} {
		suite, err := ParseSuite("cases.yaml", []byte(strings.Replace(cases, e[0], e[1], 1)), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		v := Run(c, suite)
		var got []string
		for _, r := range v.Results {
			for _, d := range r.Differences {
				got = append(got, fmt.Sprintf("%s: want %s, got %s", d.What, d.Want, d.Got))
			}
		}
		if v.Failed != 1 || len(got) != 1 || got[0] != e[2] {
			t.Errorf("%s: %d failed, %q", e[1], v.Failed, got)
		}
		var b bytes.Buffer
		if err := v.JUnit(&b, "cases.yaml"); err != nil {
			t.Fatal(err)
		}
		var read junitSuite
		if err := xml.Unmarshal(b.Bytes(), &read); err != nil || read.Tests != 5 || read.Failures != 1 || !strings.Contains(b.String(), "<failure message=") {
			t.Errorf("%v of\n%s", err, b.String())
		}
	}
}

func TestSuiteRefuses(t *testing.T) {
	for _, e := range [][3]string{
		{"cases:", "casse:", `3:1: unknown key "casse": did you mean "cases"?`},
		{"decision: auto, rule: devs", "decision: yes, rule: devs", "put quotes around yes"},
		{"decision: auto, rule: devs", "decision: maybe, rule: devs", `6:24: a decision is auto, review, break_glass or refused, not "maybe"`},
		{"for: 15m", "for: 15", "must be a text, not a number"},
		{"- name: not for longer", "- name: devs read", `7:11: another case has the name "devs read"`},
		{"role: look, for: 9h", "role: look, scope: {methods: [GET]}, for: 9h", "name a role or spell a scope"},
		{"expect: {decision: auto}", "expect: {decision: auto, code: x}", "only what is refused has a code"},
		{"code: not_requestable", "max_duration: 1h", "what is refused has no stages and no max_duration"},
		{"    expect: {decision: auto}\n", "", "13:5: expect is missing"},
		{cases, "", "the file is empty"},
		{strings.TrimPrefix(cases, "catalog: catalog.yaml\nat: 2026-11-24T12:00:00Z\n"), "cases: []\n", "no cases"},
	} {
		_, err := ParseSuite("cases.yaml", []byte(strings.Replace(cases, e[0], e[1], 1)), time.Time{})
		if err == nil || !strings.Contains(err.Error(), e[2]) || !strings.HasPrefix(err.Error(), "cases.yaml:") {
			t.Errorf("%s: %v", e[1], err)
		}
	}
}

// The examples' own cases hold, and cover all of their policies.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../../examples/*/policy_test.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	for _, path := range files {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		suite, err := ParseSuite(path, src, noon)
		if err != nil {
			t.Fatal(err)
		}
		catalog, err := os.ReadFile(filepath.Join(filepath.Dir(path), suite.Catalog))
		if err != nil {
			t.Fatal(err)
		}
		if v := Run(parse(t, string(catalog)), suite); v.Failed > 0 || v.Coverage.Percent != 100 {
			t.Errorf("%s: %+v", path, v)
		}
	}
}

func FuzzSuite(f *testing.F) {
	f.Add([]byte(cases))
	f.Add([]byte("catalog: x\ncases: [{name: a, given: {as: b, resource: c, scope: {x: 1}}, expect: {decision: auto, stages: []}}]"))
	f.Add([]byte("catalog: &a x\ncases: *a"))
	c := parse(f, base)
	f.Fuzz(func(t *testing.T, src []byte) {
		suite, err := ParseSuite("f", src, noon)
		if err != nil {
			return
		}
		if len(suite.Cases) == 0 {
			t.Fatal("taken without cases")
		}
		if v := Run(c, suite); v.Passed+v.Failed != len(suite.Cases) {
			t.Fatalf("%d cases, %+v", len(suite.Cases), v)
		}
	})
}
