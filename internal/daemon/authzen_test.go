package daemon_test

import (
	"strings"
	"testing"
	"time"
)

// decision is an AuthZEN answer, as another program reads it.
type decision struct {
	Decision *bool `json:"decision"`
	Context  struct {
		Grant  string `json:"grant"`
		Reason string `json:"reason"`
		Access struct {
			Endpoint string `json:"endpoint"`
			Body     m      `json:"body"`
			Command  string `json:"command"`
		} `json:"access_request"`
		Error struct {
			Status int `json:"status"`
		} `json:"error"`
	} `json:"context"`
}

func evaluation(who, method, resource, path string) m {
	return m{"subject": m{"type": "user", "id": who}, "action": m{"name": method}, "resource": m{"type": "http", "id": resource, "properties": m{"path": path}}}
}

// A service asks, before it serves, whether somebody may; what it is told to
// ask for gets it there.
//
// Invariant: A1, A5
// Attack: INT-01, INT-05, INT-07, INT-10
func TestDecisions(t *testing.T) {
	s := serve(t)
	ask := func(who string, body m) decision {
		t.Helper()
		a := s.call(who, "POST", "/access/v1/evaluation", body).is(200)
		d := decode[decision](a)
		if d.Decision == nil || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s %v", a.body, a.header)
		}
		return d
	}
	q := evaluation("ana", "GET", "orders-api", "/v1/orders/7")
	no := ask("service:orders", q)
	if *no.Decision || no.Context.Reason != "request_required" || no.Context.Access.Body["role"] != "read" || !strings.HasPrefix(no.Context.Access.Command, "daypass request orders-api --role read") {
		t.Fatalf("%+v", no)
	}
	r := s.granted("user:ana", "orders-api", no.Context.Access.Body["role"].(string), time.Hour/4)
	if d := ask("service:orders", q); !*d.Decision || d.Context.Grant != r.Grant.ID {
		t.Fatalf("%+v", d)
	}
	if d := ask("service:orders", evaluation("ana", "POST", "orders-api", "/v1/orders/7")); *d.Decision || d.Context.Reason != "approval_required" {
		t.Errorf("%+v", d)
	}
	// Nobody else holds it, and who may not ask for it is told nothing.
	for _, who := range []string{"ana-admin", "eve", "nobody"} {
		if d := ask("service:orders", evaluation(who, "GET", "orders-api", "/v1/orders/7")); *d.Decision || who != "ana-admin" && d.Context.Reason != "" {
			t.Errorf("%s: %+v", who, d)
		}
	}
	unfronted := s.call("service:orders", "POST", "/access/v1/evaluation", evaluation("ana", "GET", "open-api", "/")).is(403, "not_fronted")
	unknown := s.call("service:orders", "POST", "/access/v1/evaluation", evaluation("ana", "GET", "no-such-api", "/")).is(403, "not_fronted")
	if string(unfronted.body) != string(unknown.body) {
		t.Errorf("%s %s", unfronted.body, unknown.body)
	}
	s.call("user:ana", "POST", "/access/v1/evaluation", q).is(403, "forbidden")
	s.call("", "POST", "/access/v1/evaluation", q).is(401, "unauthorized")
	s.call("service:orders", "POST", "/access/v1/evaluation", m{}).is(400, "invalid_request")
	several := m{"evaluations": []m{{}, {"action": m{"name": "DELETE"}}, {"resource": m{"type": "http", "id": "open-api"}}}}
	for k, v := range q {
		several[k] = v
	}
	all := decode[struct{ Evaluations []decision }](s.call("service:orders", "POST", "/access/v1/evaluations", several).is(200)).Evaluations
	if len(all) != 3 || !*all[0].Decision || *all[1].Decision || *all[2].Decision || all[2].Context.Error.Status != 403 {
		t.Errorf("%+v", all)
	}
	s.call("user:ana", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil).is(200)
	if *ask("service:orders", q).Decision {
		t.Error("yes after the revocation")
	}
	doc := decode[map[string]string](s.call("", "GET", "/.well-known/authzen-configuration", nil).is(200))
	if doc["policy_decision_point"] != "http://"+s.api {
		t.Errorf("%v", doc)
	}
}
