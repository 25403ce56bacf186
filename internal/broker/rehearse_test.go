package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Nobody learns of others' rights but admins, auditors and the resource's
// owners, and each look is on record.
//
// Attack: POL-15
func TestExplainingIsForFew(t *testing.T) {
	inWorld(t, func(w *world) {
		q := api.ExplainRequest{Principal: "user:bo", Resource: "orders", Role: "write", Duration: api.Duration(time.Hour)}
		for _, who := range []string{"user:ana", "user:bo", "user:dee", "service:orders", "agent:bot"} {
			_, err := w.ExplainCatalog(context.Background(), as(who), q)
			refused(t, err, "forbidden")
		}
		closed := q
		closed.Resource = "closed"
		_, err := w.ExplainCatalog(context.Background(), as("user:cy"), closed)
		refused(t, err, "forbidden") // cy owns orders alone
		if n := len(w.entries(audit.CatalogExplained)); n != 0 {
			t.Fatalf("%d entries of looks that were refused", n)
		}
		for i, who := range []string{"user:ada", "user:aud", "user:cy"} {
			out, err := w.ExplainCatalog(context.Background(), as(who), q)
			must(t, err)
			if out.Decision.Decision != "review" || out.LimitedBy != `rule "two"` || len(out.Rules) != 2 || out.Rules[1].Outcome != "matched" {
				t.Errorf("%s is told %+v", who, out)
			}
			if dba := out.Stages[0]; strings.Join(dba.Eligible, " ") != "user:ana2 user:ben" || len(dba.Barred) != 2 || dba.Barred[1].Why != "is the requester" {
				t.Errorf("the stage is shown as %+v", dba)
			}
			looks := w.entries(audit.CatalogExplained)
			if len(looks) != i+1 || looks[i].Actor != who || *looks[i].Resource != "orders" || !strings.Contains(string(looks[i].Details), `"principal":"user:bo"`) {
				t.Errorf("the record says %+v", looks)
			}
		}
		for field, bad := range map[string]api.ExplainRequest{
			"body.principal": {Principal: "user:zoe", Resource: "orders", Role: "read"}, "body.resource": {Principal: "user:bo", Resource: "x", Role: "read"},
			"body.role": {Principal: "user:bo", Resource: "orders"}, "body.scope": {Principal: "user:bo", Resource: "orders", Scope: json.RawMessage(`{"x":1}`)},
		} {
			_, err := w.ExplainCatalog(context.Background(), as("user:ada"), bad)
			if e := refused(t, err, "invalid_field"); e.Field != field {
				t.Errorf("%s is to blame, and said is %s", field, e.Field)
			}
		}
	})
}

// What was recorded is decided by another catalog as it would have been then.
//
// Attack: POL-15
func TestBacktest(t *testing.T) {
	inWorld(t, func(w *world) {
		auto := w.mustSubmit("user:ana", "read", 10*time.Minute)
		review := w.mustSubmit("user:ana", "write", 30*time.Minute)
		_, err := w.submit("user:ana", "read", time.Hour) // too long for dev reads
		refused(t, err, "not_requestable")
		_, err = w.DryRun(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "read", Duration: time.Hour})
		must(t, err)
		ctx := context.Background()
		replay := func(frozen bool, pairs ...string) api.Backtest {
			t.Helper()
			text := base
			for i := 0; i < len(pairs); i += 2 {
				if !strings.Contains(text, pairs[i]) {
					t.Fatalf("no %q", pairs[i])
				}
				text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
			}
			out, err := w.BacktestCatalog(ctx, as("user:aud"), []byte(text), 24*time.Hour, frozen)
			must(t, err)
			return out
		}
		same := replay(false)
		if same.Replayed != 3 || same.Refusals != 1 || same.Same != 3 || same.Flipped != 0 || same.NotCovered != 0 {
			t.Errorf("by the same catalog: %+v", same)
		}
		for name, c := range map[string]struct {
			frozen bool
			pairs  []string
			want   map[string]int
			flips  string
		}{
			"the rule asks people now":   {false, []string{"approve: auto, max_duration: 10m", "approve: {stages: [{name: s, from: [group:dba], quorum: 1}]}, max_duration: 10m"}, map[string]int{"auto → review": 1}, auto.ID},
			"longer is allowed":          {false, []string{"max_duration: 10m, max_total: 25m", "max_duration: 1h"}, map[string]int{"refused → auto": 1}, ""},
			"others review":              {false, []string{"{name: dba, from: [group:dba], quorum: 1}, ", ""}, map[string]int{"other reviewers": 1}, review.ID},
			"the group is lost":          {false, []string{"{id: user:ana, groups: [group:dev]", "{id: user:ana, groups: [group:other]"}, map[string]int{"auto → review": 1, "refused → review": 1}, auto.ID},
			"the group as it was":        {true, []string{"{id: user:ana, groups: [group:dev]", "{id: user:ana, groups: [group:other]"}, map[string]int{}, ""},
			"the resource is gone":       {false, []string{"  - id: orders\n", "  - id: orders2\n"}, map[string]int{"auto → refused": 1, "review → refused": 1}, review.ID},
			"the words were looked at":   {false, []string{`when: 'resource.id == "orders"'`, `when: 'resource.id == "orders" && unverified.reason == "because of write"'`}, map[string]int{}, ""},
			"other words are looked for": {false, []string{`when: 'resource.id == "orders"'`, `when: 'resource.id == "orders" && unverified.reason == "else"'`}, map[string]int{"review → refused": 1}, review.ID},
		} {
			got := replay(c.frozen, c.pairs...)
			n := 0
			for _, k := range c.want {
				n += k
			}
			if !maps.Equal(got.Changes, c.want) || got.Flipped != n || len(got.Flips) != n || got.Replayed != 3 || got.Same+got.Flipped != 3 {
				t.Errorf("%s: %+v", name, got)
			}
			if c.flips != "" && !slices.ContainsFunc(got.Flips, func(f api.Flip) bool {
				return f.Request == c.flips && f.Requester == "user:ana" && f.Was != "" && f.Now != ""
			}) {
				t.Errorf("%s: %s is not among %+v", name, c.flips, got.Flips)
			}
		}
		// Erased words count as given, and it is said.
		must(t, w.store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error { _, err := tx.EraseTextsOf("user:ana"); return err }))
		if got := replay(false); got.Flipped != 0 || got.Erased != 3 {
			t.Errorf("with erased texts: %+v", got)
		}
		time.Sleep(25 * time.Hour)
		if got := replay(false); got.Replayed != 0 {
			t.Errorf("older than asked for: %+v", got)
		}
		for _, who := range []string{"user:ana", "user:cy", "service:orders"} {
			_, err := w.BacktestCatalog(ctx, as(who), []byte(base), time.Hour, false)
			refused(t, err, "forbidden")
		}
		_, err = w.BacktestCatalog(ctx, as("user:ada"), []byte("x: 1"), time.Hour, false)
		var bad *broker.CatalogError
		if !errors.As(err, &bad) || len(bad.Problems) != 1 {
			t.Errorf("a bad catalog: %v", err)
		}
		if n := len(w.entries(audit.CatalogBacktested)); n != 11 {
			t.Errorf("%d entries of looks", n)
		}
	})
}
