package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/access"
)

// What is written for one kind of resource decides nothing on another: not a
// rule, not a guardrail, and not whether a grant still holds.
//
// Invariant: A16, A17
func TestOtherKindsAreNotDecided(t *testing.T) {
	other := "    - {name: other, kind: http, when: 'true', approve: auto, max_duration: 8h}\n"
	votes := "    - {name: votes, when: 'true', approve: {stages: [{name: s, from: [group:dba], quorum: 1}]}, max_duration: 1h}\n"
	c := parse(t, rules(other+votes))
	in := ask(c, "user:ana", "prod-db", scopeOf("select"))
	if d := c.Evaluate(in); d.Refusal != nil || d.Terms.Rule != "votes" || d.Terms.Auto {
		t.Errorf("a rule of another kind decides: %+v", d)
	}
	if c.Holds("other", in) || !c.Holds("votes", in) {
		t.Error("a grant rests on a rule of another kind")
	}
	if got := outcomes(c.Explain(in).Rules); got != "other other_kind, votes matched" {
		t.Error(got)
	}
	c = parse(t, rules(other))
	in = ask(c, "user:ana", "dev-db", scopeOf("select"))
	if d := c.Evaluate(in); d.Refusal == nil || c.Requestable(in) || c.Holds("other", in) {
		t.Errorf("a rule of another kind alone decides: %+v", d)
	}
	if got := outcomes(c.Explain(in).Rules); got != "other other_kind" {
		t.Error(got)
	}
	c = parse(t, small("  guardrails:\n    - {name: shut, kind: http, deny: never}\n    - {name: short, kind: http, max_duration: 1m}\n  rules:\n"+auto))
	in = ask(c, "user:ana", "prod-db", scopeOf("select"))
	if d := c.Evaluate(in); d.Refusal != nil || len(d.Terms.Guardrails) != 0 || d.Terms.MaxDuration != time.Hour {
		t.Errorf("a guardrail of another kind restricts: %+v", d)
	}
	if got := outcomes(c.Explain(in).Guardrails); got != "shut other_kind, short other_kind" {
		t.Error(got)
	}
}

// A guardrail without a limit of its own leaves the rule's as it is.
//
// Invariant: A6
func TestGuardrailWithoutALimit(t *testing.T) {
	for limits, want := range map[string][2]time.Duration{
		"require: {reason: true}":                                       {time.Hour, 4 * time.Hour},
		"max_duration: 2h, require: {max_duration: 3h}":                 {time.Hour, 2 * time.Hour},
		"max_duration: 3h, require: {max_duration: 2h}":                 {time.Hour, 2 * time.Hour},
		"max_duration: 20m, require: {max_duration: 30m, reason: true}": {20 * time.Minute, 20 * time.Minute},
		"max_duration: 1s":                                              {time.Second, time.Second},
		"max_duration: 1h":                                              {time.Hour, time.Hour},
	} {
		c := parse(t, small("  guardrails:\n    - {name: g, "+limits+"}\n  rules:\n    - {name: r, when: 'true', approve: auto, max_duration: 1h, max_total: 4h, }\n"))
		in := ask(c, "user:ana", "prod-db", scopeOf("select"))
		in.Duration = 0
		d := c.Evaluate(in)
		if d.Refusal != nil || d.Terms.MaxDuration != want[0] || d.Terms.MaxTotal != want[1] {
			t.Errorf("%s: %s, %s in all", limits, d.Terms.MaxDuration, d.Terms.MaxTotal)
		}
		l := c.Limits("r", []string{"g", "none"})
		by := `rule "r"`
		if want[0] < time.Hour {
			by = `guardrail "g"`
		}
		if l.MaxDuration != want[0] || l.MaxTotal != want[1] || l.By != by {
			t.Errorf("%s: %+v", limits, l)
		}
		if l := c.Limits("r", nil); l.MaxDuration != time.Hour || l.MaxTotal != 4*time.Hour || l.By != `rule "r"` {
			t.Errorf("without the guardrail: %+v", l)
		}
		if l := c.Limits("none", []string{"g"}); l != (Limits{}) {
			t.Errorf("of no rule: %+v", l)
		}
	}
}

// What is refused before the rules are tried reaches none of them, and a
// limit that a rule and a guardrail share is the rule's.
func TestWhatComesFirstDecides(t *testing.T) {
	c := parse(t, small("  guardrails:\n    - {name: g, when: 'resource.id == \"prod-db\"', deny: never}\n    - {name: h, max_duration: 1h}\n  rules:\n"+auto))
	if got := outcomes(c.Explain(ask(c, "user:ana", "prod-db", scopeOf("select"))).Rules); got != "all not_reached" {
		t.Error(got)
	}
	in := ask(c, "user:ana", "dev-db", scopeOf("select"))
	if got := outcomes(c.Explain(in).Rules); got != "all matched" {
		t.Error(got)
	}
	in.Duration = 2 * time.Hour
	if d := c.Evaluate(in); d.Refusal == nil || d.Refusal.Code != NotRequestable || d.Refusal.Guardrail != "" {
		t.Errorf("%+v", d.Refusal)
	}
	if _, ok := c.Resource("none"); ok {
		t.Error("there is a resource that is not there")
	}
	if _, ok := c.Resource("off-db"); !ok {
		t.Error("a disabled resource is not there")
	}
	var ids []string
	for _, p := range c.Principals() {
		ids = append(ids, p.ID)
	}
	if got := strings.Join(ids, " "); got != "agent:bot service:ci service:orphan user:ana user:bo user:cy user:cy2 user:gone" {
		t.Error(got)
	}
}

// Of several guardrails that cannot be evaluated the first is named.
func TestFirstBrokenGuardrailIsNamed(t *testing.T) {
	c := parse(t, small("  guardrails:\n    - {name: a, when: '1 / 0 == 1', deny: never}\n    - {name: b, when: '2 / 0 == 1', deny: never}\n  rules:\n"+auto))
	if d := c.Evaluate(ask(c, "user:ana", "prod-db", scopeOf("select"))); d.Refusal == nil || d.Refusal.Guardrail != "a" || !strings.Contains(d.Refusal.Message, `guardrail "a"`) {
		t.Errorf("%+v", d.Refusal)
	}
}

// The words of a refusal count people and roles as a person would.
func TestRefusalsCountInWords(t *testing.T) {
	for n, want := range map[int]string{0: "there is nobody", 1: "there is only 1 person", 2: "there are only 2 people", 7: "there are only 7 people"} {
		if got := thereAre(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for n, want := range []string{"nobody", "a", "a, a", "a, a, a", "a, a, a, a", "a, a, a, a, a", "a, a, a, a, a, …", "a, a, a, a, a, …"} {
		if got := listed(strings.Split(strings.Repeat("a ", n)+" ", " ")[:n]); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for n, want := range map[int]string{0: "0 people", 1: "1 person", 2: "2 people"} {
		if got := people(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	c := parse(t, rules(auto))
	for resource, want := range map[string]string{"prod-db": `prod-db has no role "x"; it has read, write`, "dev-db": `dev-db has no role "x"; it has none`} {
		in := ask(c, "user:ana", resource, scopeOf("select"))
		in.Role = "x"
		if d := c.Evaluate(in); d.Refusal == nil || d.Refusal.Message != want {
			t.Errorf("%+v", d.Refusal)
		}
	}
	c = parse(t, strings.Replace(rules(auto), "free_scope: true\n", "free_scope: true\n    roles: {one: {actions: [select]}}\n", 1))
	in := ask(c, "user:ana", "dev-db", scopeOf("select"))
	in.Role = "x"
	if d := c.Evaluate(in); d.Refusal == nil || d.Refusal.Message != `dev-db has no role "x"; it has one` {
		t.Errorf("%+v", d.Refusal)
	}
}

// A reason of which nothing would be seen is none.
func TestBlankReasons(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, " ": true, "\t\r\n": true, "\u00a0": true, "\u200b\u2060": true, "\ufffd": true, "\xff\xfe": true, "\x00": true, "\u00ad": true,
		"x": false, " x": false, "\ufffdx": false, "é": false, "?": false, "漢": false,
	} {
		if got := blank(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// Quorums are filled by moving people between stages where that helps, and
// never by counting one of them twice.
//
// Invariant: A10, A13
func TestFillableExamples(t *testing.T) {
	of := func(quorum int, persons ...string) candidates {
		c := candidates{persons: persons}
		c.stage.Quorum = quorum
		return c
	}
	for i, test := range []struct {
		stages []candidates
		want   bool
	}{
		{nil, true},
		{[]candidates{of(1, "a")}, true},
		{[]candidates{of(1)}, false},
		{[]candidates{of(0, "a")}, false},
		{[]candidates{of(2, "a", "b")}, true},
		{[]candidates{of(1, "a"), of(1, "a")}, false},
		{[]candidates{of(1, "a", "b"), of(1, "a")}, true}, // a must move to the second
		{[]candidates{of(1, "a", "b"), of(1, "b", "c"), of(1, "a"), of(1, "b")}, false}, // three for four seats
		{[]candidates{of(1, "a", "b"), of(1, "b", "c"), of(1, "a")}, true},              // and two have to move
		{[]candidates{of(1, "a"), of(1, "a"), of(1, "a", "b", "c")}, false},             // plenty for the last hides nothing
		{[]candidates{of(1, "a", "b", "c"), of(1, "a"), of(1, "a")}, false},             // nor for the first
		{[]candidates{of(2, "a", "b", "c", "d"), of(2, "a", "b", "c", "d")}, true},      // exactly as many as seats
		{[]candidates{of(2, "a", "b", "c"), of(2, "a", "b", "c")}, false},               // one less
		{[]candidates{of(2, "a", "b", "c"), of(1, "a"), of(1, "d")}, true},
	} {
		if got := fillable(test.stages); got != test.want {
			t.Errorf("%d: %+v: %v", i, test.stages, got)
		}
	}
}

// Who is short is told with all who there are, once each and in order.
func TestShortage(t *testing.T) {
	c := parse(t, rules("    - {name: r, when: 'true', approve: {stages: [{name: s, from: [group:lead, resource.owners], quorum: 1}, {name: t, from: [group:dba], quorum: 1}]}, max_duration: 1h}\n"))
	prod, _ := c.Resource("prod-db")
	dev, _ := c.Resource("dev-db")
	stages, ownerless := c.Staffed(0, prod)
	if ownerless != "" || len(stages) != 2 || fmt.Sprint(stages[0].From) != "[group:lead]" {
		t.Fatalf("%+v, %q", stages, ownerless)
	}
	if stages, ownerless := c.Staffed(0, dev); ownerless != "s" || stages != nil {
		t.Errorf("without owners: %+v, %q", stages, ownerless)
	}
	for requester, want := range map[string]string{"": "", "user:ana": "", "user:bo": " [user:cy]", "user:cy": " [user:bo]", "service:ci": " [user:cy]"} {
		got := ""
		if short := c.Short(stages, requester); short != nil {
			got = fmt.Sprint(short.Stage.Name, " ", short.Persons)
		}
		if got != want {
			t.Errorf("for %s: %q, want %q", requester, got, want)
		}
	}
	stages[0].Quorum, stages[1].Quorum = 2, 1
	if short := c.Short(stages, ""); short == nil || short.Stage.Name != "" || fmt.Sprint(short.Persons) != "[user:bo user:cy]" {
		t.Errorf("three seats for two people: %+v", short)
	}
	stages[1].Quorum = 3
	if short := c.Short(stages, ""); short == nil || short.Stage.Name != "t" || fmt.Sprint(short.Persons) != "[user:bo user:cy]" {
		t.Errorf("three seats in one stage: %+v", short)
	}
	if got := fmt.Sprint(c.Candidates(stages[0], "user:bo"), c.Candidates(stages[0], "user:nobody"), c.Candidates(stages[1], "")); got != "[user:cy] [] [user:bo user:cy]" {
		t.Error(got)
	}
	for id, want := range map[string]string{"service:ci": "user:bo", "agent:bot": "user:cy", "user:cy2": "user:cy", "user:x": ""} {
		if got := c.Answers(id); got != want {
			t.Errorf("who answers for %s: %q", id, got)
		}
	}
	// Two accounts of one person between which another stands are one person.
	apart := parse(t, "principals:\n  - {id: user:a, person: user:z, groups: [group:g]}\n  - {id: user:b, groups: [group:g]}\n  - {id: user:z, groups: [group:g]}\n")
	if got := fmt.Sprint(apart.Candidates(access.Stage{From: []string{"group:g"}}, "")); got != "[user:b user:z]" {
		t.Error(got)
	}
	d := parse(t, crowd)
	for id, want := range map[string]string{"group:dev": "[group:all]", "service:cd": "[group:all]", "user:ana": "[group:dev]", "group:world": "[]", "user:bo": "[group:world]"} {
		if got := fmt.Sprint(d.Parents(id)); got != want {
			t.Errorf("what lists %s: %s", id, got)
		}
	}
	if got := fmt.Sprint(d.GroupIDs(), d.Users("group:all"), d.Users("user:bo"), d.Users("user:gone"), d.Users("group:empty")); got != "[group:all group:bots group:dev group:empty group:sre group:world] [user:ana user:ana2] [user:bo] [] []" {
		t.Error(got)
	}
	p := d.Parents("user:ana")
	p[0] = "group:bots"
	if d.Parents("user:ana")[0] != "group:dev" {
		t.Error("the catalog was changed from outside")
	}
}
