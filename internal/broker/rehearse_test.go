package broker_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
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
