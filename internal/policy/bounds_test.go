package policy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"
)

// Each bound of a catalog holds to the last one, on both sides.
//
// Invariant: A19
// Attack: POL-02, POL-03
func TestBoundsOfACatalog(t *testing.T) {
	when := func(condition string) string {
		return rules("    - name: r\n      when: '" + condition + "'\n      approve: auto\n      max_duration: 1h\n")
	}
	rule := func(name, stages string) string {
		return rules("    - {name: " + name + ", when: 'true', approve: {stages: [" + stages + "]}, max_duration: 1h}\n")
	}
	letters := func(n int) string { return strings.Repeat("n", n) }
	people := func(n int, quorum int) string {
		var b strings.Builder
		b.WriteString("principals:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {id: user:p%d, groups: [group:all]}\n", i)
		}
		fmt.Fprintf(&b, "policy:\n  rules:\n    - {name: r, when: 'true', approve: {stages: [{name: s, from: [group:all], quorum: %d}]}, max_duration: 1h}\n", quorum)
		return b.String()
	}
	for name, c := range map[string]struct {
		most int
		of   func(n int) string
	}{
		"bytes of an ID":           {128, func(n int) string { return "principals:\n  - {id: user:" + letters(n) + "}\n" }},
		"bytes of a resource's ID": {63, func(n int) string { return strings.Replace(rules(auto), "id: prod-db", "id: "+letters(n), 1) }},
		"bytes of a role":          {63, func(n int) string { return strings.Replace(rules(auto), "{read:", "{"+letters(n)+":", 1) }},
		"bytes of a label's name":  {128, func(n int) string { return strings.Replace(rules(auto), "env: prod", letters(n)+": prod", 1) }},
		"bytes of a label":         {1024, func(n int) string { return strings.Replace(rules(auto), "env: prod", "env: "+letters(n), 1) }},
		"bytes of a rule's name":   {128, func(n int) string { return rule(letters(n), "{name: s, from: [group:dba], quorum: 1}") }},
		"bytes of a stage's name":  {128, func(n int) string { return rule("r", "{name: "+letters(n)+", from: [group:dba], quorum: 1}") }},
		"bytes of a refusal":       {1024, func(n int) string { return small("  guardrails:\n    - {name: g, deny: " + letters(n) + "}\n") }},
		"stages": {maxStages, func(n int) string {
			var stages []string
			for i := range n {
				stages = append(stages, fmt.Sprintf("{name: s%d, from: [user:p%d], quorum: 1}", i, i))
			}
			return strings.Replace(people(maxStages+1, 1), "{name: s, from: [group:all], quorum: 1}", strings.Join(stages, ", "), 1)
		}},
		"people in a quorum":        {maxQuorum, func(n int) string { return people(maxQuorum+1, n) }},
		"people there are":          {7, func(n int) string { return people(7, n) }},
		"characters of a condition": {maxExpression, func(n int) string { return when(`"` + letters(n-6) + `"!=""`) }},
		"lists in lists":            {maxRecursion - 1, func(n int) string { return when(strings.Repeat("[", n) + "1" + strings.Repeat("]", n) + " != []") }},
		"terms of a condition":      {maxNodes / 2, func(n int) string { return when("true" + strings.Repeat("||true", n-1)) }},
		"comprehensions in each other": {3, func(n int) string {
			return when(strings.Repeat("[1].exists(x, ", n) + "true" + strings.Repeat(")", n))
		}},
	} {
		if _, err := Parse([]byte(c.of(c.most)), kinds); err != nil {
			t.Errorf("%d %s: %v", c.most, name, err)
		}
		if _, err := Parse([]byte(c.of(c.most+1)), kinds); err == nil {
			t.Errorf("%d %s are taken", c.most+1, name)
		} else if name == "stages" && !strings.HasSuffix(err.Error(), "more than 20 stages") {
			t.Error(err)
		}
	}
}

// Zones by name, by offset and from what is not known yet are taken; a zone
// that cannot be is refused before it is needed.
func TestZonesOfConditions(t *testing.T) {
	for zone, ok := range map[string]bool{
		`"Europe/Berlin"`: true, `"UTC"`: true, `"+02:00"`: true, `"-05:30"`: true, `unverified.reason`: true, `resource.labels["zone"]`: true,
		`""`: false, `"Local"`: false, `"Berlin"`: false, `"europe/berlin "`: false,
	} {
		_, err := Parse([]byte(rules("    - {name: r, when: 'now.getHours("+zone+") > 1', approve: auto, max_duration: 1h}\n")), kinds)
		if (err == nil) != ok {
			t.Errorf("%s: %v", zone, err)
		}
	}
	// Times have no zone of their own: what is not said is UTC.
	c := parse(t, rules("    - {name: r, when: 'timestamp(\"2026-11-23T13:00:00+05:00\").getHours() == 8 && now.getHours() == 12 && now.getHours(\"+02:00\") == 14', approve: auto, max_duration: 1h}\n"))
	if d := c.Evaluate(ask(c, "user:ana", "prod-db", scopeOf("select"))); d.Refusal != nil {
		t.Error(d.Explanation)
	}
}

// panicking is a program that does what none should.
type panicking struct{ cel.Program }

func (panicking) Eval(any) (ref.Val, *cel.EvalDetails, error) { panic("index out of range") }

// A condition that panics is one that could not be evaluated: it refuses.
//
// Invariant: A16
func TestConditionThatPanics(t *testing.T) {
	c := parse(t, rules(auto))
	c.rules[0].when.program = panicking{}
	in := ask(c, "user:ana", "prod-db", scopeOf("select"))
	if truth, err := c.rules[0].when.eval(nil); truth != no || err == nil {
		t.Errorf("%d, %v", truth, err)
	}
	if d := c.Evaluate(in); d.Refusal == nil || c.Requestable(in) || c.Holds("all", in) {
		t.Errorf("allowed: %+v", d)
	}
}

// What a resource says of itself is what the catalog holds.
func TestResourcesAreReadWhole(t *testing.T) {
	c := parse(t, `principals:
  - {id: user:ana, groups: [group:dev], email: ana@example.com, admin: true, auditor: true, attributes: {level: "3"}}
  - {id: service:proxy, owner: user:ana, token_sha256: `+strings.ToUpper(digestA)+`}
resources:
  - {id: plain, kind: postgres, free_scope: true, postgres: {upstream: a}}
  - {id: opaque, kind: postgres, jwt: false, free_scope: true, introspect: [service:proxy], owners: [group:dev, user:ana], labels: {env: prod}, postgres: {upstream: b}}
  - {id: signed, kind: http, jwt: true, disabled: true, http: {upstream: c}, roles: {b: {actions: [x]}, a: {actions: [y, x, y]}}}
`)
	var got []string
	for _, r := range c.Resources() {
		var roles []string
		for _, role := range r.Roles {
			roles = append(roles, role.Name+" "+string(role.Scope.JSON()))
		}
		got = append(got, fmt.Sprint(r.ID, r.Kind.Name(), r.Labels, r.Owners, roles, r.FreeScope, r.JWT, r.Disabled, r.Introspect, r.Config.Upstream()))
	}
	want := []string{
		`opaquepostgresmap[env:prod] [group:dev user:ana] [] true false false [service:proxy] b`,
		`plainpostgresmap[] [] [] true true false [] a`,
		`signedhttpmap[] [] [a {"actions":["x","y"],"tables":[]} b {"actions":["x"],"tables":[]}] false true true [] c`,
	}
	for i := range want {
		if i >= len(got) || strings.ReplaceAll(got[i], " ", "") != strings.ReplaceAll(want[i], " ", "") {
			t.Errorf("got  %v\nwant %s", got, want[i])
		}
	}
	ana, _ := c.Principal("user:ana")
	if !reflect.DeepEqual(*ana, Principal{ID: "user:ana", Groups: []string{"group:dev"}, Email: "ana@example.com", Admin: true, Auditor: true, Attributes: map[string]string{"level": "3"}}) {
		t.Errorf("%+v", ana)
	}
	if p, _ := c.Principal("service:proxy"); p.TokenSHA256 != digestA || p.Owner != "user:ana" || p.Kind() != "service" {
		t.Errorf("%+v", p)
	}
	if !c.Fronts("service:proxy") || c.Fronts("user:ana") || c.Fronts("") {
		t.Error("who fronts what")
	}
	if got := nativeType(reflect.TypeFor[**celPrincipal]()); got.TypeName() != "policy.celPrincipal" {
		t.Errorf("a pointer's type is called %s", got.TypeName())
	}
}

// Whom break-glass tells, also where there is nobody to tell.
//
// Invariant: A13
func TestTold(t *testing.T) {
	c := parse(t, rules(glass+auto))
	prod, _ := c.Resource("prod-db")
	dev, _ := c.Resource("dev-db")
	if ids, none := c.Told(0, prod); none || fmt.Sprint(ids) != "[group:dba group:lead]" {
		t.Errorf("%v, %v", ids, none)
	}
	if _, none := c.Told(0, dev); !none {
		t.Error("a resource without owners has somebody to tell")
	}
	if ids, none := c.Told(1, prod); !none || ids != nil {
		t.Errorf("a rule without break-glass tells %v, %v", ids, none)
	}
	if !c.UsesBreakGlass() || parse(t, rules(auto)).UsesBreakGlass() {
		t.Error("UsesBreakGlass is wrong")
	}
}
