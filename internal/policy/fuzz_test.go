package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzParse: whatever the bytes, Parse returns a usable catalog or problems
// with places, and a catalog survives its canonical form.
func FuzzParse(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/bad.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		if file.Name != "want" {
			f.Add(file.Data)
		}
	}
	for _, src := range []string{"", contractCatalog, crowd, rules(auto), string(mustCanonical(f))} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := Parse(src, kinds)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 || c != nil {
				t.Fatalf("%v, %v", c, err)
			}
			for _, p := range problems {
				if p.Line < 1 || p.Column < 1 || p.Message == "" {
					t.Fatalf("no place: %+v", p)
				}
			}
			return
		}
		checkRoundTrip(t, c)
		for _, r := range c.Resources() {
			for _, p := range c.Principals() {
				c.Requestable(Input{Principal: p.ID, Groups: c.Groups(p.ID), Resource: r.ID, Now: noon, StartsAt: noon})
			}
		}
	})
}

func mustCanonical(t fataler) []byte { return parse(t, contractCatalog).Canonical() }

// FuzzEvaluate: hostile values in every variable that a requester writes. The
// policy allows only reading dev-db, whatever they are.
func FuzzEvaluate(f *testing.F) {
	c := parse(f, rules(`    - name: dev
      kind: postgres
      when: >-
        resource.id == "dev-db" && scope.actions.all(a, a == "select") && size(scope.tables) < 100
        && !unverified.reason.matches("^(drop|delete)+$") && unverified.ticket.size() < 100
        && (unverified.client == "" || unverified.client.startsWith("daypass/"))
      approve: auto
      max_duration: 1h
`))
	f.Add("user:ana", "dev-db", `{"actions":["select"]}`, "why", "INC-1", "", int64(600), int64(0))
	f.Add("user:ana", "prod-db", `{"actions":["select"],"tables":["public.orders"]}`, "\x00\xff", "' || true || '", "daypass/1", int64(-1), int64(1<<62))
	f.Add("user:ana\x00", "dev-db/", `{"actions":[null]}`, strings.Repeat("(", 1000), "\"", "\n", int64(1<<62), int64(-1<<62))
	f.Fuzz(func(t *testing.T, principal, resource, scope, reason, ticket, client string, seconds, at int64) {
		in := Input{
			Principal: principal, Groups: c.Groups(principal), Resource: resource, Scope: []byte(scope), Reason: reason, Ticket: ticket, Client: client,
			Duration: time.Duration(seconds), Now: time.Unix(at, 0), StartsAt: time.Unix(at, 0),
		}
		d := c.Evaluate(in)
		if d.Refusal != nil {
			return
		}
		parsed, err := fakeKind{}.ParseScope([]byte(scope))
		if err != nil || resource != "dev-db" || fmt.Sprint(parsed.(fakeScope).Actions) != "[select]" || d.Terms.MaxDuration < in.Duration || in.Duration < 0 {
			t.Fatalf("allowed: %+v", in)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	src := []byte(large())
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if _, err := Parse(src, kinds); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	c := parse(b, large())
	in := ask(c, "user:p7", "db-7", scopeOf("select"))
	for b.Loop() {
		if c.Evaluate(in).Refusal != nil {
			b.Fatal("refused")
		}
	}
}

// large is a catalog of 1,000 principals and 200 rules, of which the last one
// decides.
func large() string {
	var s strings.Builder
	s.WriteString("principals:\n")
	for i := range 1000 {
		fmt.Fprintf(&s, "  - {id: user:p%d, groups: [group:g%d, group:all], email: p%d@example.com}\n", i, i%50, i)
	}
	s.WriteString("resources:\n")
	for i := range 100 {
		fmt.Fprintf(&s, "  - {id: db-%d, kind: postgres, labels: {env: prod, n: \"%d\"}, owners: [group:g%d], postgres: {upstream: h}, roles: {read: {actions: [select], tables: [public.orders]}}}\n", i, i, i%50)
	}
	s.WriteString("policy:\n  guardrails:\n    - {name: ticket, when: 'resource.labels.env == \"prod\"', require: {ticket: 'INC-[0-9]+'}}\n  rules:\n")
	for i := range 199 {
		fmt.Fprintf(&s, "    - {name: rule %d, kind: postgres, when: 'resource.labels.n == \"x%d\" && scope.actions == [\"select\"]', approve: {stages: [{name: s, from: [group:g%d], quorum: 2}]}, max_duration: 1h}\n", i, i, i%50)
	}
	s.WriteString("    - {name: last, when: 'true', approve: {stages: [{name: s, from: [group:all], quorum: 2}]}, max_duration: 1h}\n")
	return s.String()
}
