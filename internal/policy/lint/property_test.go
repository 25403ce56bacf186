package lint_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/lint"
)

// world draws a small catalog: few enough people, resources and roles that a
// test can ask for all of them.
func world(t *rapid.T) []byte {
	var s strings.Builder
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	groups := func() string {
		return strings.Join(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"group:a", "group:b", "group:c"}), 0, 2, rapid.ID[string]).Draw(t, "groups"), ", ")
	}
	s.WriteString("principals:\n")
	for _, id := range []string{"user:ana", "user:bo", "user:cy", "user:di"} {
		fmt.Fprintf(&s, "  - {id: %s, groups: [%s]%s}\n", id, groups(), pick("more", "", "", "", ", disabled: true", `, attributes: {level: "1"}`))
	}
	fmt.Fprintf(&s, "  - {id: user:ana2, person: user:ana, groups: [%s]}\n  - {id: agent:x, owner: user:bo, groups: [%s]}\n", groups(), groups())
	s.WriteString("groups:\n  - {id: group:a, members: [user:ana]}\n  - {id: group:b, members: [user:bo, user:di]}\n  - {id: group:c, members: [group:a, user:cy]}\nresources:\n")
	for _, id := range []string{"db", "web"} {
		fmt.Fprintf(&s, "  - {id: %s, kind: http, %s%s%s http: {upstream: http://h}, roles: {read: {methods: [GET], paths: [\"/**\"]}, write: {methods: [GET, POST], paths: [\"/**\"]}}}\n",
			id, pick("labels", "labels: {env: prod}, ", "labels: {env: test}, ", ""), pick("owners", "owners: [group:a], ", "owners: [user:bo, group:b], ", ""), pick("free", "free_scope: true,", "", ""))
	}
	s.WriteString("policy:\n  guardrails:\n")
	for i := range rapid.IntRange(0, 2).Draw(t, "guardrails") {
		fmt.Fprintf(&s, "    - {name: g%d, kind: http, when: '%s', %s}\n", i, condition(t), pick("restricts", "deny: no", "max_duration: 20m", "max_duration: 2h", "require: {reason: true}"))
	}
	s.WriteString("  rules:\n")
	for i := range rapid.IntRange(1, 4).Draw(t, "rules") {
		fmt.Fprintf(&s, "    - {name: r%d, kind: http, when: '%s', approve: %s, max_duration: 1h}\n", i, condition(t),
			pick("approve", "auto", "{stages: [{name: s, from: [group:a], quorum: 1}]}", "{stages: [{name: s, from: [group:b], quorum: 2}]}", "{stages: [{name: s, from: [resource.owners], quorum: 1}]}", "{stages: [{name: s, from: [resource.owners, group:a], quorum: 3}]}",
				"{stages: [{name: s, from: [group:c, group:b], quorum: 2}]}", "{stages: [{name: s, from: [group:b], quorum: 1}, {name: t, from: [group:b, group:c], quorum: 2}]}"))
	}
	return []byte(s.String())
}

func condition(t *rapid.T) string {
	atom := func() string {
		return rapid.SampledFrom([]string{
			"true", "true", `"group:a" in principal.groups`, `"group:b" in principal.groups`, `resource.labels.env == "prod"`, `has(resource.labels.env)`, `principal.kind == "user"`,
			`principal.id == "user:bo"`, `resource.id in ["db"]`, `request.duration <= duration("30m")`, `request.duration < duration("10m")`, `now.getHours() < 12`, `unverified.ticket != ""`,
			`scope.methods == ["GET"]`, `"POST" in scope.methods`, `size(principal.groups) > 1`, `principal.attributes.level == "1"`, `resource.owners.exists(o, o in principal.groups)`,
		}).Draw(t, "atom")
	}
	switch rapid.IntRange(0, 5).Draw(t, "form") {
	case 0:
		return atom() + " && " + atom()
	case 1:
		return atom() + " || " + atom()
	case 2:
		return "!(" + atom() + ")"
	}
	return atom()
}

// asked calls f with every request of the small world.
func asked(c *policy.Catalog, f func(in policy.Input, d policy.Decision)) int {
	n := 0
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for _, p := range c.Principals() {
		for _, r := range c.Resources() {
			scopes := map[string]string{"read": `{"methods":["GET"],"paths":["/**"]}`, "write": `{"methods":["GET","POST"],"paths":["/**"]}`, "": `{"methods":["POST"],"paths":["/v1"]}`}
			for role, scope := range scopes {
				for _, minutes := range []int{0, 5, 15, 45} {
					for _, hour := range []int{9, 15} {
						for _, ticket := range []string{"", "INC-1"} {
							at := day.Add(time.Duration(hour) * time.Hour)
							in := policy.Input{
								Principal: p.ID, Groups: c.Groups(p.ID), Resource: r.ID, Role: role, Scope: []byte(scope), Duration: time.Duration(minutes) * time.Minute,
								StartsAt: at, Now: at, Reason: "because", Ticket: ticket,
							}
							f(in, c.Evaluate(in))
							n++
						}
					}
				}
			}
		}
	}
	return n
}

// stuck reports a refusal because nobody could approve.
func stuck(d policy.Decision) bool {
	return d.Refusal != nil && (strings.Contains(d.Refusal.Message, "who could approve") || strings.Contains(d.Refusal.Message, "more different people") || strings.Contains(d.Refusal.Message, "it has none: add owners"))
}

// fillable tries every way to give each seat of the stages to another person.
func fillable(c *policy.Catalog, d policy.Decision, requester string) bool {
	var seats [][]string
	for _, s := range d.Terms.Stages {
		persons := map[string]bool{}
		for _, p := range c.Principals() {
			if person, ok := c.Person(p.ID); ok && p.Kind() == "user" && c.Member(p.ID, s.From) && !c.Related(p.ID, requester) {
				persons[person] = true
			}
		}
		all := []string{}
		for p := range persons {
			all = append(all, p)
		}
		for range s.Quorum {
			seats = append(seats, all)
		}
	}
	var try func(seat int, used []string) bool
	try = func(seat int, used []string) bool {
		return seat == len(seats) || slices.ContainsFunc(seats[seat], func(p string) bool { return !slices.Contains(used, p) && try(seat+1, append(used, p)) })
	}
	return try(0, nil)
}

var aboutApprovers = []string{"approvers-own", "approvers-few", "quorum-impossible", "no-owners", "rule-unapprovable"}

// What the linter says of a catalog holds for every request that can be made in
// it, and it says so whenever a request could not be approved.
//
// Invariant: A9, A10, A13
// Attack: APV-01, POL-12
func TestFindingsHold(t *testing.T) {
	want := []string{
		"clean", "stuck", "rule-shadowed", "rule-duplicate", "rule-never-matches", "rule-denied", "approvers-own", "approvers-few",
		"quorum-impossible", "no-owners", "role-closed", "resource-closed", "condition-fails", "duration-capped",
	}
	seen := map[string]int{}
	missing := func() bool { return slices.ContainsFunc(want, func(w string) bool { return seen[w] == 0 }) }
	for round := 0; round == 0 || round < 20 && missing(); round++ {
		rapid.Check(t, func(t *rapid.T) { findingsHold(t, seen) })
	}
	if missing() {
		t.Errorf("the property was not tried: %v of %v", seen, want)
	}
}

func findingsHold(t *rapid.T, seen map[string]int) {
	src := world(t)
	c, found := lint.Source(src, daemon.PolicyKinds(), lint.Options{})
	if !found.OK {
		seen["refused"]++
		return
	}
	codes := map[string]bool{}
	for _, f := range found.Findings {
		codes[f.Code] = true
		seen[f.Code]++
	}
	clean := !slices.ContainsFunc(aboutApprovers, func(code string) bool { return codes[code] })
	if clean {
		seen["clean"]++
	}
	n := asked(c, func(in policy.Input, d policy.Decision) {
		switch {
		case clean && stuck(d):
			t.Fatalf("clean, and yet %s on %s could never be approved: %s\n%s", in.Principal, in.Resource, d.Explanation, src)
		case d.Refusal == nil && !fillable(c, d, in.Principal):
			t.Fatalf("a request that can never be approved was taken: %+v\n%s", d.Terms, src)
		case stuck(d):
			seen["stuck"]++
		}
		for _, f := range found.Findings {
			if why := contradicts(f, in, d); why != "" {
				t.Fatalf("%s, but %s of %s as %q for %s is %s (%s)\n%s", f.Message, in.Resource, in.Principal, in.Role, in.Duration, why, d.Explanation, src)
			}
		}
	})
	if n == 0 {
		t.Fatal("nothing was asked")
	}
}

// contradicts says what of a decision shows that a finding is wrong; "" when
// nothing does.
func contradicts(f api.CatalogFinding, in policy.Input, d policy.Decision) string {
	named := func(what string) bool { return strings.Contains(f.Message, what) }
	rule := d.Refusal == nil && strings.HasPrefix(f.Message, fmt.Sprintf("rule %q", d.Terms.Rule))
	switch f.Code {
	case "rule-shadowed", "rule-duplicate":
		if rule && (!f.Suspected || in.Role != "") {
			return "decided by it"
		}
	case "rule-never-matches", "rule-denied", "rule-unapprovable", "condition-false":
		if rule {
			return "decided by it"
		}
	case "approvers-own", "approvers-few":
		_, who, _ := strings.Cut(f.Message, "approved for ")
		who, _, _ = strings.Cut(who, " on ")
		if rule && slices.Contains(strings.Split(who, ", "), in.Principal) && named(" on "+in.Resource+":") {
			return "let through"
		}
	case "resource-closed":
		if named(" on "+in.Resource+":") && d.Refusal == nil {
			return "let through"
		}
	case "role-closed":
		if named("the role "+in.Role+" of "+in.Resource) && in.Role != "" && d.Refusal == nil {
			return "let through"
		}
	}
	return ""
}
