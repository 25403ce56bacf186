package broker_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Invariant: A5, A22
// Attack: TOK-02, TOK-06, TOK-08, TOK-17
func TestIntrospectionFollowsTheGrant(t *testing.T) {
	for _, format := range []string{"token", "jwt"} {
		t.Run(format, func(t *testing.T) {
			inWorld(t, func(w *world) {
				ctx := context.Background()
				v := w.mustSubmit("user:ana", "read", 10*time.Minute)
				c, err := w.Issue(ctx, as("user:ana"), v.Grant.ID, format, nil)
				must(t, err)
				in, err := w.Introspect(ctx, as("service:orders"), *c.Secret)
				must(t, err)
				var details struct {
					Type, Resource string
					Methods        []string
				}
				if !in.Active || in.Sub != "user:ana" || in.Aud != "orders" || in.Txn != v.ID || in.GrantID != v.Grant.ID || in.Exp.After(v.Grant.ExpiresAt.Time) {
					t.Errorf("%+v", in)
				}
				// The stored grant decides, not what a token says of itself.
				must(t, json.Unmarshal(in.AppendDetails(nil), &details))
				if details.Type != "urn:daypass:http" || details.Resource != "orders" || len(details.Methods) != 2 {
					t.Errorf("%s", in.AppendDetails(nil))
				}
				_, err = w.Introspect(ctx, as("user:dee"), *c.Secret)
				refused(t, err, "forbidden")
				w.change("introspect: [service:orders]", "introspect: []", "  - id: closed\n    kind: http\n", "  - id: closed\n    kind: http\n    introspect: [service:orders]\n")
				if w.active(*c.Secret) {
					t.Error("active for a service that does not front the resource")
				}
				w.change()
				if !w.active(*c.Secret) {
					t.Error("not active any more")
				}
				_, err = w.Revoke(ctx, as("user:cy"), v.Grant.ID, "")
				must(t, err)
				if w.active(*c.Secret) {
					t.Error("active after its revocation")
				}
				if n := len(w.entries("access.denied")); n == 0 {
					time.Sleep(100 * time.Millisecond)
					if n = len(w.entries("access.denied")); n < 2 {
						t.Errorf("%d answers of no are on record", n)
					}
				}
			})
		})
	}
}

// Invariant: A3
func TestAJWTEndsWithItsGrantAtTheLatest(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "read", 10*time.Minute)
		issue := func() time.Time {
			c, err := w.Issue(context.Background(), as("user:ana"), v.Grant.ID, "jwt", nil)
			must(t, err)
			return c.ExpiresAt.Time
		}
		if left := issue().Sub(w.clock.Now()); left > 5*time.Minute {
			t.Errorf("it lives %v", left)
		}
		time.Sleep(9 * time.Minute)
		if end := issue(); end.After(v.Grant.ExpiresAt.Time) {
			t.Errorf("it ends at %v, after its grant", end)
		}
		w.change("    introspect: [service:orders]", "    jwt: false\n    introspect: [service:orders]")
		_, err := w.Issue(context.Background(), as("user:ana"), v.Grant.ID, "jwt", nil)
		refused(t, err, "jwt_off")
	})
}

// Attack: TOK-18
func TestRevokingByToken(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		v, other := w.mustSubmit("user:ana", "read", 10*time.Minute), w.mustSubmit("user:ana", "read", 10*time.Minute)
		token, keep := w.token("user:ana", v.Grant.ID), w.token("user:ana", other.Grant.ID)
		for _, wrong := range []string{"", "dpgt_x", "dpat_x", "a.b.c", token[:len(token)-1]} {
			must(t, w.RevokeToken(ctx, as("service:orders"), wrong))
		}
		if !w.active(token) {
			t.Fatal("something else ended the grant")
		}
		must(t, w.RevokeToken(ctx, broker.SystemConfig(), token))
		if w.active(token) || !w.active(keep) {
			t.Error("it ended the wrong grant")
		}
		must(t, w.RevokeToken(ctx, as("service:orders"), token))
	})
}

// A grant that ends while the first use of it is being written gives a no, and
// the record says so after it has said yes.
//
// Invariant: A1, A30
func TestAGrantThatEndsWhileItsFirstUseIsWritten(t *testing.T) {
	inWorld(t, func(w *world) {
		v := w.mustSubmit("user:ana", "read", 10*time.Minute)
		token := w.token("user:ana", v.Grant.ID)
		time.Sleep(10*time.Minute - time.Second)
		slow := true
		w.broken.update = func(sqlstore.Class) error {
			if slow {
				slow = false
				time.Sleep(time.Second)
			}
			return nil
		}
		if w.active(token) {
			t.Fatal("active after its end")
		}
		time.Sleep(time.Second) // a no is written with what comes beside it
		var said []string
		for _, e := range w.entries(audit.AccessAllowed, audit.AccessDenied) {
			said = append(said, e.Type)
		}
		if !slices.Equal(said, []string{audit.AccessAllowed, audit.AccessDenied}) {
			t.Errorf("the record says %v", said)
		}
	})
}

// Attack: APV-19
func TestWhatIsShownIsWhatIsHashedAndEnforced(t *testing.T) {
	inWorld(t, func(w *world) {
		ask := func(scope string) broker.View {
			v, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Scope: json.RawMessage(scope), Duration: time.Minute, Reason: "x"}, nil)
			must(t, err)
			return v
		}
		one := ask(` { "paths" : ["/v1/orders/7" , "/v1/orders/7"], "methods":["HEAD",   "GET"] }`)
		if want := `{"methods":["GET","HEAD"],"paths":["/v1/orders/7"]}`; string(one.Scope) != want {
			t.Errorf("shown as %s", one.Scope)
		}
		grant, ok := w.index.Grant(one.Grant.ID)
		if !ok || string(grant.Scope) != string(one.Scope) {
			t.Errorf("enforced as %s", grant.Scope)
		}
		_, err := w.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Scope: json.RawMessage(`{"methods":["DELETE"],"paths":["/v1/orders/7"]}`), Duration: time.Minute, Reason: "x"}, nil)
		refused(t, err, "not_requestable") // no role covers it
	})
}

func TestAllOfOnePersonOrResource(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		w.change("{id: user:ana2, groups: [group:dba], person: user:ana}", "{id: user:ana2, groups: [group:dev], person: user:ana}")
		one, two, other := w.mustSubmit("user:ana", "read", time.Minute), w.mustSubmit("user:ana2", "read", time.Minute), w.mustSubmit("user:dee", "write", time.Minute)
		_, err := w.RevokeAll(ctx, as("user:dee"), "user:ana", "", "", nil)
		refused(t, err, "forbidden")
		_, err = w.RevokeAll(ctx, as("user:ada"), "user:ana", "orders", "", nil)
		refused(t, err, "invalid_field")
		out, err := w.RevokeAll(ctx, as("user:ada"), "user:ana", "", "left the company", nil)
		must(t, err)
		if len(out.Grants) != 2 {
			t.Errorf("%d grants of both accounts ended", len(out.Grants))
		}
		for _, v := range []broker.View{one, two} {
			if got := w.get("user:ada", v.ID).Grant; got.EndedReason == nil || *got.EndedReason != "revoked" {
				t.Errorf("the grant of %s is %s", v.Requester, got.State)
			}
		}
		w.mustVote("user:bo", other, "approve")
		w.mustVote("user:cy", other, "approve")
		out, err = w.RevokeAll(ctx, as("user:cy"), "", "orders", "", nil)
		must(t, err)
		if len(out.Grants) != 1 {
			t.Errorf("%d grants of the resource ended", len(out.Grants))
		}
	})
}
