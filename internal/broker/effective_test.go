package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/policy"
	httpkind "github.com/daypass/daypass/internal/resource/http"
)

// reachingKind is http that finds out what access really reaches.
type reachingKind struct{ httpkind.Kind }

type reach struct {
	Relations int `json:"relations" cel:"relations"`
}

func (reachingKind) EffectiveType() reflect.Type { return reflect.TypeFor[reach]() }

// What was found in a target is known to the policy when a request is made, tried
// or explained, when it is voted on, and when it is replayed later. What could
// not be found refuses nobody for a reason that is not theirs.
//
// Invariant: A16, A19, A25
func TestPolicyKnowsWhatWasFound(t *testing.T) {
	found, down := `{"effective":{"relations":1},"summary":"Asked for 1."}`, error(nil)
	withWorld(t, func(w *world) {
		w.kinds = []policy.Kind{reachingKind{}}
		w.inspect = func() (policy.Finding, error) { return policy.Finding{Target: json.RawMessage(found)}, down }
	}, func(w *world) {
		limited := strings.Replace(base, "  guardrails: []\n  rules:\n", `  guardrails:
    - {name: too far, kind: http, when: effective.relations > 5, deny: ask for less}
  rules:
    - {name: far, kind: http, when: effective.relations > 2, approve: {stages: [{name: s, from: [group:dba], quorum: 1}]}, max_duration: 1h}
`, 1)
		w.apply(limited)
		ctx, asked := context.Background(), broker.Submission{Resource: "orders", Role: "read", Duration: time.Minute, Reason: "x"}
		for relations, want := range map[string]string{"1": "auto", "3": "review", "6": "refused"} {
			found = `{"effective":{"relations":` + relations + `}}`
			d, err := w.DryRun(ctx, as("user:ana"), asked)
			must(t, err)
			e, err := w.ExplainCatalog(ctx, as("user:ada"), api.ExplainRequest{Principal: "user:ana", Resource: "orders", Role: "read"})
			must(t, err)
			if d.Decision != want || e.Decision.Decision != want {
				t.Errorf("%s relations: %s, explained as %s, want %s", relations, d.Decision, e.Decision.Decision, want)
			}
			_, err = w.Submit(ctx, as("user:ana"), asked, nil)
			if want == "refused" {
				refused(t, err, "denied_by_guardrail")
			} else {
				must(t, err)
			}
		}
		// An explanation can be asked for what is not there.
		e, err := w.ExplainCatalog(ctx, as("user:ada"), api.ExplainRequest{Principal: "user:ana", Resource: "orders", Role: "read", Effective: json.RawMessage(`{"relations":4}`)})
		must(t, err)
		if e.Decision.Decision != "review" {
			t.Errorf("%+v", e.Decision)
		}
		// The replay knows what was found then.
		found = `{"effective":{"relations":100}}`
		b, err := w.BacktestCatalog(ctx, as("user:ada"), []byte(limited), time.Hour, false)
		must(t, err)
		if b.Replayed != 3 || b.Same != 3 || b.Refusals != 1 {
			t.Errorf("%+v", b)
		}
		b, err = w.BacktestCatalog(ctx, as("user:ada"), []byte(strings.Replace(limited, "effective.relations > 5", "effective.relations > 2", 1)), time.Hour, false)
		must(t, err)
		if b.Flipped != 1 || b.Changes["review → refused"] != 1 {
			t.Errorf("%+v", b)
		}
		// The list says what may come of asking, and a target that is down is not
		// the policy's refusal.
		shown, err := w.Resource(ctx, as("user:ana"), "orders")
		must(t, err)
		for _, role := range shown.Roles {
			if role.Decision.Decision == "refused" && role.Name == "read" {
				t.Errorf("%+v", role)
			}
		}
		down = errors.New("the target is down")
		_, err = w.Submit(ctx, as("user:ana"), asked, nil)
		refused(t, err, "target_unavailable")
		_, err = w.Submit(ctx, as("user:ana"), broker.Submission{Resource: "orders", Role: "read", Duration: 1000 * time.Hour, Reason: "x"}, nil)
		if e, ok := errors.AsType[*broker.Error](err); !ok || e.Code == "target_unavailable" {
			t.Errorf("%v", err)
		}
	})
}
