package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// guardrailLine draws one guardrail, denying or restricting.
func guardrailLine(t *rapid.T, name string) string {
	when := condition1(t)
	switch rapid.IntRange(0, 3).Draw(t, "what") {
	case 2:
		return fmt.Sprintf("    - {name: %s, when: '%s', deny: closed}\n", name, when)
	case 1:
		return fmt.Sprintf("    - {name: %s, when: '%s', require: {reason: true, ticket: 'INC-[0-9]+'}}\n", name, when)
	case 0:
		return fmt.Sprintf("    - {name: %s, when: '%s', max_duration: %dm}\n", name, when, rapid.IntRange(1, 90).Draw(t, "minutes"))
	}
	return fmt.Sprintf("    - {name: %s, kind: postgres, when: 'scope.actions.exists(a, a == \"update\")', require: {max_duration: 5m}}\n", name)
}

func condition1(t *rapid.T) string {
	return rapid.SampledFrom([]string{
		"true", "true", "true", "false", `resource.id == "prod-db"`, `resource.labels.env == "prod"`, `has(resource.labels.env)`, `"group:dev" in principal.groups`,
		`principal.kind == "user"`, `request.duration > duration("20m")`, `unverified.ticket == ""`, `resource.labels.none == "x"`, `"group:lead" in principal.groups`,
	}).Draw(t, "when")
}

func ruleLine(t *rapid.T, name string) string {
	approve := rapid.SampledFrom([]string{
		"auto", "{stages: [{name: s, from: [group:dba], quorum: 1}]}", "{stages: [{name: s, from: [group:dba], quorum: 2}]}",
		"{stages: [{name: s, from: [resource.owners], quorum: 1}]}", "{stages: [{name: s, from: [group:dba], quorum: 1}, {name: t, from: [group:lead], quorum: 1}]}",
	}).Draw(t, "approve")
	return fmt.Sprintf("    - {name: %s, when: '%s', approve: %s, max_duration: %dm}\n", name, condition1(t), approve, rapid.IntRange(1, 90).Draw(t, "minutes"))
}

func lines(t *rapid.T, what string, one func(*rapid.T, string) string) []string {
	out := make([]string, rapid.IntRange(0, 3).Draw(t, what))
	for i := range out {
		out[i] = one(t, fmt.Sprintf("%s%d", what, i))
	}
	return out
}

// explore checks prop until its draws have shown every case in want, so that
// no property passes without having been tried.
func explore(t *testing.T, want []string, prop func(t *rapid.T, seen map[string]int)) {
	t.Helper()
	seen := map[string]int{}
	missing := func() bool { return slices.ContainsFunc(want, func(w string) bool { return seen[w] == 0 }) }
	for round := 0; round == 0 || round < 20 && missing(); round++ {
		rapid.Check(t, func(t *rapid.T) { prop(t, seen) })
	}
	if missing() {
		t.Errorf("the property was not tried: %v of %v", seen, want)
	}
}

// catchAll makes allowing common enough to learn from.
func catchAll(t *rapid.T) []string {
	if rapid.IntRange(0, 3).Draw(t, "closed") == 3 {
		return nil
	}
	return []string{"    - {name: rest, when: 'true', approve: auto, max_duration: 90m}\n"}
}

func drawInput(t *rapid.T, c *Catalog) Input {
	principal := rapid.SampledFrom([]string{"user:ana", "user:ana", "user:ana", "user:bo", "user:cy", "user:cy2", "user:gone", "service:ci", "agent:bot", "user:nobody"}).Draw(t, "principal")
	return Input{
		Principal: principal, Groups: c.Groups(principal),
		Resource: rapid.SampledFrom([]string{"prod-db", "prod-db", "prod-db", "prod-db", "dev-db", "dev-db", "off-db", "none"}).Draw(t, "resource"),
		Scope:    json.RawMessage(rapid.SampledFrom([]string{scopeOf("select"), scopeOf("select"), scopeOf("select"), scopeOf("update"), scopeOf("ddl"), scopeOf("select", "update"), "{}"}).Draw(t, "scope")),
		Duration: time.Duration(rapid.SampledFrom([]int{0, 0, 1, 2, 5, 10, 30, 60, 100}).Draw(t, "asked")) * time.Minute,
		StartsAt: noon, Now: noon,
		Reason: rapid.SampledFrom([]string{"because", "because", ""}).Draw(t, "reason"),
		Ticket: rapid.SampledFrom([]string{"INC-1", "INC-1", "INC-1", "", "none"}).Draw(t, "ticket"),
	}
}

func withPolicy(guardrails, rules []string) string {
	out := "  guardrails:\n" + strings.Join(guardrails, "") + "  rules:\n" + strings.Join(rules, "")
	return small(out)
}

// Invariant: A17
// Attack: POL-06
func TestAddingAGuardrailNeverWidens(t *testing.T) {
	explore(t, []string{"allowed, still allowed", "allowed, then refused", "refused"}, func(t *rapid.T, seen map[string]int) {
		guardrails, rules := lines(t, "guardrail", guardrailLine), append(lines(t, "rule", ruleLine), catchAll(t)...)
		before := parse(t, withPolicy(guardrails, rules))
		at := rapid.IntRange(0, len(guardrails)).Draw(t, "at")
		after := parse(t, withPolicy(slices.Insert(slices.Clone(guardrails), at, guardrailLine(t, "added")), rules))
		in := drawInput(t, before)
		b, a := before.Evaluate(in), after.Evaluate(in)
		switch {
		case b.Refusal != nil && a.Refusal == nil:
			t.Fatalf("refused before (%s), allowed with one more guardrail", b.Explanation)
		case a.Refusal == nil && (a.Terms.MaxDuration > b.Terms.MaxDuration || a.Terms.MaxTotal > b.Terms.MaxTotal || a.Terms.Rule != b.Terms.Rule || a.Terms.Auto != b.Terms.Auto || !cmp.Equal(a.Terms.Stages, b.Terms.Stages)):
			t.Fatalf("wider: %+v, before %+v", a.Terms, b.Terms)
		}
		if after.Requestable(in) && !before.Requestable(in) {
			t.Fatal("requestable only with one more guardrail")
		}
		switch {
		case b.Refusal != nil:
			seen["refused"]++
		case a.Refusal != nil:
			seen["allowed, then refused"]++
		default:
			seen["allowed, still allowed"]++
		}
	})
}

// Invariant: A16, A17
func TestDecisionsAreSound(t *testing.T) {
	explore(t, []string{"auto", "stages", NotRequestable, DeniedByGuardrail}, func(t *rapid.T, seen map[string]int) {
		guardrails, rules := lines(t, "guardrail", guardrailLine), append(lines(t, "rule", ruleLine), catchAll(t)...)
		c := parse(t, withPolicy(guardrails, rules))
		in := drawInput(t, c)
		d := c.Evaluate(in)
		if again := c.Evaluate(in); !cmp.Equal(d, again) {
			t.Fatalf("twice the same, two answers: %s", cmp.Diff(d, again))
		}
		shuffled := parse(t, withPolicy(rapid.Permutation(guardrails).Draw(t, "order"), rules)).Evaluate(in)
		if (shuffled.Refusal == nil) != (d.Refusal == nil) || shuffled.Terms.MaxDuration != d.Terms.MaxDuration || shuffled.Terms.Rule != d.Terms.Rule {
			t.Fatalf("the order of guardrails matters: %+v, %+v", d, shuffled)
		}
		if d.Refusal != nil {
			if d.Refusal.Message == "" || d.Refusal.Code != NotRequestable && d.Refusal.Code != DeniedByGuardrail || (d.Refusal.Code == DeniedByGuardrail) != (d.Refusal.Guardrail != "") {
				t.Fatalf("a refusal without a reason: %+v", d.Refusal)
			}
			if d.Terms.Auto || d.Terms.Stages != nil {
				t.Fatalf("terms beside a refusal: %+v", d.Terms)
			}
			seen[d.Refusal.Code]++
			return
		}
		terms := d.Terms
		if terms.Auto {
			seen["auto"]++
		} else {
			seen["stages"]++
		}
		if terms.PolicyVersion != c.Version() || terms.Auto != (len(terms.Stages) == 0) || in.Duration > terms.MaxDuration || terms.MaxDuration <= 0 || terms.MaxTotal < terms.MaxDuration {
			t.Fatalf("unsound terms %+v", terms)
		}
		if !c.Holds(terms.Rule, in) {
			t.Fatal("the rule that decided does not hold")
		}
		for _, stage := range terms.Stages {
			persons := map[string]bool{}
			for _, account := range c.Approvers(stage, in.Principal) {
				person, ok := c.Person(account)
				if !ok || kindOf(account) != "user" || c.Related(account, in.Principal) || !c.Member(account, stage.From) {
					t.Fatalf("%s may not approve", account)
				}
				persons[person] = true
			}
			if len(persons) < stage.Quorum || stage.Quorum < 1 {
				t.Fatalf("stage %+v cannot be filled by %v", stage, persons)
			}
		}
	})
}

// A matching by trying every assignment agrees with fillable.
//
// Invariant: A10, A13
func TestFillable(t *testing.T) {
	explore(t, []string{"true", "false"}, func(t *rapid.T, seen map[string]int) {
		stages := make([]candidates, rapid.IntRange(0, 4).Draw(t, "stages"))
		var seats []int
		for i := range stages {
			stages[i].persons = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 0, 5, rapid.ID[string]).Draw(t, "persons")
			stages[i].stage.Quorum = rapid.IntRange(0, 3).Draw(t, "quorum")
			seats = append(seats, slices.Repeat([]int{i}, stages[i].stage.Quorum)...)
		}
		var try func(seat int, used string) bool
		try = func(seat int, used string) bool {
			if seat == len(seats) {
				return true
			}
			return slices.ContainsFunc(stages[seats[seat]].persons, func(p string) bool { return !strings.Contains(used, p) && try(seat+1, used+p) })
		}
		want := try(0, "") && !slices.ContainsFunc(stages, func(c candidates) bool { return c.stage.Quorum < 1 })
		if got := fillable(stages); got != want {
			t.Fatalf("%+v: %v", stages, got)
		}
		seen[fmt.Sprint(want)]++
	})
}

// Invariant: A19
func TestCanonicalRoundTrip(t *testing.T) {
	for _, src := range []string{"", contractCatalog, crowd, rules(auto)} {
		checkRoundTrip(t, parse(t, src))
	}
	rapid.Check(t, func(t *rapid.T) {
		checkRoundTrip(t, parse(t, withPolicy(lines(t, "guardrail", guardrailLine), lines(t, "rule", ruleLine))))
	})
	a := parse(t, contractCatalog)
	if b := parse(t, "# a comment\n"+strings.ReplaceAll(contractCatalog, "admin: false, auditor: true", "auditor:  true,   admin: false")); a.Version() != b.Version() {
		t.Error("comments and the order of keys change the version")
	}
	if b := parse(t, strings.Replace(contractCatalog, "max_duration: 15m", "max_duration: 16m", 1)); a.Version() == b.Version() {
		t.Error("another policy has the same version")
	}
	if !bytes.Equal(a.Source(), []byte(contractCatalog)) {
		t.Error("the source is not as given")
	}
}

func checkRoundTrip(t fataler, c *Catalog) {
	t.Helper()
	again, err := Parse(c.Canonical(), kinds)
	if err != nil {
		t.Fatalf("%s\n%v", c.Canonical(), err)
	}
	if again.Version() != c.Version() || !bytes.Equal(again.Canonical(), c.Canonical()) || !json.Valid(c.Canonical()) {
		t.Fatalf("%s\nand again\n%s", c.Canonical(), again.Canonical())
	}
	if !cmp.Equal(c.Principals(), again.Principals()) || len(c.Resources()) != len(again.Resources()) || len(c.rules) != len(again.rules) || len(c.guardrails) != len(again.guardrails) {
		t.Fatal("the round trip lost something")
	}
}
