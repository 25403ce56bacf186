package daemon_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// acked is what the server said it had done.
type acked struct {
	mu      sync.Mutex
	votes   map[string][]string // request → who voted
	states  map[string]string   // request → state
	grants  map[string]string   // grant → state of its request's answer: "active" or "ended"
	ends    map[string]time.Time
	secrets map[string]string // token → grant
	tokens  map[string]bool   // API token → whether it is good
}

func newAcked() *acked {
	return &acked{votes: map[string][]string{}, states: map[string]string{}, grants: map[string]string{}, ends: map[string]time.Time{}, secrets: map[string]string{}, tokens: map[string]bool{}}
}

func (k *acked) note(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// request notes what an answer shows.
func (k *acked) request(r api.Request) {
	k.note(func() {
		k.states[r.ID] = r.State
		if g := r.Grant; g != nil && k.grants[g.ID] != "ended" {
			k.grants[g.ID], k.ends[g.ID] = g.State, g.ExpiresAt.Time
		}
	})
}

// TestKill kills the server under load, at random moments, again and again on
// the same folder. Whatever it had acknowledged is there, nothing is there by
// half, nothing that is over is alive again, and the record is whole: also
// beside the running server.
//
// Invariant: A2, A30, A34
func TestKill(t *testing.T) {
	s := serve(t)
	k := newAcked()
	for round := range 4 {
		var load sync.WaitGroup
		for i := range 3 {
			load.Go(func() { s.approvals(k, i) })
			load.Go(func() { s.usage(k, i) })
		}
		load.Go(func() { s.rotation(k) })
		if round == 1 {
			time.Sleep(200 * time.Millisecond)
			s.verify() // while all this goes on
		}
		time.Sleep(300*time.Millisecond + rand.N(700*time.Millisecond))
		s.kill()
		load.Wait()
		s.verify()
		s.start()
		s.check(t, k)
	}
	k.note(func() {
		t.Logf("%d requests, %d grants, %d credentials, %d API tokens", len(k.states), len(k.grants), len(k.secrets), len(k.tokens))
		if len(k.grants) < 20 {
			t.Error("that was no load")
		}
	})
	s.recorded(t, k)
	if gaps := s.events("&type=audit.possible_gap"); len(gaps) == 0 {
		t.Error("no unclean stop is on record")
	}
}

// recorded compares the record with what the server said: gapless, and each
// step of a life once.
func (s *server) recorded(t *testing.T, k *acked) {
	t.Helper()
	events := s.events("")
	for i, e := range events {
		if e.Seq != int64(i+1) {
			t.Fatalf("entry %d has seq %d", i+1, e.Seq)
		}
	}
	once := map[string]int{}
	for _, e := range events {
		switch e.Type {
		case "request.created", "request.approved":
			once[e.Type+" "+*e.Request]++
		case "grant.activated", "grant.ended":
			once[e.Type+" "+*e.Grant]++
		}
	}
	for what, n := range once {
		if n != 1 {
			t.Errorf("%s is recorded %d times", what, n)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, state := range k.states {
		if once["request.created "+id] != 1 || state == "approved" && once["request.approved "+id] != 1 {
			t.Errorf("%s, acknowledged as %s, is not on record", id, state)
		}
	}
	for id, state := range k.grants {
		if state == "ended" && once["grant.ended "+id] != 1 {
			t.Errorf("the end of %s is not on record", id)
		}
	}
}

// approvals asks, votes and revokes until the server is gone.
func (s *server) approvals(k *acked, n int) {
	who := []string{"user:cy", "user:ana", "service:ci-deploy"}[n]
	for i := 0; ; i++ {
		a, err := s.try(who, "POST", "/v1/requests", ask("two-api", "all", time.Hour))
		if err != nil {
			return
		}
		if a.status == 429 {
			continue
		}
		r := a.is(202).request()
		k.request(r)
		for _, by := range []string{"user:bo", "user:dan"} {
			a, err := s.try(by, "POST", "/v1/requests/"+r.ID+"/reviews", m{"decision": "approve", "content_hash": r.ContentHash})
			if err != nil {
				return
			}
			r = a.is(200).request()
			k.note(func() { k.votes[r.ID] = append(k.votes[r.ID], by) })
			k.request(r)
		}
		if i%2 == 0 {
			continue
		}
		a, err = s.try("user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil)
		if err != nil {
			return
		}
		a.is(200)
		k.note(func() { k.grants[r.Grant.ID] = "ended" })
	}
}

// usage makes short grants and uses them.
func (s *server) usage(k *acked, n int) {
	for i := 0; ; i++ {
		d := time.Second
		if i%2 == 0 {
			d = time.Hour
		}
		a, err := s.try("user:dan", "POST", "/v1/requests", ask("open-api", "all", d))
		if err != nil {
			return
		}
		r := a.is(201).request()
		k.request(r)
		if a, err = s.try("user:dan", "POST", "/v1/grants/"+r.Grant.ID+"/credentials", nil); err != nil {
			return
		}
		if a.status != 201 {
			continue // a second is short on a busy machine
		}
		secret := *decode[api.Credential](a).Secret
		k.note(func() { k.secrets[secret] = r.Grant.ID })
		for range n + 1 {
			if _, err := s.tryThrough(secret, "GET", "open-api", "/x"); err != nil {
				return
			}
		}
	}
}

// rotation makes API tokens and revokes them.
func (s *server) rotation(k *acked) {
	for {
		a, err := s.try("user:ana", "POST", "/v1/tokens", m{"ttl": "1h"})
		if err != nil {
			return
		}
		made := decode[api.Token](a.is(201))
		k.note(func() { k.tokens[*made.Secret] = true })
		if a, err = s.try("user:ana", "DELETE", "/v1/tokens/"+made.ID, nil); err != nil {
			k.note(func() { delete(k.tokens, *made.Secret) }) // whichever it was
			return
		}
		a.is(204)
		k.note(func() { k.tokens[*made.Secret] = false })
	}
}

// check compares what the server says with what it had said.
func (s *server) check(t *testing.T, k *acked) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, state := range k.states {
		r := s.call("user:bo", "GET", "/v1/requests/"+id, nil).is(200).request()
		if r.State != state && !(state == "pending" && r.State == "approved") {
			t.Errorf("%s was %s and is %s", id, state, r.State)
		}
		if r.State == "approved" && r.Grant == nil || r.State == "pending" && r.Grant != nil {
			t.Errorf("%s is %s with the grant %v", id, r.State, r.Grant)
		}
		var by []string
		for _, v := range r.Reviews {
			by = append(by, v.By)
		}
		if !strings.HasPrefix(strings.Join(by, " "), strings.Join(k.votes[id], " ")) {
			t.Errorf("%s has the votes %v, acknowledged were %v", id, by, k.votes[id])
		}
	}
	for id, state := range k.grants {
		g := decode[api.Grant](s.call("user:bo", "GET", "/v1/grants/"+id, nil).is(200))
		over := time.Now().After(k.ends[id])
		if state == "ended" && g.State != "ended" || state == "active" && !over && g.State != "active" && !revoked(g) {
			t.Errorf("%s was %s and is %s", id, state, g.State)
		}
	}
	for secret, id := range k.secrets {
		over := time.Now().After(k.ends[id])
		a := s.through(secret, "GET", "open-api", "/x")
		if over && a.status != 401 || !over && a.status != 200 && time.Now().Before(k.ends[id]) {
			t.Errorf("the token of %s, over: %v, gets %d", id, over, a.status)
		}
	}
	for secret, good := range k.tokens {
		if a := s.call(secret, "GET", "/v1/me", nil); (a.status == 200) != good {
			t.Errorf("an API token that is good: %v gets %d", good, a.status)
		}
	}
}

// revoked reports whether a revocation ended g that nobody was told of.
func revoked(g api.Grant) bool {
	return g.State == "ended" && g.EndedReason != nil && *g.EndedReason == "revoked"
}
