package daemon_test

import (
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// TestGrants: credentials, returns, revocations, extensions.
//
// Invariant: A6, A21
// Attack: REQ-13, REQ-14, TOK-18
func TestGrants(t *testing.T) {
	s := serve(t)
	r := s.granted("user:ana", "orders-api", "read", 5*time.Minute)
	path := "/v1/grants/" + r.Grant.ID
	t.Run("a credential", func(t *testing.T) {
		for _, format := range []string{"token", "jwt"} {
			a := s.call("user:ana", "POST", path+"/credentials", m{"format": format}).is(201)
			c := decode[api.Credential](a)
			if c.Format != format || c.Secret == nil || !strings.Contains(c.Connect.URL, "http://orders-api.localhost:") || a.header.Get("Location") == "" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s", a.body)
			}
			if c.ExpiresAt.After(r.Grant.ExpiresAt.Time) || format == "token" && !c.ExpiresAt.Equal(r.Grant.ExpiresAt.Time) {
				t.Errorf("the grant ends at %v, the %s at %v", r.Grant.ExpiresAt, format, c.ExpiresAt)
			}
			if got := s.call("user:ana", "GET", path, nil).is(200); strings.Contains(string(got.body), *c.Secret) {
				t.Error("the grant shows the secret")
			}
		}
		s.call("user:ana", "POST", path+"/credentials", m{"format": "x509"}).is(422)
		for _, who := range []string{"user:cy", "user:bo", "user:ada"} {
			s.call(who, "POST", path+"/credentials", m{"format": "token"}).is(403)
		}
		s.call("user:eve", "POST", path+"/credentials", m{"format": "token"}).is(404, "not_found")
	})
	t.Run("a start in the future", func(t *testing.T) {
		body := ask("orders-api", "read", time.Minute)
		at := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		body["start_at"] = at.Format(time.RFC3339)
		later := s.call("user:ana", "POST", "/v1/requests", body).is(201).request()
		if g := later.Grant; g.State != "scheduled" || !g.StartsAt.Equal(at) || !g.ExpiresAt.Equal(at.Add(time.Minute)) {
			t.Errorf("%+v", g)
		}
		s.call("user:ana", "POST", "/v1/grants/"+later.Grant.ID+"/credentials", nil).is(409, "not_active")
	})
	t.Run("an end", func(t *testing.T) {
		s.call("user:eve", "POST", path+"/revoke", m{"reason": "no"}).is(404, "not_found")
		g := decode[api.Grant](s.call("user:ana", "POST", path+"/revoke", m{"reason": "done"}).is(200))
		if g.State != "ended" || g.EndedReason == nil || *g.EndedReason != "returned" || g.EndedAt == nil {
			t.Errorf("%+v", g)
		}
		s.call("user:ana", "POST", path+"/credentials", nil).is(409, "not_active")
		for who, want := range map[string]string{"user:ada": "revoked", "user:cy": "revoked"} {
			one := s.granted("user:ana", "orders-api", "read", time.Minute)
			g := decode[api.Grant](s.call(who, "POST", "/v1/grants/"+one.Grant.ID+"/revoke", m{}).is(200))
			if *g.EndedReason != want {
				t.Errorf("%s ended it as %s", who, *g.EndedReason)
			}
			again := decode[api.Grant](s.call(who, "POST", "/v1/grants/"+one.Grant.ID+"/revoke", nil).is(200))
			if !again.EndedAt.Equal(g.EndedAt.Time) {
				t.Error("an ended grant ended again")
			}
		}
	})
	t.Run("an extension", func(t *testing.T) {
		one, token := s.pass(time.Hour)
		more := s.call("user:cy", "POST", "/v1/grants/"+one.Grant.ID+"/extend", m{"duration": "20m", "reason": "one more"}).is(201).request()
		if more.Extends != one.Grant.ID {
			t.Errorf("it extends %q", more.Extends)
		}
		g := decode[api.Grant](s.call("user:cy", "GET", "/v1/grants/"+one.Grant.ID, nil).is(200))
		if !g.ExpiresAt.Equal(one.Grant.ExpiresAt.Add(20*time.Minute)) || g.State != "active" {
			t.Errorf("%v extended by 20m ends at %v", one.Grant.ExpiresAt, g.ExpiresAt)
		}
		s.through(token, "GET", "open-api", "/x").is(200)
		// max_total is 90m.
		s.call("user:cy", "POST", "/v1/grants/"+one.Grant.ID+"/extend", m{"duration": "20m", "reason": "and more"}).is(403)
		s.call("user:ana", "POST", "/v1/grants/"+one.Grant.ID+"/extend", m{"duration": "1m", "reason": "for cy"}).is(403)
	})
	t.Run("the list", func(t *testing.T) {
		for _, g := range decode[api.List[api.Grant]](s.call("user:cy", "GET", "/v1/grants?state=active&limit=100", nil).is(200)).Items {
			if g.State != "active" {
				t.Errorf("%s is %s", g.ID, g.State)
			}
		}
		s.call("user:cy", "GET", "/v1/grants?state=alive", nil).is(422)
	})
}

// TestRevocations: everything of one person or resource, by admins and owners.
//
// Invariant: A5, A38
func TestRevocations(t *testing.T) {
	s := serve(t)
	one, token := s.pass(time.Hour)
	r := s.granted("user:ana", "open-api", "docs", time.Hour)
	other := s.token("user:ana", r)
	s.call("user:ana", "POST", "/v1/revocations", m{"principal": "user:cy", "reason": "x"}).is(403)
	s.call("user:eve", "POST", "/v1/revocations", m{"resource": "open-api", "reason": "x"})
	s.call("user:ada", "POST", "/v1/revocations", m{"principal": "user:cy", "resource": "open-api", "reason": "x"}).is(422)
	s.call("user:ada", "POST", "/v1/revocations", m{"reason": "x"}).is(422)
	s.through(token, "GET", "open-api", "/x").is(200)

	ended := decode[api.Revocation](s.call("user:ada", "POST", "/v1/revocations", m{"principal": "user:cy", "reason": "laptop stolen"}).is(200))
	if len(ended.Grants) != 1 || ended.Grants[0].ID != one.Grant.ID {
		t.Errorf("%+v", ended)
	}
	s.through(token, "GET", "open-api", "/x").is(401)
	s.through(other, "GET", "open-api", "/docs/x").is(200)
	ended = decode[api.Revocation](s.call("user:cy", "POST", "/v1/revocations", m{"resource": "open-api", "reason": "leak"}).is(200))
	if len(ended.Grants) != 1 || ended.Grants[0].ID != r.Grant.ID {
		t.Errorf("%+v", ended)
	}
	s.through(other, "GET", "open-api", "/docs/x").is(401)
}

// TestTokens: API tokens are shown once, end at once, and do not lend rights.
//
// Invariant: A21
// Attack: TOK-10, TOK-14
func TestTokens(t *testing.T) {
	s := serve(t)
	a := s.call("user:ana", "POST", "/v1/tokens", m{"name": "laptop", "ttl": "1h"}, "Idempotency-Key", "t1").is(201)
	made := decode[api.Token](a)
	if made.Secret == nil || !strings.HasPrefix(*made.Secret, "dpat_") || a.header.Get("Location") != "/v1/tokens/"+made.ID {
		t.Fatalf("%s", a.body)
	}
	if again := decode[api.Token](s.call("user:ana", "POST", "/v1/tokens", m{"name": "laptop", "ttl": "1h"}, "Idempotency-Key", "t1").is(201)); again.ID != made.ID || again.Secret != nil {
		t.Error("a replay shows the secret, or made another token")
	}
	s.call(*made.Secret, "GET", "/v1/me", nil).is(200)
	s.call("user:ana", "GET", "/v1/me", nil).is(200) // the other one goes on
	if list := s.call("user:ana", "GET", "/v1/tokens", nil).is(200); strings.Contains(string(list.body), *made.Secret) || !strings.Contains(string(list.body), made.ID) {
		t.Errorf("%s", list.body)
	}
	s.call("user:cy", "DELETE", "/v1/tokens/"+made.ID, nil).is(404, "not_found")
	s.call("user:cy", "POST", "/v1/tokens", m{"principal": "user:ana", "ttl": "1h"}).is(403)
	s.call("user:ana", "POST", "/v1/tokens", m{"ttl": "0s"}).is(422)
	bot := decode[api.Token](s.call("user:ada", "POST", "/v1/tokens", m{"principal": "service:orders", "ttl": "24h"}).is(201))
	if me := decode[api.Me](s.call(*bot.Secret, "GET", "/v1/me", nil).is(200)); me.ID != "service:orders" || me.Owner != "user:cy" {
		t.Errorf("%+v", me)
	}
	s.call("user:ana", "DELETE", "/v1/tokens/"+made.ID, nil).is(204)
	s.call(*made.Secret, "GET", "/v1/me", nil).is(401)
	s.kill()
	s.start()
	s.call(*made.Secret, "GET", "/v1/me", nil).is(401)
	s.call(*bot.Secret, "GET", "/v1/me", nil).is(200)
}

// TestIssuingOff: nothing is approved or issued, ends go on, and the switch
// stays where it is across a crash.
//
// Invariant: A38
func TestIssuingOff(t *testing.T) {
	s := serve(t)
	one, token := s.pass(time.Hour)
	waiting := s.pending("user:cy", "two-api", "all", time.Minute)
	s.approve("user:bo", waiting).is(200)
	s.call("user:ana", "PUT", "/v1/issuing", m{"enabled": false}).is(403)
	s.call("user:ada", "PUT", "/v1/issuing", m{}).is(422)
	if v := decode[api.Issuing](s.call("user:ada", "PUT", "/v1/issuing", m{"enabled": false}).is(200)); v.Enabled {
		t.Error("it is still on")
	}
	for range 2 {
		for what, a := range map[string]answer{
			"a request":    s.call("user:ana", "POST", "/v1/requests", ask("orders-api", "read", time.Minute)),
			"an approval":  s.approve("user:dan", waiting),
			"a credential": s.call("user:cy", "POST", "/v1/grants/"+one.Grant.ID+"/credentials", m{"format": "token"}),
			"an extension": s.call("user:cy", "POST", "/v1/grants/"+one.Grant.ID+"/extend", m{"duration": "1m", "reason": "x"}),
		} {
			if a.status == 201 || a.status == 200 && a.request().Grant != nil || a.status >= 500 && a.status != 503 {
				t.Errorf("%s while issuing is off: %d %s", what, a.status, a.body)
			}
			t.Logf("%s while issuing is off: %d %s", what, a.status, a.problem().Code)
		}
		s.kill()
		s.start()
	}
	s.through(token, "GET", "open-api", "/x").is(200)
	s.call("user:ada", "POST", "/v1/grants/"+one.Grant.ID+"/revoke", nil).is(200)
	s.through(token, "GET", "open-api", "/x").is(401)
	s.call("user:ada", "PUT", "/v1/issuing", m{"enabled": true}).is(200)
	s.granted("user:ana", "orders-api", "read", time.Minute)
	if a := s.approve("user:ada", waiting); a.status != 200 && a.status != 409 {
		t.Errorf("after it was switched on: %d %s", a.status, a.body)
	}
	if n := len(s.events("&type=issuing.changed")); n != 2 {
		t.Errorf("%d switches were recorded", n)
	}
}
