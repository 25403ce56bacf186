package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
)

// Attack: REQ-15, CFG-02
func TestACatalogChangeEndsWhatItNoLongerBearsOut(t *testing.T) {
	ana := "{id: user:ana, groups: [group:dev], email: ana@example.com}"
	for name, change := range map[string][]string{
		"the principal is disabled":   {ana, "{id: user:ana, groups: [group:dev], disabled: true}"},
		"the rule's group is lost":    {ana, "{id: user:ana}"},
		"the upstream moved":          {`http: {upstream: "http://127.0.0.1:9"}`, `http: {upstream: "http://127.0.0.1:10"}`},
		"the resource is disabled":    {"  - id: orders\n", "  - id: orders\n    disabled: true\n"},
		"the resource became another": {"  - id: orders\n", "  - id: orders2\n", `"orders"`, `"orders2"`},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				v := w.mustSubmit("user:ana", "read", 10*time.Minute)
				token := w.token("user:ana", v.Grant.ID)
				pending := w.mustSubmit("user:ana", "write", 10*time.Minute)
				w.change(change...)
				g := w.get("user:ada", v.ID).Grant
				if g.State != "ended" || *g.EndedReason != "policy" {
					t.Fatalf("the grant is %s", g.State)
				}
				if in, err := w.Introspect(context.Background(), as("user:ada"), token); err != nil || in.Active {
					t.Errorf("its token: %+v, %v", in, err)
				}
				if name == "the rule's group is lost" {
					return
				}
				if got := w.get("user:ada", pending.ID); got.State != "expired" {
					t.Errorf("what waited is %s", got.State)
				}
				w.change() // and back again
				if w.get("user:ada", v.ID).Grant.State != "ended" {
					t.Error("the grant came back with its resource")
				}
			})
		})
	}
	t.Run("nothing that it rests on changed", func(t *testing.T) {
		inWorld(t, func(w *world) {
			v := w.mustSubmit("user:ana", "read", 10*time.Minute)
			token := w.token("user:ana", v.Grant.ID)
			w.change("{id: user:dee, ", "{id: user:dee, groups: [group:new], ", "name: dev reads", "name: developers read")
			if !w.active(token) {
				t.Error("an unrelated change ended the grant")
			}
		})
	})
}

// Invariant: A16, A19
// Attack: CFG-01, CFG-03
func TestABadCatalogChangesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		before := w.CatalogInForce().Version()
		for name, bad := range map[string]string{
			"unknown key":   strings.Replace(base, "rules:", "aproval: 1\n  rules:", 1),
			"half a file":   base[:len(base)/2] + "\n  - {",
			"unknown group": strings.Replace(base, "from: [group:dba]", "from: [group:dbas]", 1),
			"quorum 0":      strings.Replace(base, "quorum: 1", "quorum: 0", 1),
		} {
			_, err := w.PutCatalog(context.Background(), as("user:ada"), []byte(bad), "")
			var wrong *broker.CatalogError
			if !errors.As(err, &wrong) || len(wrong.Problems) == 0 || wrong.Problems[0].Line == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
		if w.CatalogInForce().Version() != before {
			t.Error("the catalog changed")
		}
		if v := w.mustSubmit("user:ana", "read", time.Minute); v.Policy.Version != before {
			t.Error("a decision names another version")
		}
		w.apply("principals: []\n")
		_, err := w.submit("user:ana", "read", time.Minute)
		refused(t, err, "unauthorized")
	})
}

func TestWhoChangesTheCatalog(t *testing.T) {
	inWorld(t, func(w *world) {
		_, err := w.PutCatalog(context.Background(), as("user:bo"), []byte(base), "")
		refused(t, err, "forbidden")
		_, err = w.PutCatalog(context.Background(), as("user:ada"), []byte(base+"# more\n"), "sha256:other")
		refused(t, err, "catalog_changed")
		now := w.CatalogInForce().Version()
		changed := strings.Replace(base, "{id: user:dee, ", "{id: user:dee, groups: [group:x], ", 1)
		got, err := w.PutCatalog(context.Background(), as("user:ada"), []byte(changed), now)
		must(t, err)
		if got.Version == now || got.AppliedBy != "user:ada" || got.Source != changed {
			t.Errorf("%+v", got)
		}
		if n := len(w.entries("catalog.changed")); n != 2 {
			t.Errorf("%d entries, want 2", n)
		}
	})
}

// Invariant: A17
func TestARefusalByPolicy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change("guardrails: []", `guardrails:
    - {name: not now, when: 'principal.id == "user:ana" && request.duration < duration("2m")', deny: come back later}
    - {name: say why, when: "true", require: {reason: true, max_duration: 5m}}`)
		_, err := w.submit("user:ana", "read", time.Minute)
		e := refused(t, err, "denied_by_guardrail")
		if e.Kind != broker.Forbidden || !strings.Contains(e.Message, "come back later") {
			t.Errorf("%+v", e)
		}
		_, err = w.submit("user:ana", "read", 6*time.Minute)
		if e := refused(t, err, "denied_by_guardrail"); e.Field != "body.duration" || !strings.Contains(e.Message, "5m") || e.Hint == nil || e.Hint.Body.Duration.Std() != 5*time.Minute {
			t.Errorf("%+v", e)
		}
		_, err = w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "read", Duration: 3 * time.Minute}, nil)
		if e := refused(t, err, "denied_by_guardrail"); e.Field != "body.reason" {
			t.Errorf("%+v", e)
		}
		_, err = w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "closed", Role: "read", Duration: 3 * time.Minute, Reason: "x"}, nil)
		refused(t, err, "not_requestable")
		_, err = w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "nothing", Role: "read", Duration: 3 * time.Minute, Reason: "x"}, nil)
		refused(t, err, "not_found")
		if n := len(w.entries("request.refused")); n != 4 {
			t.Errorf("%d refusals on record, want 4", n)
		}
	})
}

// Attack: POL-15
func TestADryRunKeepsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		for role, want := range map[string]string{"read": "auto", "write": "review"} {
			d, err := w.DryRun(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: role, Duration: 5 * time.Minute})
			must(t, err)
			if d.Decision != want || d.Explanation == "" {
				t.Errorf("%s: %+v", role, d)
			}
		}
		d, err := w.DryRun(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "read", Duration: 5 * time.Hour})
		must(t, err)
		if d.Decision != "refused" || d.Code != "not_requestable" {
			t.Errorf("%+v", d)
		}
		items, _, err := w.Requests(context.Background(), as("user:ada"), broker.RequestQuery{})
		must(t, err)
		if len(items) != 0 {
			t.Error("a dry run made a request")
		}
	})
}
