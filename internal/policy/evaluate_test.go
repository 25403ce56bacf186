package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/google/go-cmp/cmp"
)

func TestContractExample(t *testing.T) {
	c := parse(t, contractCatalog)
	d := c.Evaluate(ask(c, "user:ana", "orders-db", scopeOf("select")))
	want := access.Terms{
		PolicyVersion: c.Version(), Rule: "on-call reads", Guardrails: []string{"production needs a ticket"},
		Auto: true, Stages: []access.Stage{}, MaxDuration: 15 * time.Minute, MaxTotal: 15 * time.Minute,
	}
	if d.Refusal != nil || !cmp.Equal(d.Terms, want) {
		t.Errorf("got %+v, %v; diff %s", d.Refusal, d.Explanation, cmp.Diff(want, d.Terms))
	}
	if d.Explanation != `approved by rule "on-call reads": at most 15m` {
		t.Errorf("explanation %q", d.Explanation)
	}
	d = c.Evaluate(ask(c, "user:ana", "orders-db", scopeOf("update")))
	want = access.Terms{
		PolicyVersion: c.Version(), Rule: "production writes", Guardrails: []string{"production needs a ticket"},
		Stages: []access.Stage{
			{Name: "dba", From: []string{"group:dba"}, Quorum: 1},
			{Name: "owner", From: []string{"group:payments"}, Quorum: 1},
		},
		MaxDuration: time.Hour, MaxTotal: time.Hour, ApproveWithin: 4 * time.Hour,
	}
	if d.Refusal != nil || !cmp.Equal(d.Terms, want) {
		t.Errorf("got %+v, %v; diff %s", d.Refusal, d.Explanation, cmp.Diff(want, d.Terms))
	}
	if d.Explanation != `needs 1 of group:dba, then 1 of group:payments (rule "production writes", at most 1h)` {
		t.Errorf("explanation %q", d.Explanation)
	}
}

// small is a catalog with the given policy over two databases.
func small(policy string) string {
	return `principals:
  - {id: user:ana, groups: [group:dev], attributes: {level: "2"}}
  - {id: user:bo, groups: [group:dba, group:lead]}
  - {id: user:cy, groups: [group:dba, group:dev]}
  - {id: user:cy2, person: user:cy, groups: [group:dba, group:lead]}
  - {id: user:gone, disabled: true, groups: [group:dba]}
  - {id: service:ci, owner: user:bo}
  - {id: agent:bot, owner: user:cy2}
  - {id: service:orphan, owner: user:gone}
resources:
  - id: prod-db
    kind: postgres
    labels: {env: prod}
    owners: [group:lead]
    postgres: {upstream: p}
    roles: {read: {actions: [select], tables: [public.orders]}, write: {actions: [select, update], tables: [public.orders]}}
  - id: dev-db
    kind: postgres
    free_scope: true
    postgres: {upstream: d}
  - {id: off-db, kind: postgres, disabled: true, free_scope: true, postgres: {upstream: o}}
policy:
` + policy
}

func rules(lines string) string { return small("  rules:\n" + lines) }

const auto = `    - {name: all, when: "true", approve: auto, max_duration: 1h}
`

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name    string
		policy  string
		change  func(*Input)
		code    string
		field   string
		message string
	}{
		{"unknown resource", auto, func(in *Input) { in.Resource = "x" }, NotRequestable, "", `there is no resource "x"`},
		{"disabled resource", auto, func(in *Input) { in.Resource = "off-db" }, NotRequestable, "", "off-db is disabled"},
		{"resource in another case", auto, func(in *Input) { in.Resource = "Prod-DB" }, NotRequestable, "", `there is no resource "Prod-DB"`},
		{"resource with a dot at its end", auto, func(in *Input) { in.Resource = "prod-db." }, NotRequestable, "", `there is no resource "prod-db."`},
		{"unknown principal", auto, func(in *Input) { in.Principal = "user:x" }, NotRequestable, "", `"user:x" is not a known principal`},
		{"disabled principal", auto, func(in *Input) { in.Principal = "user:gone" }, NotRequestable, "", "user:gone is disabled"},
		{"service of a disabled user", auto, func(in *Input) { in.Principal = "service:orphan" }, NotRequestable, "", "service:orphan is disabled, because user:gone is"},
		{"no scope", auto, func(in *Input) { in.Scope = nil }, NotRequestable, "scope", "the scope is not one of postgres: it is missing"},
		{"scope with an unknown field", auto, func(in *Input) { in.Scope = []byte(`{"actions":["select"],"x":1}`) }, NotRequestable, "scope", `the scope is not one of postgres: unknown key "x": known here are actions, tables`},
		{"scope that is null", auto, func(in *Input) { in.Scope = []byte(`null`) }, NotRequestable, "scope", `the scope is not one of postgres: actions is missing`},
		{"unknown role", auto, func(in *Input) { in.Role = "admin" }, NotRequestable, "role", `prod-db has no role "admin"; it has read, write`},
		{"scope of another role", auto, func(in *Input) { in.Role = "write" }, NotRequestable, "scope", "the scope is not that of role write, which may have changed: ask anew"},
		{"scope beyond the roles", auto, func(in *Input) { in.Scope = []byte(scopeOf("delete")) }, NotRequestable, "scope", "the scope is wider than every role of prod-db: ask for one of read, write, or for less"},
		{"no rule", `    - {name: none, when: "false", approve: auto, max_duration: 1h}`, nil, NotRequestable, "", "no rule of the policy lets user:ana ask for this on prod-db"},
		{"longer than the rule", auto, func(in *Input) { in.Duration = 2 * time.Hour }, NotRequestable, "duration", `2h is longer than the 1h that rule "all" allows: ask for at most 1h`},
		{"negative duration", auto, func(in *Input) { in.Duration = -time.Hour }, NotRequestable, "duration", "a duration is more than 0"},
		{"label that is not there", `    - {name: r, when: 'resource.labels.team == "x"', approve: auto, max_duration: 1h}` + "\n" + auto, nil, NotRequestable, "",
			`rule "r" reads the label team, which prod-db does not have: add it, or use has(resource.labels.team) in the condition`},
		{"attribute that is not there", `    - {name: r, when: 'int(principal.attributes["rank"]) > 1', approve: auto, max_duration: 1h}` + "\n" + auto, nil, NotRequestable, "",
			`rule "r" reads the attribute rank, which user:ana does not have: add it, or use has(principal.attributes.rank) in the condition`},
		{"division by zero", `    - {name: r, when: '1 / (size(principal.groups) - 1) == 1', approve: auto, max_duration: 1h}` + "\n" + auto, nil, NotRequestable, "",
			`the condition of rule "r" could not be evaluated (division by zero): tell an administrator`},
		{"resource without owners", `    - {name: r, when: "true", approve: {stages: [{name: o, from: [group:dba, resource.owners], quorum: 1}]}, max_duration: 1h}`,
			func(in *Input) { in.Resource = "dev-db" }, NotRequestable, "", `rule "r" needs the owners of dev-db in stage "o", and it has none: add owners to the resource`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := parse(t, rules(test.policy))
			in := ask(c, "user:ana", "prod-db", scopeOf("select"))
			if test.change != nil {
				test.change(&in)
			}
			d := c.Evaluate(in)
			want := &Refusal{Code: test.code, Field: test.field, Message: test.message, Longest: longestIn(test.message)}
			if !cmp.Equal(d.Refusal, want) {
				t.Errorf("got %+v, %s\nwant %+v", d.Refusal, d.Explanation, want)
			}
			if d.Explanation != test.message || d.Verdict().Refusal != test.message {
				t.Errorf("explanation %q", d.Explanation)
			}
		})
	}
}

func TestGuardrails(t *testing.T) {
	guarded := func(g string) string { return small("  guardrails:\n" + g + "\n  rules:\n" + auto) }
	for _, test := range []struct {
		name      string
		guardrail string
		change    func(*Input)
		field     string
		message   string // empty: not refused
	}{
		{"reason given", "    - {name: g, require: {reason: true}}", nil, "", ""},
		{"no reason", "    - {name: g, require: {reason: true}}", func(in *Input) { in.Reason = "" }, "reason", `guardrail "g" needs a reason: say what the access is for`},
		{"blank reason", "    - {name: g, require: {reason: true}}", func(in *Input) { in.Reason = " \t\u00a0\u200b\u3000" }, "reason", `guardrail "g" needs a reason: say what the access is for`},
		{"no reason, decided before", "    - {name: g, require: {reason: true, ticket: x}}", func(in *Input) { in.Reason, in.Ticket, in.Decided = "", "", true }, "", ""},
		{"ticket", "    - {name: g, require: {ticket: 'INC-[0-9]+'}}", nil, "", ""},
		{"no ticket", "    - {name: g, require: {ticket: 'INC-[0-9]+'}}", func(in *Input) { in.Ticket = "" }, "ticket", `guardrail "g" needs a ticket that matches INC-[0-9]+`},
		{"ticket inside another text", "    - {name: g, require: {ticket: 'INC-[0-9]+'}}", func(in *Input) { in.Ticket = "notINC-42" }, "ticket", `guardrail "g" needs a ticket that matches INC-[0-9]+, which this one does not`},
		{"ticket with a tail", "    - {name: g, require: {ticket: '^INC-[0-9]+$'}}", func(in *Input) { in.Ticket = "INC-42\n" }, "ticket", `guardrail "g" needs a ticket that matches ^INC-[0-9]+$, which this one does not`},
		{"ticket, alternatives", "    - {name: g, require: {ticket: '^INC-1|CHG-2$'}}", func(in *Input) { in.Ticket = "INC-1, really" }, "ticket", `guardrail "g" needs a ticket that matches ^INC-1|CHG-2$, which this one does not`},
		{"ticket, lines", "    - {name: g, require: {ticket: '(?m)^INC-1$'}}", func(in *Input) { in.Ticket = "x\nINC-1" }, "ticket", `guardrail "g" needs a ticket that matches (?m)^INC-1$, which this one does not`},
		{"longer than the guardrail", "    - {name: g, max_duration: 5m}", nil, "duration", `10m is longer than the 5m that guardrail "g" allows: ask for at most 5m`},
		{"longer than the smallest", "    - {name: f, max_duration: 7m}\n    - {name: g, require: {max_duration: 5m}}\n    - {name: h, max_duration: 6m}", nil, "duration", `10m is longer than the 5m that guardrail "g" allows: ask for at most 5m`},
		{"deny", "    - {name: g, kind: postgres, when: 'scope.actions.exists(a, a == \"select\")', deny: use the replica}", nil, "", `guardrail "g" denies this: use the replica`},
		{"deny of another kind", "    - {name: g, kind: http, when: 'true', deny: never}", nil, "", ""},
		{"deny without a condition", "    - {name: g, deny: all is closed}", nil, "", `guardrail "g" denies this: all is closed`},
		{"condition that fails, deny", "    - {name: g, when: 'resource.labels.team == \"x\"', deny: never}", nil, "", `guardrail "g" reads the label team, which prod-db does not have: add it, or use has(resource.labels.team) in the condition`},
		{"condition that fails, require", "    - {name: g, when: 'resource.labels.team == \"x\"', require: {reason: true}}", nil, "", `guardrail "g" reads the label team, which prod-db does not have: add it, or use has(resource.labels.team) in the condition`},
		{"condition that fails where it does not matter", "    - {name: g, when: 'resource.labels.env == \"dev\" && resource.labels.team == \"x\"', deny: never}", nil, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := parse(t, guarded(test.guardrail))
			in := ask(c, "user:ana", "prod-db", scopeOf("select"))
			if test.change != nil {
				test.change(&in)
			}
			d := c.Evaluate(in)
			if test.message == "" {
				if d.Refusal != nil {
					t.Errorf("got %+v", d.Refusal)
				}
				return
			}
			want := &Refusal{Code: DeniedByGuardrail, Field: test.field, Guardrail: "g", Message: test.message, Longest: longestIn(test.message)}
			if !cmp.Equal(d.Refusal, want) {
				t.Errorf("got %+v, %s\nwant %+v", d.Refusal, d.Explanation, want)
			}
		})
	}
}

// Invariant: A17
// Attack: POL-06, POL-07
func TestDenyBeatsEverything(t *testing.T) {
	allow := "    - {name: broad, when: 'true', approve: auto, max_duration: 8760h}\n"
	deny := "    - {name: closed, when: 'resource.id == \"prod-db\"', deny: closed}\n"
	broken := "    - {name: broken, when: '1/0 == 1', max_duration: 1h}\n"
	reason := "    - {name: reason, require: {reason: true}}\n"
	for _, guardrails := range []string{deny, reason + deny, deny + reason, broken + deny, deny + broken} {
		c := parse(t, small("  rules:\n"+allow+"  guardrails:\n"+guardrails))
		in := ask(c, "user:ana", "prod-db", scopeOf("select"))
		in.Reason = ""
		if d := c.Evaluate(in); d.Refusal == nil || d.Refusal.Guardrail != "closed" || d.Refusal.Code != DeniedByGuardrail {
			t.Errorf("with\n%sgot %+v", guardrails, d)
		}
		for _, id := range []string{"PROD-DB", "prod-db/", "prod-db ", "prod-db.", "prod%2ddb"} {
			in.Resource = id
			if d := c.Evaluate(in); d.Refusal == nil {
				t.Errorf("%q is let through", id)
			}
		}
	}
}

// Invariant: A16
// Attack: POL-01, POL-05, POL-14
func TestNothingMeansNo(t *testing.T) {
	for _, src := range []string{"", "# only a comment\n", "{}", "policy: {}", "policy:\n  rules:\n", small("  rules: []"), small("  guardrails: []\n")} {
		c := parse(t, src)
		for _, resource := range []string{"prod-db", "dev-db"} {
			in := ask(c, "user:ana", resource, scopeOf("select"))
			if c.Evaluate(in).Refusal == nil || c.Requestable(in) || c.Holds("", in) || c.Holds("all", in) {
				t.Errorf("%q allows", src)
			}
		}
	}
	if e := Empty(); e.Version() != parse(t, "").Version() || string(e.Canonical()) != "{}" || e.Requestable(Input{}) || e.Evaluate(Input{}).Refusal == nil {
		t.Error("Empty is not the empty catalog")
	}
	// A rule that fails does not hand the request to a later, weaker one.
	for _, when := range []string{
		`resource.labels.missing == "x"`, `principal.attributes["missing"] == "x"`, `int(principal.id) == 1`, `1 / 0 == 1`, `[1][5] == 1`,
		`double("NaN") > 1.0 || int(principal.id) > 1`, `timestamp(unverified.reason) < now`, `duration(unverified.ticket) < request.duration`,
		`unverified.reason.matches(unverified.client)`, `now.getHours(unverified.reason) > 1`, `9223372036854775807 + size(principal.groups) > 0`,
		`!(resource.labels.missing == "x")`,
	} {
		c := parse(t, rules("    - {name: first, when: '"+when+"', approve: {stages: [{name: s, from: [group:dba], quorum: 1}]}, max_duration: 1h}\n"+auto))
		in := ask(c, "user:ana", "prod-db", scopeOf("select"))
		in.Client = "("
		if d := c.Evaluate(in); d.Refusal == nil || d.Refusal.Code != NotRequestable {
			t.Errorf("%s: got %+v", when, d)
		}
		if c.Requestable(in) || c.Holds("first", in) {
			t.Errorf("%s: requestable", when)
		}
	}
}

// Attack: POL-02
func TestCostIsBounded(t *testing.T) {
	actions := make([]string, 1500)
	for i := range actions {
		actions[i] = "a" + string(rune('a'+i%26)) + time.Duration(i).String()
	}
	c := parse(t, rules(`    - {name: loop, kind: postgres, when: 'scope.actions.all(a, scope.actions.exists(b, b + a == "x" + a) || a != "")', approve: auto, max_duration: 1h}
`+auto))
	in := ask(c, "user:ana", "dev-db", scopeOf(actions...))
	d := c.Evaluate(in)
	if d.Refusal == nil || d.Refusal.Message != `the condition of rule "loop" could not be evaluated (operation cancelled: actual cost limit exceeded): tell an administrator` {
		t.Errorf("got %+v", d)
	}
	if d := c.Evaluate(ask(c, "user:ana", "dev-db", scopeOf("a", "b"))); d.Refusal != nil {
		t.Errorf("a small scope: %+v", d)
	}
}

// Invariant: A18
// Attack: POL-10, POL-13, REQ-21
func TestRequesterWrittenTextIsData(t *testing.T) {
	c := parse(t, rules(`    - {name: dev, when: 'has(resource.labels.env) && resource.labels.env == "dev"', approve: auto, max_duration: 1h}
    - {name: quoted, when: 'unverified.reason == "x\" || true || \"" && resource.id == "none"', approve: auto, max_duration: 1h}
`))
	for _, evil := range []string{`env: dev`, `" || true || "`, `x" || true || "`, `' || true //`, "dev", `{{resource.labels.env}}`, "${env:dev}"} {
		in := ask(c, "user:ana", "prod-db", scopeOf("select"))
		in.Reason, in.Ticket, in.Client = evil, evil, evil
		if d := c.Evaluate(in); d.Refusal == nil {
			t.Errorf("%q: %+v", evil, d)
		}
		in.Resource, in.Principal = evil, evil
		if d := c.Evaluate(in); d.Refusal == nil {
			t.Errorf("%q: %+v", evil, d)
		}
	}
}

// Attack: POL-11
func TestTimeWindows(t *testing.T) {
	c := parse(t, rules(`    - {name: hours, when: 'now.getHours("Europe/Berlin") >= 9 && now.getHours("Europe/Berlin") < 17 && now.getDayOfWeek("Europe/Berlin") in [1, 2, 3, 4, 5]', approve: auto, max_duration: 1h}
`))
	for at, want := range map[string]bool{
		"2026-03-27T07:59:00Z": false, // Friday before summer time: 08:59
		"2026-03-27T08:00:00Z": true,
		"2026-03-30T06:59:00Z": false, // Monday after: 08:59
		"2026-03-30T07:00:00Z": true,
		"2026-03-30T15:00:00Z": false, // 17:00
		"2026-10-26T08:00:00Z": true,  // Monday after the end of summer time
		"2026-10-26T07:59:00Z": false,
		"2026-03-28T10:00:00Z": false, // Saturday
		"2028-02-29T10:00:00Z": true,  // a leap day, Tuesday
	} {
		in := ask(c, "user:ana", "prod-db", scopeOf("select"))
		var err error
		if in.Now, err = time.Parse(time.RFC3339, at); err != nil {
			t.Fatal(err)
		}
		if got := c.Evaluate(in).Refusal == nil; got != want {
			t.Errorf("at %s: %v", at, got)
		}
		in.Now = in.Now.In(time.FixedZone("", 5*3600))
		if got := c.Evaluate(in).Refusal == nil; got != want {
			t.Errorf("at %s, said in another zone: %v", at, got)
		}
	}
}

// Invariant: A13, A9, A10
// Attack: POL-12
func TestEligiblePeople(t *testing.T) {
	stages := func(s string) string {
		return "    - {name: r, when: 'true', approve: {stages: [" + s + "]}, max_duration: 1h}\n"
	}
	for _, test := range []struct {
		stages    string
		principal string
		message   string // empty: may be requested
	}{
		{"{name: s, from: [group:dba], quorum: 2}", "user:ana", ""},
		{"{name: s, from: [group:dba], quorum: 2}", "user:bo", `rule "r" needs 2 people of group:dba in stage "s", and there is only 1 person who could approve for user:bo`},
		{"{name: s, from: [group:dba], quorum: 2}", "user:cy2", `rule "r" needs 2 people of group:dba in stage "s", and there is only 1 person who could approve for user:cy2`},
		{"{name: s, from: [user:bo], quorum: 1}", "service:ci", `rule "r" needs 1 person of user:bo in stage "s", and there is nobody who could approve for service:ci`},
		{"{name: s, from: [user:cy], quorum: 1}", "agent:bot", `rule "r" needs 1 person of user:cy in stage "s", and there is nobody who could approve for agent:bot`},
		{"{name: s, from: [user:cy], quorum: 1}", "user:cy2", `rule "r" needs 1 person of user:cy in stage "s", and there is nobody who could approve for user:cy2`},
		{"{name: s, from: [group:dba], quorum: 1}, {name: t, from: [group:lead], quorum: 1}", "user:ana", ""},
		{"{name: s, from: [group:dba], quorum: 1}, {name: t, from: [group:lead], quorum: 1}", "user:bo", `the stages of rule "r" need more different people than could approve for user:bo: each person counts once`},
		{"{name: s, from: [group:dba], quorum: 2}, {name: t, from: [resource.owners], quorum: 1}", "user:ana", `the stages of rule "r" need more different people than could approve for user:ana: each person counts once`},
	} {
		c := parse(t, rules(stages(test.stages)))
		in := ask(c, test.principal, "prod-db", scopeOf("select"))
		d := c.Evaluate(in)
		if d.Refusal == nil && test.message == "" {
			if !c.Requestable(in) {
				t.Errorf("%s for %s: not requestable", test.stages, test.principal)
			}
			continue
		}
		if d.Refusal == nil || d.Refusal.Message != test.message || d.Refusal.Code != NotRequestable {
			t.Errorf("%s for %s: got %+v", test.stages, test.principal, d)
		}
		if c.Requestable(in) {
			t.Errorf("%s for %s: requestable", test.stages, test.principal)
		}
	}
}

// Invariant: A6
func TestLimits(t *testing.T) {
	for _, test := range []struct {
		guardrails, rule  string
		longest, together time.Duration
	}{
		{"", "max_duration: 1h", time.Hour, time.Hour},
		{"", "max_duration: 1h, max_total: 4h", time.Hour, 4 * time.Hour},
		{"    - {name: g, max_duration: 30m}\n", "max_duration: 1h", 30 * time.Minute, 30 * time.Minute},
		{"    - {name: g, max_duration: 30m}\n", "max_duration: 1h, max_total: 4h", 30 * time.Minute, 30 * time.Minute},
		{"    - {name: g, max_duration: 2h}\n    - {name: h, require: {max_duration: 3h}}\n", "max_duration: 1h, max_total: 4h", time.Hour, 2 * time.Hour},
		{"    - {name: g, when: 'false', max_duration: 1m}\n", "max_duration: 1h", time.Hour, time.Hour},
	} {
		c := parse(t, small("  guardrails:\n"+test.guardrails+"  rules:\n    - {name: r, when: 'true', approve: auto, "+test.rule+"}\n"))
		in := ask(c, "user:ana", "prod-db", scopeOf("select"))
		in.Duration = 0
		d := c.Evaluate(in)
		if d.Terms.MaxDuration != test.longest || d.Terms.MaxTotal != test.together || d.Refusal != nil {
			t.Errorf("%s%s: got %s, %s, %v", test.guardrails, test.rule, d.Terms.MaxDuration, d.Terms.MaxTotal, d.Refusal)
		}
		in.Duration = test.longest
		if d := c.Evaluate(in); d.Refusal != nil {
			t.Errorf("exactly the limit: %+v", d.Refusal)
		}
		in.Duration++
		if d := c.Evaluate(in); d.Refusal == nil {
			t.Error("above the limit: allowed")
		}
	}
}

func TestRequestableAndHolds(t *testing.T) {
	c := parse(t, rules(`    - {name: reads, kind: postgres, when: 'scope.actions == ["select"] && "group:dev" in principal.groups', approve: auto, max_duration: 1h}
    - {name: leads, when: '"group:lead" in principal.groups', approve: {stages: [{name: s, from: [group:dba], quorum: 1}]}, max_duration: 1h}
`))
	for _, test := range []struct {
		principal, resource string
		want                bool
	}{
		{"user:ana", "prod-db", true},  // by the role read
		{"user:ana", "dev-db", true},   // by some scope
		{"user:bo", "dev-db", true},    // by leads, whatever the scope
		{"user:ana", "off-db", false},  // disabled
		{"user:gone", "dev-db", false}, // disabled
		{"service:ci", "dev-db", false},
		{"service:ci", "prod-db", false},
		{"user:x", "dev-db", false},
		{"user:ana", "x", false},
	} {
		in := Input{Principal: test.principal, Groups: c.Groups(test.principal), Resource: test.resource, Now: noon, StartsAt: noon}
		if got := c.Requestable(in); got != test.want {
			t.Errorf("%s on %s: %v", test.principal, test.resource, got)
		}
	}
	in := ask(c, "user:ana", "prod-db", scopeOf("select"))
	if !c.Holds("reads", in) || c.Holds("leads", in) || c.Holds("none", in) {
		t.Error("Holds is wrong about user:ana")
	}
	in.Groups = nil
	if c.Holds("reads", in) {
		t.Error("a grant rests on a group that was lost")
	}
}

// longestIn is the duration that a refusal's sentence offers.
func longestIn(message string) time.Duration {
	_, offer, _ := strings.Cut(message, "ask for at most ")
	d, _ := api.ParseDuration(offer)
	return d
}
