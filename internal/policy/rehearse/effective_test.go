package rehearse

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/policy"
)

const reachingCatalog = `principals:
  - {id: user:ana, groups: [group:dev]}
  - {id: user:bo, groups: [group:dba]}
resources:
  - id: orders-db
    kind: postgres
    owners: [group:dba]
    postgres: {upstream: host=a dbname=o, user: daypass, password: {env: P}}
    roles: {read: {actions: [select], tables: [public.orders]}}
policy:
  guardrails:
    - {name: no doors, kind: postgres, when: effective.owner_functions > 0 || "plpgsql" in effective.languages, deny: run prepare}
  rules:
    - {name: exact, kind: postgres, when: effective.relations == size(scope.tables) && !effective.temp, approve: auto, max_duration: 1h}
    - {name: rest, when: 'true', approve: {stages: [{name: s, from: [group:dba], quorum: 1}]}, max_duration: 30m}
`

// What a grant would really reach decides; where it is not known, that refuses,
// and what only shows what may come of asking leaves it open.
//
// Invariant: A16, A19
func TestEffectiveDecides(t *testing.T) {
	c := parse(t, reachingCatalog)
	for effective, want := range map[string]string{
		`{"relations":1}`:                          "exact",
		`{"relations":1,"temp":true}`:              "rest",
		`{"relations":2,"relation_names":["a.b"]}`: "rest",
		`{"relations":1,"owner_functions":1}`:      `guardrail "no doors" denies this: run prepare`,
		`{"relations":1,"languages":["plpgsql"]}`:  `guardrail "no doors" denies this: run prepare`,
		``:                    `guardrail "no doors" reads effective, and what this access would really reach is not known`,
		`null`:                "the condition of guardrail",
		`[]`:                  "the condition of guardrail",
		`{"relations":"one"}`: "the condition of guardrail",
	} {
		in, err := Input(c, Question{Principal: "user:ana", Resource: "orders-db", Duration: time.Minute, At: noon})
		if err != nil {
			t.Fatal(err)
		}
		if effective != "" {
			in.Effective = json.RawMessage(effective)
		}
		d := c.Evaluate(in)
		got := d.Terms.Rule
		if d.Refusal != nil {
			got = d.Refusal.Message
		}
		if got != want && (d.Refusal == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", effective, got, want)
		}
		if d := c.Outlook(in); d.Refusal != nil || d.Terms.Rule != "exact" {
			t.Errorf("%s: what may come of asking: %+v", effective, d)
		}
		if !c.Requestable(in) {
			t.Errorf("%s: it cannot even be asked for", effective)
		}
	}
	// What the target does not change refuses there too.
	if d := c.Outlook(policy.Input{Principal: "user:ana", Groups: []string{"group:dev"}, Resource: "orders-db", Role: "read", Scope: []byte(`{"actions":["select"],"tables":["public.orders"]}`), Duration: 2 * time.Hour}); d.Refusal == nil {
		t.Errorf("%+v", d)
	}
	for from, to := range map[string][2]string{
		"effective.owner_functions > 0": {"effective.owner_function > 0", "undefined field 'owner_function'"},
		"!effective.temp":               {"effective.temp == 0", "no matching overload"},
		"kind: postgres, when: effective.relations == size(scope.tables)": {"when: effective.relations == 1", "effective is known only in an entry of a kind that looks into its targets"},
		"name: rest,":                    {"name: rest, kind: http,", ""},
		"name: no doors, kind: postgres": {"name: no doors, kind: http", "effective is known only in an entry of a kind that looks into its targets"},
	} {
		_, err := policy.Parse([]byte(strings.Replace(reachingCatalog, from, to[0], 1)), kinds)
		if to[1] == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), to[1]) {
			t.Errorf("%s: %v", to[0], err)
		}
	}
}

func TestEffectiveInCasesDiffsAndExplanations(t *testing.T) {
	const cases = `catalog: catalog.yaml
cases:
  - name: no more than asked for
    given: {as: user:ana, resource: orders-db, for: 5m, effective: {relations: 1}}
    expect: {decision: auto, rule: exact}
  - name: a door
    given: {as: user:ana, resource: orders-db, for: 5m, effective: {relations: 1, owner_functions: 2}}
    expect: {decision: refused, guardrails: [no doors]}
  - name: more
    given: {as: user:ana, resource: orders-db, for: 5m, effective: {relations: 9}}
    expect: {decision: review, rule: rest}
  - name: not known
    given: {as: user:ana, resource: orders-db, for: 5m}
    expect: {decision: refused}
`
	c := parse(t, reachingCatalog)
	suite, err := ParseSuite("cases.yaml", []byte(cases), noon)
	if err != nil {
		t.Fatal(err)
	}
	if v := Run(c, suite); v.Failed != 0 || v.Coverage.Percent != 100 {
		t.Errorf("%+v", v)
	}
	for wrong, want := range map[string]string{"effective: {relation: 9}": `unknown field "relation"`, "effective: 9": "must be an object", "effective: {relations: many}": "relations has a string"} {
		suite, err := ParseSuite("cases.yaml", []byte(strings.Replace(cases, "effective: {relations: 9}", wrong, 1)), noon)
		if err != nil {
			t.Fatal(err)
		}
		if v := Run(c, suite); v.Failed != 1 || !strings.Contains(v.Results[2].Differences[0].Got, want) {
			t.Errorf("%s: %+v", wrong, v.Results[2])
		}
	}
	d := Diff(c, parse(t, strings.Replace(reachingCatalog, "approve: auto, max_duration: 1h", "approve: auto, max_duration: 2h", 1)), noon)
	if len(d.Access) != 1 || d.Access[0].From != "at once, at most 1h, depending on what it really reaches" || d.Access[0].To != "at once, at most 2h, depending on what it really reaches" {
		t.Errorf("%+v", d)
	}
	e, err := Explain(c, Question{Principal: "user:ana", Resource: "orders-db", At: noon, Effective: []byte(`{"relations":3}`)})
	if err != nil || e.Decision.Policy.Rule != "rest" || e.Rules[0].Outcome != string(policy.NotMatched) {
		t.Errorf("%+v %v", e, err)
	}
	if _, err := Explain(c, Question{Principal: "user:ana", Resource: "orders-db", At: noon, Effective: []byte(`{"relation":3}`)}); err == nil {
		t.Error("an unknown field was taken")
	}
}
