package live

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fakeClock is an effective clock that tests move.
type fakeClock struct{ ms atomic.Int64 }

func (c *fakeClock) now() time.Time { return epoch.Add(time.Duration(c.ms.Load()) * time.Millisecond) }

func hashOf(n uint64) (h Hash) {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24), 1})
	_, _ = r.Read(h[:])
	return h
}

func grant(id string) Grant {
	return Grant{ID: id, Request: "req_1", Principal: "user:ana", Resource: "orders-api", Incarnation: "inc", Kind: "http", Scope: []byte(`{}`), StartsAt: epoch}
}

// Invariant: A1
// Attack: TOK-06
func TestCheckIsExactAtTheInstantOfExpiry(t *testing.T) {
	now := epoch.Add(-time.Nanosecond)
	x := New(func() time.Time { return now })
	end := epoch.Add(time.Minute)
	x.Put(grant("grt_1"), end)
	x.PutCredential(Credential{Hash: hashOf(1), Grant: "grt_1", Kind: KindToken})
	x.PutCredential(Credential{Hash: hashOf(2), Grant: "grt_1", Kind: KindCookie, Host: "h", ExpiresAt: epoch.Add(30 * time.Second)})
	for _, c := range []struct {
		at            time.Time
		token, cookie State
	}{
		{epoch.Add(-time.Nanosecond), NotYet, NotYet},
		{epoch, Live, Live},
		{epoch.Add(30*time.Second - time.Nanosecond), Live, Live},
		{epoch.Add(30 * time.Second), Live, Ended},
		{end.Add(-time.Nanosecond), Live, Ended},
		{end, Ended, Ended},
		{end.Add(time.Hour), Ended, Ended},
	} {
		now = c.at
		if got := x.Check(hashOf(1)); got.State != c.token {
			t.Errorf("%v: token %v", c.at, got.State)
		} else if c.token == Ended && (got.Reason != ReasonExpired || !got.EndedAt.Equal(end)) {
			t.Errorf("%v: ended %q at %v", c.at, got.Reason, got.EndedAt)
		}
		if got := x.Check(hashOf(2)).State; got != c.cookie {
			t.Errorf("%v: cookie %v", c.at, got)
		}
		g, _ := x.Grant("grt_1")
		if x.LiveAt(g, c.at) != (c.token == Live) {
			t.Errorf("%v: LiveAt", c.at)
		}
	}
	if x.Check(hashOf(3)).State != Unknown {
		t.Error("an unknown credential is not unknown")
	}
}

// An expiry between two milliseconds is rounded down.
//
// Invariant: A3
func TestExpiryIsRoundedDown(t *testing.T) {
	now := epoch
	x := New(func() time.Time { return now })
	x.Put(grant("grt_1"), epoch.Add(1999*time.Microsecond))
	x.PutCredential(Credential{Hash: hashOf(1), Grant: "grt_1"})
	now = epoch.Add(time.Millisecond)
	if x.Check(hashOf(1)).State != Ended {
		t.Error("rounded up")
	}
}

// A start between two milliseconds is rounded up.
//
// Invariant: A1
func TestAStartIsRoundedUp(t *testing.T) {
	now := epoch.Add(time.Microsecond)
	x := New(func() time.Time { return now })
	g := grant("grt_1")
	g.StartsAt = now
	x.Put(g, epoch.Add(time.Hour))
	x.PutCredential(Credential{Hash: hashOf(1), Grant: "grt_1"})
	if got := x.Check(hashOf(1)).State; got != NotYet {
		t.Errorf("rounded down: %v", got)
	}
	if now = epoch.Add(time.Millisecond); x.Check(hashOf(1)).State != Live {
		t.Error("rounded up by too much")
	}
}

// Invariant: A2
func TestAnEndIsFinal(t *testing.T) {
	clock := &fakeClock{}
	x := New(clock.now)
	x.End("grt_late", epoch, ReasonRevoked) // told of the end before the beginning
	for _, id := range []string{"grt_1", "grt_late"} {
		x.Put(grant(id), epoch.Add(time.Hour))
	}
	x.PutCredential(Credential{Hash: hashOf(1), Grant: "grt_1"})
	x.PutCredential(Credential{Hash: hashOf(2), Grant: "grt_late"})
	if x.Check(hashOf(1)).State != Live || x.Check(hashOf(2)).State == Live {
		t.Fatal("states")
	}
	if _, ok := x.Grant("grt_late"); ok {
		t.Error("a grant of which only the end is known")
	}
	at := epoch.Add(10 * time.Minute)
	x.End("grt_1", at, ReasonRevoked)
	x.End("grt_1", at.Add(time.Minute), ReasonReturned)
	x.Extend("grt_1", epoch.Add(2*time.Hour))
	x.Put(grant("grt_1"), epoch.Add(3*time.Hour))
	x.PutCredential(Credential{Hash: hashOf(3), Grant: "grt_1"})
	for _, n := range []uint64{1, 3} {
		if c := x.Check(hashOf(n)); c.State != Ended || c.Reason != ReasonRevoked || !c.EndedAt.Equal(at) || c.Grant().ID != "grt_1" {
			t.Errorf("%+v", c)
		}
	}
	if g, _ := x.Grant("grt_1"); !g.ExpiresAt().Equal(epoch.Add(time.Hour)) {
		t.Errorf("the end of an ended grant moved to %v", g.ExpiresAt())
	}
}

func TestEndCredential(t *testing.T) {
	x := New((&fakeClock{}).now)
	x.Put(grant("grt_1"), epoch.Add(time.Hour))
	x.PutCredential(Credential{Hash: hashOf(1), Grant: "grt_1"})
	x.PutCredential(Credential{Hash: hashOf(2), Grant: "grt_1"})
	x.EndCredential(hashOf(1))
	x.EndCredential(hashOf(9))
	x.PutCredential(Credential{Hash: hashOf(1), Grant: "grt_1"}) // changes nothing
	if c := x.Check(hashOf(1)); c.State != Ended || c.Reason != ReasonCredentialEnded {
		t.Errorf("%+v", c)
	}
	if x.Check(hashOf(2)).State != Live {
		t.Error("the other credential ended too")
	}
}

func TestTombstonesAreBounded(t *testing.T) {
	x := New((&fakeClock{}).now)
	const n = Tombstones + 100
	for i := range uint64(n) {
		id := fmt.Sprintf("grt_%d", i)
		x.Put(grant(id), epoch.Add(time.Hour))
		x.PutCredential(Credential{Hash: hashOf(i), Grant: id})
		x.End(id, epoch, ReasonReturned)
	}
	if g, c := x.Len(); g != 0 || c != Tombstones {
		t.Errorf("%d grants, %d credentials", g, c)
	}
	if x.Check(hashOf(0)).State != Unknown || x.Check(hashOf(n-1)).State != Ended {
		t.Error("not the newest are kept")
	}
}

func TestCredentialsWhoseKeysCollide(t *testing.T) {
	x := New((&fakeClock{}).now)
	var hashes []Hash
	for i := range 4 {
		h := hashOf(1)
		h[31] = byte(i)
		hashes = append(hashes, h)
		id := fmt.Sprintf("grt_%d", i)
		x.Put(grant(id), epoch.Add(time.Hour))
		x.PutCredential(Credential{Hash: h, Grant: id})
	}
	for i, h := range hashes {
		if c := x.Check(h); c.Grant() == nil || c.Grant().ID != fmt.Sprintf("grt_%d", i) {
			t.Fatalf("%d: %+v", i, c)
		}
	}
	for _, i := range []int{2, 0, 3} {
		r, c := x.credential(&hashes[i])
		x.creds.remove(r, c.key(), x.proofKey)
		if x.Check(hashes[i]).State != Unknown || x.Check(hashes[1]).State != Live {
			t.Fatalf("after unlinking %d", i)
		}
	}
}

// Invariant: A1, A2
func TestIndexAgreesWithANaiveModel(t *testing.T) {
	type model struct {
		put     bool
		expires int64
		ended   bool
		reason  string
		at      int64
		creds   map[uint64]int64 // expiry; 0 none
	}
	rapid.Check(t, func(t *rapid.T) {
		clock := &fakeClock{}
		x := New(clock.now)
		defer x.Close()
		grants := map[string]*model{}
		get := func(id string) *model {
			if grants[id] == nil {
				grants[id] = &model{creds: map[uint64]int64{}}
			}
			return grants[id]
		}
		ids := rapid.SampledFrom([]string{"a", "b", "c"})
		when := rapid.Int64Range(0, 50)
		at := func(ms int64) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
		next := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				id, ms := ids.Draw(t, "id"), when.Draw(t, "expires")
				x.Put(grant(id), at(ms))
				if m := get(id); !m.ended && !(m.put && !clock.now().Before(at(m.expires))) {
					m.put, m.expires = true, ms
				}
			},
			"extend": func(t *rapid.T) {
				id, ms := ids.Draw(t, "id"), when.Draw(t, "expires")
				moved := x.Extend(id, at(ms))
				m := get(id)
				over := m.put && !m.ended && !clock.now().Before(at(m.expires))
				if m.put && !m.ended && !over {
					m.expires = ms
				}
				if moved == over {
					t.Fatalf("%s was moved: %t, and was over: %t", id, moved, over)
				}
			},
			"end": func(t *rapid.T) {
				id, ms := ids.Draw(t, "id"), when.Draw(t, "at")+1
				x.End(id, at(ms), ReasonRevoked)
				if m := get(id); !m.ended {
					m.ended, m.at, m.reason = true, ms, ReasonRevoked
					if m.put {
						m.at = min(ms, m.expires)
					}
				}
			},
			"credential": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				next++
				c := Credential{Hash: hashOf(next), Grant: id}
				ms := rapid.SampledFrom([]int64{0, 0, 10, 20}).Draw(t, "expires")
				if ms > 0 {
					c.ExpiresAt = at(ms)
				}
				x.PutCredential(c)
				if m := get(id); m.put || m.ended {
					m.creds[next] = ms
				}
			},
			"time": func(t *rapid.T) { clock.ms.Add(rapid.Int64Range(0, 7).Draw(t, "ms")) },
			"": func(t *rapid.T) {
				now := clock.ms.Load()
				known := 0
				for id, m := range grants {
					for n, expires := range m.creds {
						known++
						c := x.Check(hashOf(n))
						want := Live
						switch {
						case m.ended, now >= m.expires, expires > 0 && now >= expires:
							want = Ended
						}
						if c.State != want || c.Grant().ID != id {
							t.Fatalf("%s: %v at %d, want %v of %+v", id, c.State, now, want, m)
						}
						if m.ended && (c.Reason != m.reason || !c.EndedAt.Equal(at(m.at))) {
							t.Fatalf("%s: ended %q at %v, want %+v", id, c.Reason, c.EndedAt, m)
						}
					}
				}
				if _, n := x.Len(); n != known {
					t.Fatalf("%d credentials, want %d", n, known)
				}
			},
		})
	})
}

// Invariant: A1, A5
func TestConcurrentUse(t *testing.T) {
	x := New(time.Now)
	defer x.Close()
	var told atomic.Int64
	var wg sync.WaitGroup
	const grants = 200
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < grants; i += 4 {
				id := fmt.Sprintf("grt_%d", i)
				g := grant(id)
				x.Put(g, time.Now().Add(time.Hour))
				x.PutCredential(Credential{Hash: hashOf(uint64(i)), Grant: id})
				x.Watch(id, func(string) { told.Add(1) })
				stop := x.Watch(id, func(string) { t.Error("told after stop") })
				x.Extend(id, time.Now().Add(2*time.Hour))
				stop()
				x.End(id, time.Now(), ReasonRevoked)
				if x.Check(hashOf(uint64(i))).State != Ended {
					t.Error("live after End returned")
				}
			}
		})
		wg.Go(func() {
			for i := range 20_000 {
				x.Check(hashOf(uint64(i % grants)))
				x.Grant(fmt.Sprintf("grt_%d", i%grants))
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(5 * time.Second); told.Load() != grants; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d watchers were told", told.Load(), grants)
		}
	}
}

func TestWatchIsToldAtTheInstantOfExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New(time.Now)
		defer x.Close()
		start := time.Now()
		var at sync.Map
		put := func(id string, d time.Duration) {
			g := grant(id)
			g.StartsAt = start
			x.Put(g, start.Add(d))
			x.Watch(id, func(reason string) { at.Store(id+" "+reason, time.Since(start)) })
		}
		put("late", 3*time.Second)
		put("soon", 1234*time.Millisecond)
		put("extended", time.Second)
		put("shortened", time.Hour)
		put("ended", time.Hour)
		put("stopped", time.Second)
		x.Watch("stopped", func(string) { t.Error("told after stop") })()
		time.Sleep(500 * time.Millisecond)
		x.Extend("extended", start.Add(2*time.Second))
		x.Extend("shortened", start.Add(600*time.Millisecond))
		x.End("ended", time.Now(), ReasonReturned)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want := map[string]time.Duration{
			"soon expired": 1234 * time.Millisecond, "extended expired": 2 * time.Second, "late expired": 3 * time.Second,
			"shortened expired": 600 * time.Millisecond, "ended returned": 500 * time.Millisecond, "stopped expired": time.Second,
		}
		at.Range(func(k, v any) bool {
			if want[k.(string)] != v.(time.Duration) {
				t.Errorf("%s was told after %v", k, v)
			}
			delete(want, k.(string))
			return true
		})
		if len(want) > 0 {
			t.Errorf("never told: %v", want)
		}
		// Already over, and never known.
		for id, want := range map[string]string{"soon": ReasonExpired, "ended": ReasonReturned, "nobody": ReasonUnknown} {
			var got string
			x.Watch(id, func(reason string) { got = reason })
			synctest.Wait()
			if got != want {
				t.Errorf("%s: %q", id, got)
			}
		}
		// The scheduler rests when nobody watches.
		time.Sleep(2 * linger)
		synctest.Wait()
		x.watchers.mu.Lock()
		if x.watchers.running {
			t.Error("the scheduler runs for nobody")
		}
		x.watchers.mu.Unlock()
		put("again", 10*time.Second)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if _, ok := at.Load("again expired"); !ok {
			t.Error("the scheduler did not start again")
		}
	})
}

// The wall clock set forward ends grants although no timer is due.
//
// Invariant: A1, A4
func TestWatchFollowsAClockThatJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skew atomic.Int64
		x := New(func() time.Time { return time.Now().Add(time.Duration(skew.Load())) })
		defer x.Close()
		start := time.Now()
		g := grant("grt_1")
		g.StartsAt = start
		x.Put(g, start.Add(time.Hour))
		told := time.Duration(0)
		x.Watch("grt_1", func(string) { told = time.Since(start) })
		time.Sleep(time.Second)
		skew.Store(int64(2 * time.Hour))
		time.Sleep(time.Second)
		synctest.Wait()
		if told == 0 || told > time.Second+stride {
			t.Errorf("told after %v", told)
		}
	})
}

// idOf is an ID as a server makes them.
func idOf(prefix string, n int) string {
	h := hashOf(uint64(n))
	return (*name)(h[:16]).id(prefix, "")
}

func benchIndex(n int) *Index {
	x := New(time.Now)
	for i := range n {
		id := idOf("grt", i)
		x.Put(Grant{
			ID: id, Request: idOf("req", i), Principal: fmt.Sprintf("user:u%d", i%5000), Resource: fmt.Sprintf("res-%d", i%200), Incarnation: idOf("inc", i%200),
			Kind: "http", Scope: []byte(fmt.Sprintf(`{"methods":["GET"],"paths":["/v1/%d/**"]}`, i%500)), StartsAt: time.Now().Add(-time.Hour),
		}, time.Now().Add(time.Hour))
		x.PutCredential(Credential{Hash: hashOf(uint64(i)), ID: idOf("cred", i), Grant: id, Kind: KindToken})
	}
	return x
}

func TestCheckDoesNotAllocate(t *testing.T) {
	x := benchIndex(1000)
	h := hashOf(7)
	if n := testing.AllocsPerRun(1000, func() {
		if x.Check(h).State != Live {
			t.Fatal("not live")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// heldBytes is what the heap holds for each of n grants with a token.
func heldBytes(n int) float64 {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	x := benchIndex(n)
	after := heap()
	runtime.KeepAlive(x)
	return float64(after-before) / float64(n)
}

// A grant and its token cost at most 400 bytes of a process, of which the
// collector and the allocator need their part.
func TestMemoryOfAGrant(t *testing.T) {
	if per := heldBytes(100_000); per > 290 {
		t.Errorf("%.0f bytes a grant with its token", per)
	}
}

func BenchmarkMemoryOfAGrant(b *testing.B) {
	per := heldBytes(100_000)
	for b.Loop() { // there is nothing to repeat
	}
	b.ReportMetric(per, "bytes/grant")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := benchIndex(n)
			hashes := make([]Hash, 1024)
			for i := range hashes {
				hashes[i] = hashOf(uint64(i * (n / 1024) % n))
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if x.Check(hashes[i&1023]).State != Live {
						b.Error("not live")
						return
					}
				}
			})
		})
	}
}

func BenchmarkWatchAndStop(b *testing.B) {
	x, id := benchIndex(1000), idOf("grt", 7)
	defer x.Close()
	for b.Loop() {
		x.Watch(id, func(string) {})()
	}
}

// An extension that was decided in time and comes to the index late does not
// revive what a check has denied.
//
// Invariant: A2
func TestAnExpiryThatWasSeenIsFinal(t *testing.T) {
	clock := &fakeClock{}
	x := New(clock.now)
	defer x.Close()
	end := clock.now().Add(time.Minute)
	x.Put(grant("a"), end)
	g, _ := x.Grant("a")
	if !x.Extend("a", end.Add(time.Second)) || !x.LiveAt(g, end) {
		t.Fatal("a live grant was not extended")
	}
	if x.LiveAt(g, end.Add(time.Second)) {
		t.Fatal("live at its end")
	}
	// The clock of the index itself is not there yet: what was told counts.
	if x.Extend("a", end.Add(time.Hour)) || x.LiveAt(g, end) {
		t.Fatal("a grant that was over is live again")
	}
	if got := g.ExpiresAt(); !got.Equal(end.Add(time.Second)) {
		t.Fatalf("it expired at %v", got)
	}
	if !x.Extend("unknown", end) {
		t.Fatal("there is nothing to write down of a grant that is not in the index")
	}
}

// Whoever begins to watch what is over already is told at once, and why:
// between a check and the watch of a session an end may come.
//
// Invariant: A4, A5
func TestWatchingWhatIsOverIsTold(t *testing.T) {
	clock := &fakeClock{}
	x := New(clock.now)
	defer x.Close()
	// What ends earlier and is watched as well must not hide it.
	x.Put(grant("first"), clock.now().Add(time.Second))
	defer x.Watch("first", func(string) {})()
	x.Put(grant("revoked"), clock.now().Add(time.Minute))
	x.End("revoked", clock.now(), ReasonRevoked)
	x.Put(grant("expired"), clock.now())
	for id, want := range map[string]string{"revoked": ReasonRevoked, "expired": ReasonExpired, "unknown": ReasonUnknown} {
		told := make(chan string, 1)
		defer x.Watch(id, func(reason string) { told <- reason })()
		select {
		case got := <-told:
			if got != want {
				t.Errorf("%s: told %q", id, got)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: nobody was told", id)
		}
	}
}
