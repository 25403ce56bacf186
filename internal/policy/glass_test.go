package policy

import (
	"strings"
	"testing"
	"time"
)

const glass = `    - {name: writes, when: "true", approve: {stages: [{name: dba, from: [group:dba], quorum: 1}]}, max_duration: 1h, max_total: 4h, break_glass: {max_duration: 30m, notify: [group:dba, resource.owners]}}
`

// Invariant: A6, A9, A13, A16
func TestBreakGlass(t *testing.T) {
	for name, test := range map[string]struct {
		policy  string
		who     string
		change  func(*Input)
		field   string
		message string
	}{
		"granted":             {glass, "user:ana", nil, "", ""},
		"no reason":           {glass, "user:ana", func(in *Input) { in.Reason = " \u200b " }, "reason", "break-glass needs a reason"},
		"too long":            {glass, "user:ana", func(in *Input) { in.Duration = 31 * time.Minute }, "duration", "31m is longer than the 30m that rule \"writes\" allows"},
		"one of two asks":     {glass, "user:bo", nil, "break_glass", "tells 2 people of group:dba, group:lead at once, and there is only 1 person who could be told of user:bo"},
		"with the other one":  {glass, "user:cy2", nil, "break_glass", "there is only 1 person who could be told of user:cy2"},
		"the agent of one":    {glass, "agent:bot", nil, "break_glass", "there is only 1 person who could be told of agent:bot"},
		"a rule without":      {strings.ReplaceAll(glass, ", break_glass: {max_duration: 30m, notify: [group:dba, resource.owners]}", ""), "user:ana", nil, "break_glass", "has no break-glass"},
		"a rule that grants":  {auto, "user:ana", nil, "break_glass", "approves this by itself"},
		"an earlier rule":     {auto + glass, "user:ana", nil, "break_glass", `rule "all" approves this by itself`},
		"owners that are not": {glass, "user:ana", func(in *Input) { in.Resource = "dev-db" }, "", "needs the owners of dev-db"},
	} {
		t.Run(name, func(t *testing.T) {
			c := parse(t, rules(test.policy))
			in := ask(c, test.who, "prod-db", scopeOf("select"))
			in.BreakGlass = true
			if test.change != nil {
				test.change(&in)
			}
			d := c.Evaluate(in)
			if test.message == "" {
				g := d.Terms.BreakGlass
				if d.Refusal != nil || g == nil || g.MaxDuration != 30*time.Minute || strings.Join(g.Notify, " ") != "group:dba group:lead" ||
					d.Terms.MaxDuration != 30*time.Minute || d.Terms.MaxTotal != 30*time.Minute || d.Terms.Auto || len(d.Terms.Stages) != 1 {
					t.Fatalf("got %+v, %+v", d.Refusal, d.Terms)
				}
				if !strings.Contains(d.Explanation, "before anybody agrees") || !strings.Contains(d.Explanation, "reviewed afterwards by 1 of group:dba") {
					t.Errorf("explanation %q", d.Explanation)
				}
				return
			}
			if d.Refusal == nil || d.Refusal.Field != test.field || !strings.Contains(d.Refusal.Message, test.message) || d.Terms.BreakGlass != nil {
				t.Fatalf("got %+v, %+v", d.Refusal, d.Terms)
			}
		})
	}
}

// Guardrails hold in an emergency too.
//
// Invariant: A17
func TestGuardrailsBeatBreakGlass(t *testing.T) {
	for guardrail, message := range map[string]string{
		`{name: g, when: "true", deny: use a migration}`:                    "use a migration",
		`{name: g, when: "true", require: {ticket: "INC-[0-9]{5}"}}`:        "needs a ticket",
		`{name: g, when: "true", max_duration: 5m}`:                         `the 5m that guardrail "g" allows`,
		`{name: g, when: "1 / (size(principal.groups) - 1) == 1", deny: x}`: "could not be evaluated",
	} {
		c := parse(t, small("  guardrails:\n    - "+guardrail+"\n  rules:\n"+glass))
		in := ask(c, "user:ana", "prod-db", scopeOf("select"))
		in.BreakGlass = true
		if d := c.Evaluate(in); d.Refusal == nil || d.Refusal.Code != DeniedByGuardrail || !strings.Contains(d.Refusal.Message, message) {
			t.Errorf("with %s: %+v", guardrail, d.Refusal)
		}
	}
}

// What is asked in the ordinary way is told of the offer, and gets no
// break-glass by it.
//
// Invariant: A7
func TestBreakGlassIsOffered(t *testing.T) {
	c := parse(t, rules(glass))
	if !c.UsesBreakGlass() {
		t.Error("the catalog is said to have no break-glass")
	}
	d := c.Evaluate(ask(c, "user:ana", "prod-db", scopeOf("select")))
	if d.Refusal != nil || d.Terms.BreakGlass != nil || d.Terms.MaxDuration != time.Hour || d.BreakGlass == nil || !strings.Contains(d.Explanation, "in an emergency") {
		t.Errorf("got %+v: %s", d, d.Explanation)
	}
	if d := c.Evaluate(ask(c, "user:bo", "prod-db", scopeOf("select"))); d.BreakGlass != nil || strings.Contains(d.Explanation, "emergency") {
		t.Errorf("a break-glass is offered to user:bo of which nobody could be told: %+v", d)
	}
}

// Who is told by mail alone must have an address, or nobody hears.
//
// Invariant: A30
func TestWhoWouldNotHearOfABrokenGlass(t *testing.T) {
	c := parse(t, rules(glass))
	if w := c.GlassWarning(nil); !strings.Contains(w, "no notifier is configured") {
		t.Errorf("without a notifier: %q", w)
	}
	if w := c.GlassWarning([]string{"webhook", "smtp"}); w != "" {
		t.Errorf("with a webhook: %q", w)
	}
	w := c.GlassWarning([]string{"smtp"})
	for id, deaf := range map[string]bool{"user:bo": true, "user:ana": false} {
		if strings.Contains(w, id) != deaf {
			t.Errorf("by mail alone, %s: %q", id, w)
		}
	}
	if w := parse(t, rules(auto)).GlassWarning(nil); w != "" {
		t.Errorf("without break-glass: %q", w)
	}
}

// Invariant: A9
func TestAnswerable(t *testing.T) {
	c := parse(t, rules(auto))
	for id, want := range map[string]string{
		"user:ana": "user:ana", "user:cy2": "user:cy", "agent:bot": "user:cy", "user:cy": "user:cy", "service:ci": "user:bo", "user:nobody": "user:nobody",
	} {
		if got := c.Answerable(id); got != want {
			t.Errorf("%s is answered for by %s, want %s", id, got, want)
		}
	}
}
