package policy

import (
	"testing"
	"time"

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
