package live

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Held finds, and Count counts, what a search through everything finds, at each
// instant.
//
// Invariant: A1, A2
func TestHeldAgreesWithANaiveSearch(t *testing.T) {
	type held struct {
		principal, resource, scope string
		starts, expires            int64
		ended                      bool
	}
	rapid.Check(t, func(t *rapid.T) {
		clock := &fakeClock{}
		x := New(clock.now)
		defer x.Close()
		at := func(ms int64) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
		all := map[string]*held{}
		ids := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
		names := []string{"user:a", "user:b"}
		things := []string{"r1", "r2"}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				id, ms := ids.Draw(t, "id"), rapid.Int64Range(0, 60).Draw(t, "expires")
				if h := all[id]; h != nil {
					x.Put(Grant{ID: id, Principal: "user:other", Resource: "elsewhere"}, at(ms))
					if !h.ended && clock.ms.Load() < h.expires {
						h.expires = ms
					}
					return
				}
				h := &held{
					principal: rapid.SampledFrom(names).Draw(t, "principal"), resource: rapid.SampledFrom(things).Draw(t, "resource"),
					scope: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "scope"), starts: rapid.Int64Range(0, 20).Draw(t, "starts"), expires: ms,
				}
				all[id] = h
				x.Put(Grant{ID: id, Principal: h.principal, Resource: h.resource, Scope: []byte(h.scope), StartsAt: at(h.starts)}, at(ms))
			},
			"extend": func(t *rapid.T) {
				id, ms := ids.Draw(t, "id"), rapid.Int64Range(0, 60).Draw(t, "expires")
				x.Extend(id, at(ms))
				if h := all[id]; h != nil && !h.ended && clock.ms.Load() < h.expires { // what has expired stays so
					h.expires = ms
				}
			},
			"end": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				x.End(id, at(clock.ms.Load()), ReasonRevoked)
				if all[id] == nil {
					all[id] = &held{}
				}
				all[id].ended = true
			},
			"time": func(t *rapid.T) { clock.ms.Add(rapid.Int64Range(0, 7).Draw(t, "ms")) },
			"": func(t *rapid.T) {
				now := clock.ms.Load()
				for _, p := range append(names, "user:other") {
					for _, r := range append(things, "elsewhere") {
						want := 0
						for _, h := range all {
							if !h.ended && h.principal == p && h.resource == r {
								want++
							}
						}
						if n := x.Count(func(principal, resource string) bool { return principal == p && resource == r }); n != want {
							t.Fatalf("%s on %s: %d grants, want %d", p, r, n, want)
						}
						for _, scope := range []string{"x", "y"} {
							want := false
							for _, h := range all {
								want = want || !h.ended && h.principal == p && h.resource == r && h.scope == scope && h.starts <= now && now < h.expires
							}
							got := x.Held(p, r, func(_ string, s json.RawMessage) bool { return string(s) == scope })
							if want != (got != nil) || got != nil && (got.Principal != p || got.Resource != r || string(got.Scope) != scope || !x.LiveAt(got, clock.now())) {
								t.Fatalf("%s on %s, %s at %d: %+v, want one: %t", p, r, scope, now, got, want)
							}
						}
					}
				}
			},
		})
	})
}

// A pair in which nothing is left costs nothing, and a long list of one pair
// is emptied one by one without being walked.
func TestHoldersForget(t *testing.T) {
	x := New(func() time.Time { return epoch })
	const n = 50_000
	for i := range n {
		g := grant(fmt.Sprint("grt_", i))
		if i%2 == 0 {
			g.Principal = fmt.Sprint("user:", i)
		}
		x.Put(g, epoch.Add(time.Hour))
	}
	if x.held.heads.n != n/2+1 {
		t.Fatalf("%d lists", x.held.heads.n)
	}
	for i := range n {
		x.End(fmt.Sprint("grt_", i), epoch, ReasonRevoked)
	}
	if x.held.heads.n != 0 {
		t.Errorf("%d lists are left", x.held.heads.n)
	}
}

// Pairs whose keys collide are told apart.
//
// Invariant: A1
func TestPairsWhoseKeysCollide(t *testing.T) {
	x := New(func() time.Time { return epoch })
	x.held.hash = func(string, string) uint64 { return 7 }
	mine, other := grant("grt_1"), grant("grt_2")
	other.Principal = "user:bo"
	x.Put(mine, epoch.Add(time.Hour))
	x.Put(other, epoch.Add(time.Hour))
	every := func(string, json.RawMessage) bool { return true }
	if g := x.Held(mine.Principal, mine.Resource, every); g == nil || g.ID != "grt_1" {
		t.Errorf("%+v", g)
	}
	if g := x.Held(other.Principal, other.Resource, every); g == nil || g.ID != "grt_2" {
		t.Errorf("%+v", g)
	}
	x.End("grt_1", epoch, ReasonRevoked)
	if g := x.Held(mine.Principal, mine.Resource, every); g != nil {
		t.Errorf("%+v", g)
	}
	if g := x.Held(other.Principal, other.Resource, every); g == nil || g.ID != "grt_2" {
		t.Errorf("%+v", g)
	}
}

func TestHeldDoesNotAllocate(t *testing.T) {
	x := benchIndex(1000)
	if n := testing.AllocsPerRun(100, func() {
		x.Held("user:ana", "orders-api", func(_ string, s json.RawMessage) bool { return len(s) == 0 })
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkHeld is a look-up among a million grants of as many principals.
func BenchmarkHeld(b *testing.B) {
	for _, n := range []int{1, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := New(time.Now)
			names := make([]string, 1024)
			for i := range n {
				g := grant(fmt.Sprintf("grt_%026d", i))
				g.Principal = fmt.Sprint("user:", i)
				x.Put(g, time.Now().Add(time.Hour))
				names[i&1023] = g.Principal
			}
			if n < len(names) {
				names = names[:n]
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if x.Held(names[i%len(names)], "orders-api", func(string, json.RawMessage) bool { return true }) == nil {
					b.Fatal("none")
				}
			}
		})
	}
}
