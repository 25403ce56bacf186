package chaos

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/daypass/daypass/api"
)

// actors are what goes on at the same time, each for as long as the server
// lives and until stop. Each draws from a stream of its own.
func (w *world) actors(stop <-chan struct{}) {
	acts := []func(*rand.Rand, <-chan struct{}){
		w.automatic("user:cy"), w.automatic("user:dan"), w.staged("user:ana", "two-api", "all"), w.staged("user:cy", "orders-api", "write"),
		w.staged("service:ci-deploy", "two-api", "all"), w.streams("user:ana"), w.later("user:dan"), w.administers, w.tokens("user:ana"),
	}
	for i, act := range acts {
		draw := w.draw(uint64(i) + 1)
		w.group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if w.gone() {
					return
				}
				act(draw, stop)
			}
		})
	}
}

// durations are short ones, which end during the run, and long ones.
func duration(draw *rand.Rand) time.Duration {
	return []time.Duration{time.Second, time.Second, 2 * time.Second, time.Hour}[draw.IntN(4)]
}

// automatic asks for what policy grants, uses it, and ends some of it.
func (w *world) automatic(who string) func(*rand.Rand, <-chan struct{}) {
	return func(draw *rand.Rand, _ <-chan struct{}) {
		r, ok := w.ask(who, "open-api", "all", duration(draw), nil)
		if !ok || r.Grant == nil {
			return
		}
		if draw.IntN(4) == 0 {
			w.issue(who, r.Grant.ID, "jwt")
		}
		secret, ok := w.issue(who, r.Grant.ID, "token")
		if !ok {
			return
		}
		for range 1 + draw.IntN(3) {
			w.use(secret, r.Grant.ID, "open-api")
		}
		w.introspect(secret, r.Grant.ID)
		switch draw.IntN(5) {
		case 0:
			w.call("user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", m{"reason": "enough"}, "")
		case 1:
			w.call(who, "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil, "")
		case 2:
			w.call(who, "POST", "/v1/grants/"+r.Grant.ID+"/extend", m{"duration": "5s", "reason": "more"}, w.key())
		case 3:
			if draw.IntN(4) == 0 {
				w.call("user:ada", "POST", "/v1/revocations", m{"principal": who, "reason": "all of it"}, w.key())
			}
		}
		w.use(secret, r.Grant.ID, "open-api")
		w.introspect(secret, r.Grant.ID)
	}
}

// staged asks for what people decide. They decide at once, some of them twice,
// some who may not.
func (w *world) staged(who, resource, role string) func(*rand.Rand, <-chan struct{}) {
	return func(draw *rand.Rand, _ <-chan struct{}) {
		r, ok := w.ask(who, resource, role, duration(draw), nil)
		if !ok {
			return
		}
		w.decide(draw, r)
		c := w.call(who, "GET", "/v1/requests/"+r.ID, nil, "")
		if !c.Acknowledged() || !c.Into(&r) {
			return
		}
		if r.State == "pending" {
			// What nobody has decided must not fill the queue.
			w.call(who, "POST", "/v1/requests/"+r.ID+"/cancel", nil, "")
		}
		if r.Grant == nil {
			return
		}
		if secret, ok := w.issue(who, r.Grant.ID, "token"); ok {
			w.use(secret, r.Grant.ID, resource)
		}
		if draw.IntN(2) == 0 {
			c := w.call(who, "POST", "/v1/grants/"+r.Grant.ID+"/extend", m{"duration": "3s", "reason": "more"}, w.key())
			var x api.Request
			if c.Acknowledged() && c.Into(&x) {
				w.decide(draw, x)
				if draw.IntN(2) == 0 {
					w.call("user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil, "")
				}
			}
		}
	}
}

// decide has everybody decide on a request at the same time.
func (w *world) decide(draw *rand.Rand, r api.Request) {
	voters := []string{"user:bo", "user:dan", "user:cy", "user:ada", "user:ana", "user:ana-admin", "service:ci-deploy", "user:eve"}
	draw.Shuffle(len(voters), func(i, j int) { voters[i], voters[j] = voters[j], voters[i] })
	// Those who decide two stages come one after the other.
	var group sync.WaitGroup
	for _, by := range voters[:3+draw.IntN(len(voters)-2)] {
		decision, hash, narrower := "approve", r.ContentHash, draw.IntN(6) == 0
		switch draw.IntN(10) {
		case 0:
			decision = "deny"
		case 1:
			hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
		}
		twice := draw.IntN(3) == 0
		group.Go(func() {
			body := m{"decision": decision, "content_hash": hash, "comment": "as " + by}
			if narrower && decision == "approve" {
				body["duration"] = "1s"
			}
			for {
				key := w.key()
				w.call(by, "POST", "/v1/requests/"+r.ID+"/reviews", body, key)
				if !twice {
					return
				}
				twice = false
			}
		})
	}
	if draw.IntN(8) == 0 {
		group.Go(func() { w.call(r.Requester, "POST", "/v1/requests/"+r.ID+"/cancel", nil, "") })
	}
	group.Wait()
}

// streams opens streams, and has them cut.
func (w *world) streams(who string) func(*rand.Rand, <-chan struct{}) {
	return func(draw *rand.Rand, stop <-chan struct{}) {
		r, ok := w.ask(who, "open-api", "all", duration(draw), nil)
		if !ok || r.Grant == nil {
			return
		}
		secret, ok := w.issue(who, r.Grant.ID, "token")
		if !ok {
			return
		}
		var streams sync.WaitGroup
		streams.Go(func() { w.stream(secret, r.Grant.ID, "open-api") })
		select {
		case <-stop:
		case <-time.After(time.Duration(20+draw.IntN(60)) * time.Millisecond):
		}
		switch draw.IntN(3) {
		case 0:
			w.call("user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil, "")
		case 1:
			c := w.call("user:ada", "GET", "/v1/sessions", nil, "")
			var list api.List[api.Session]
			if c.Acknowledged() && c.Into(&list) {
				for _, s := range list.Items {
					if s.Grant == r.Grant.ID {
						w.call("user:ada", "DELETE", "/v1/sessions/"+s.ID, nil, "")
					}
				}
			}
		}
		w.group.Go(streams.Wait) // the longest lives until its grant ends, or the server
		w.use(secret, r.Grant.ID, "open-api")
	}
}

// later asks for a start that lies ahead.
func (w *world) later(who string) func(*rand.Rand, <-chan struct{}) {
	return func(draw *rand.Rand, stop <-chan struct{}) {
		at := time.Now().Add(time.Duration(50+draw.IntN(150)) * time.Millisecond)
		r, ok := w.ask(who, "open-api", "all", time.Second, m{"start_at": api.TimeOf(at).String()})
		if !ok || r.Grant == nil {
			return
		}
		if draw.IntN(4) == 0 {
			w.call(who, "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil, "")
		}
		select {
		case <-stop:
		case <-time.After(time.Until(at)):
		}
		if secret, ok := w.issue(who, r.Grant.ID, "token"); ok {
			w.use(secret, r.Grant.ID, "open-api")
		}
	}
}

// administers changes what decisions rest on, one thing after the other, in an
// order that is shuffled anew each time round.
func (w *world) administers(draw *rand.Rand, stop <-chan struct{}) {
	catalog := func() {
		w.call("user:ada", "PUT", "/v1/catalog", catalogText(w.files.Tokens, w.files.Service.URL(), 1+draw.IntN(50)), "")
	}
	issuing := func() {
		w.call("user:ada", "PUT", "/v1/issuing", m{"enabled": false}, "")
		w.call("user:ada", "PUT", "/v1/issuing", m{"enabled": true}, "")
	}
	rotate := func() { w.call("user:ada", "POST", "/v1/keys/rotate", nil, "") }
	list := func() { w.call("user:ada", "GET", fmt.Sprintf("/v1/requests?limit=%d", 1+draw.IntN(50)), nil, "") }
	deck := []func(){catalog, catalog, issuing, rotate, list}
	draw.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	for _, act := range deck {
		act()
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(10+draw.IntN(40)) * time.Millisecond):
		}
		if w.gone() {
			return
		}
	}
}

// tokens makes API tokens and revokes some.
func (w *world) tokens(who string) func(*rand.Rand, <-chan struct{}) {
	return func(draw *rand.Rand, _ <-chan struct{}) {
		c := w.call(who, "POST", "/v1/tokens", m{"ttl": "1h", "name": "laptop"}, w.key())
		var t api.Token
		if c.Acknowledged() && c.Into(&t) && draw.IntN(2) == 0 {
			w.call(who, "DELETE", "/v1/tokens/"+t.ID, nil, "")
		}
	}
}
