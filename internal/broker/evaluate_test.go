package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// question asks whether somebody may do something on orders.
func question(subject, method, path string) broker.Question {
	return broker.Question{
		SubjectType: "user", SubjectID: subject, ResourceType: "http", ResourceID: "orders", Action: method,
		Property: func(name string) string {
			if name == "path" {
				return path
			}
			return ""
		},
	}
}

// A decision is yes only while a live grant of that very subject covers the
// action, and at the instant of its end no more.
//
// Invariant: A1, A5, A25, A28
// Attack: INT-05, INT-09, INT-10
func TestEvaluationFollowsTheGrant(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		yes := func(c string, q broker.Question) bool {
			t.Helper()
			a, err := w.Evaluate(ctx, as(c), q)
			must(t, err)
			if a.Decision != (a.Grant != "") || a.Decision && a.Ask != nil {
				t.Errorf("%+v", a)
			}
			return a.Decision
		}
		orders := question("ana", "GET", "/v1/orders/7")
		a, err := w.Evaluate(ctx, as("service:orders"), orders)
		must(t, err)
		if a.Decision || a.Ask == nil || a.Ask.Body.Role != "read" || !a.Auto || !strings.HasPrefix(a.Ask.Command, "daypass request orders --role read --for 10m") || a.Form != "https://daypass.test/request?resource=orders&role=read" {
			t.Errorf("%+v", a)
		}
		v := w.mustSubmit("user:ana", "read", 10*time.Minute)
		if !yes("service:orders", orders) || !yes("user:ada", orders) || !yes("service:orders", question("user:ana", "HEAD", "/v1/orders")) {
			t.Fatal("no, with a live grant")
		}
		for name, q := range map[string]broker.Question{
			"another method":           question("ana", "POST", "/v1/orders/7"),
			"a method that is none":    question("ana", "get", "/v1/orders/7"),
			"no method":                question("ana", "", "/v1/orders/7"),
			"another path":             question("ana", "GET", "/v1/customers"),
			"no path":                  question("ana", "GET", ""),
			"a path that climbs":       question("ana", "GET", "/v1/orders/../customers"),
			"an escaped path":          question("ana", "GET", "/v1/orders/%2e%2e/customers"),
			"a path that is escaped":   question("ana", "GET", "/v1/%6frders/7"),
			"a path with a query":      question("ana", "GET", "/v1/orders/7?x=1"),
			"an empty segment":         question("ana", "GET", "/v1/orders//7"),
			"another subject":          question("bo", "GET", "/v1/orders/7"),
			"another account of hers":  question("ana2", "GET", "/v1/orders/7"),
			"another case":             question("Ana", "GET", "/v1/orders/7"),
			"another type in the ID":   question("service:ana", "GET", "/v1/orders/7"),
			"nobody":                   question("nobody", "GET", "/v1/orders/7"),
			"a principal of two names": question("user:user:ana", "GET", "/v1/orders/7"),
		} {
			if yes("service:orders", q) {
				t.Errorf("%s is allowed", name)
			}
		}
		other := orders
		other.ResourceType = "postgres"
		if yes("service:orders", other) {
			t.Error("another kind is allowed")
		}
		service := orders
		service.SubjectType, service.SubjectID = "service", "orders"
		if yes("service:orders", service) {
			t.Error("a service holds the grant of a user")
		}
		_, err = w.Revoke(ctx, as("user:cy"), v.Grant.ID, "")
		must(t, err)
		if yes("service:orders", orders) {
			t.Error("yes after the revocation")
		}
		second := w.mustSubmit("user:ana", "read", 10*time.Minute)
		time.Sleep(time.Until(second.Grant.ExpiresAt.Add(-time.Millisecond)))
		if !yes("service:orders", orders) {
			t.Error("no in the last millisecond")
		}
		time.Sleep(time.Millisecond)
		if yes("service:orders", orders) {
			t.Error("yes at the instant of the end")
		}
	})
}

// Who does not front a resource learns nothing of it, not even whether there
// is one.
//
// Attack: INT-05, INT-10
func TestWhoMayAskForDecisions(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		w.mustSubmit("user:ana", "read", 10*time.Minute)
		q := question("ana", "GET", "/v1/orders/7")
		for _, who := range []string{"user:ana", "service:ci", "user:aud", "user:gone"} {
			_, err := w.Evaluate(ctx, as(who), q)
			refused(t, err, "forbidden")
		}
		var said []string
		for _, resource := range []string{"closed", "no-such-thing", "", strings.Repeat("x", 5000)} {
			q.ResourceID = resource
			_, err := w.Evaluate(ctx, as("service:orders"), q)
			refused(t, err, "not_fronted")
			said = append(said, err.Error())
		}
		if said[0] != said[1] || said[1] != said[2] {
			t.Errorf("%q", said)
		}
		q.ResourceID = "no-such-thing"
		if a, err := w.Evaluate(ctx, as("user:ada"), q); err != nil || a.Decision || a.Ask != nil {
			t.Errorf("%+v %v", a, err)
		}
		w.change("introspect: [service:orders]", "introspect: [service:orders]\n    disabled: true")
		if a, err := w.Evaluate(ctx, as("service:orders"), question("ana", "GET", "/v1/orders/7")); err != nil || a.Decision || a.Ask != nil {
			t.Errorf("of a disabled resource: %+v %v", a, err)
		}
	})
}

// The first yes of a grant is durable before it is said, further ones cost no
// write; each no is on record.
//
// Invariant: A20, A30
func TestEvaluationsAreOnRecord(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		w.mustSubmit("user:ana", "read", 10*time.Minute)
		q := question("ana", "GET", "/v1/orders/7")
		for range 3 {
			if a, err := w.Evaluate(ctx, as("service:orders"), q); err != nil || !a.Decision {
				t.Fatalf("%+v %v", a, err)
			}
		}
		allowed := w.entries("access.allowed")
		if len(allowed) != 1 || allowed[0].Actor != "service:orders" || !strings.Contains(string(allowed[0].Details), `"what":"evaluation"`) || !strings.Contains(string(allowed[0].Details), `"principal":"user:ana"`) {
			t.Fatalf("%+v", allowed)
		}
		_, err := w.Evaluate(ctx, as("service:orders"), question("ana", "POST", "/v1/orders/7"))
		must(t, err)
		time.Sleep(100 * time.Millisecond)
		denied := w.entries("access.denied")
		if len(denied) != 1 || denied[0].Outcome != "denied" || denied[0].Resource == nil || *denied[0].Resource != "orders" {
			t.Fatalf("%+v", denied)
		}
	})
}

// Without a record there is no yes.
//
// Invariant: A20
func TestNoEvaluationWithoutARecord(t *testing.T) {
	inWorld(t, func(w *world) {
		w.mustSubmit("user:ana", "read", 10*time.Minute)
		w.broken.update = func(sqlstore.Class) error { return sqlstore.ErrFailed }
		a, err := w.Evaluate(context.Background(), as("service:orders"), question("ana", "GET", "/v1/orders/7"))
		refused(t, err, "audit_unavailable")
		if a.Decision {
			t.Error("yes")
		}
		w.broken.update = nil
	})
}
