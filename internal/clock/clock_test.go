package clock

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fake is a wall clock whose wall part can be set while its elapsed time runs
// on, as the monotonic reading of time.Now does.
type fake struct {
	start   time.Time // with monotonic reading
	elapsed time.Duration
	skew    time.Duration
	boot    string
	up      time.Duration
}

// now cannot forge a monotonic reading, so the tests that set the clock back
// drop it: then Sub falls back to the wall, which is the harder case.
func (f *fake) now() time.Time { return f.start.Add(f.elapsed + f.skew) }

func (f *fake) uptime() (string, time.Duration) { return f.boot, f.up }

// Invariant: A1, A2
func TestNeverGoesBack(t *testing.T) {
	f := &fake{start: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	c := NewFrom(Mark{}, f.now, f.uptime)
	last := c.Now()
	for i, skew := range []time.Duration{0, time.Hour, -time.Hour, -30 * time.Second, 0, 87600 * time.Hour, 0, -87600 * time.Hour} {
		f.elapsed += time.Second
		f.skew = skew
		now := c.Now()
		if now.Before(last) {
			t.Fatalf("step %d: %v is before %v", i, now, last)
		}
		last = now
	}
}

// A simulated clock has no monotonic part: set back by less than it ran, it
// runs on from there.
//
// Invariant: A2
func TestTimeRunsOnFromAWallThatWasSetBack(t *testing.T) {
	for _, by := range []time.Duration{time.Minute, 10 * time.Minute, time.Hour} {
		f := &fake{start: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
		c := NewFrom(Mark{}, f.now, f.uptime)
		f.elapsed = 10 * time.Minute
		before := c.Now()
		f.skew = -by
		if got := c.Now(); !got.Equal(before) {
			t.Errorf("set back by %v: %v, want %v", by, got, before)
		}
		f.elapsed += time.Minute
		if got := c.Now().Sub(before); got != time.Minute {
			t.Errorf("set back by %v, it ran %v in a minute", by, got)
		}
		if got := c.Behind(); got != by {
			t.Errorf("set back by %v, it is behind by %v", by, got)
		}
	}
}

// A reading that is late because its goroutine was is not a clock that was set
// back: time must not run ahead because of it.
//
// Invariant: A2
func TestALateReadingIsNotAClockSetBack(t *testing.T) {
	wall := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var meanwhile func()
	c := NewFrom(Mark{}, func() time.Time {
		read := wall
		if f := meanwhile; f != nil {
			meanwhile = nil
			f()
		}
		return read
	}, (&fake{}).uptime)
	meanwhile = func() { // somebody reads the clock half an hour later, and is quicker
		wall = wall.Add(30 * time.Minute)
		c.Now()
	}
	for range 3 {
		if got := c.Now(); !got.Equal(wall) {
			t.Fatalf("it shows %v, the wall clock %v", got, wall)
		}
	}
	if got := c.Behind(); got != 0 {
		t.Errorf("it is ahead by %v", got)
	}
}

// Invariant: A2
func TestMonotonicTimeRunsOnWhenTheWallIsSetBack(t *testing.T) {
	wall := time.Now() // its monotonic part survives Add
	elapsed := time.Duration(0)
	c := NewFrom(Mark{At: wall.Round(0).Add(time.Hour)}, func() time.Time { return wall.Add(elapsed) }, (&fake{}).uptime)
	before := c.Now()
	elapsed = 10 * time.Minute
	if got := c.Now().Sub(before); got != 10*time.Minute {
		t.Fatalf("an hour behind its mark the clock ran %v in 10m", got)
	}
}

// Invariant: A1, A2, A34
func TestRestartWithTheWallSetBack(t *testing.T) {
	f := &fake{start: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), boot: "b1", up: time.Hour}
	mark := NewFrom(Mark{}, f.now, f.uptime).Mark()

	f.skew, f.up = -time.Hour, f.up+10*time.Minute
	if got := NewFrom(mark, f.now, f.uptime).Now(); !got.Equal(mark.At.Add(10 * time.Minute)) {
		t.Errorf("same boot: %v, want ten minutes after %v", got, mark.At)
	}
	f.boot = "b2"
	if got := NewFrom(mark, f.now, f.uptime).Now(); !got.Equal(mark.At) {
		t.Errorf("other boot: %v, want the mark %v", got, mark.At)
	}
	f.boot = ""
	if got := NewFrom(mark, f.now, f.uptime).Now(); got.Before(mark.At) {
		t.Errorf("no boot ID: %v is before the mark %v", got, mark.At)
	}
}

// A clock that is ahead stays ahead: standing still until the wall catches up
// would lengthen every grant.
func TestBehind(t *testing.T) {
	f := &fake{start: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	c := NewFrom(Mark{At: f.start.Add(time.Minute)}, f.now, f.uptime)
	if got := c.Behind(); got != time.Minute {
		t.Errorf("Behind() = %v, want 1m", got)
	}
	f.elapsed = 2 * time.Minute
	if got := c.Behind(); got != time.Minute {
		t.Errorf("Behind() = %v two minutes later, want 1m", got)
	}
}

// However often a process is started, and however long its readings take,
// effective time does not get ahead of a wall clock that is right.
func TestStartsDoNotAddUp(t *testing.T) {
	f := &fake{start: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), boot: "b"}
	slow := func() (string, time.Duration) {
		f.elapsed, f.up = f.elapsed+5*time.Millisecond, f.up+5*time.Millisecond
		boot, up := f.uptime()
		f.elapsed, f.up = f.elapsed+5*time.Millisecond, f.up+5*time.Millisecond
		return boot, up
	}
	mark := Mark{}
	for range 1000 {
		c := NewFrom(mark, f.now, slow)
		if d := c.Behind(); d > 0 {
			t.Fatalf("the wall clock is %v behind", d)
		}
		mark = c.Mark()
	}
}

// What one goroutine was told, another that asks later is told too.
//
// Invariant: A1, A2
func TestNeverGoesBackBesideOthers(t *testing.T) {
	var ahead atomic.Int64
	c := NewFrom(Mark{}, func() time.Time { return time.Now().Round(0).Add(time.Duration(ahead.Load())) }, uptime)
	var latest atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 2000 {
				before := latest.Load()
				now := c.Now().UnixNano()
				if now < before {
					t.Errorf("%d is before %d", now, before)
					return
				}
				for now > before && !latest.CompareAndSwap(before, now) {
					before = latest.Load()
				}
				if i%100 == 0 {
					ahead.Store(int64(i%3-1) * int64(time.Hour)) // set forward, and back
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkNow(b *testing.B) {
	c := New(Mark{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Now()
		}
	})
}

// Without monotonic readings the clock is as if each reading were its anchor.
//
// Invariant: A2
func TestEachReadingCounts(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		wall := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
		c := NewFrom(Mark{}, func() time.Time { return wall }, (&fake{}).uptime)
		want, ref := wall, wall
		for i := range 50 {
			wall = wall.Add(time.Duration(random.IntN(40)-15) * time.Second)
			want = want.Add(max(0, wall.Sub(ref)))
			if ref = wall; wall.After(want) {
				want = wall
			}
			if got := c.Now(); !got.Equal(want) {
				t.Fatalf("seed %d, step %d: %v, want %v", seed, i, got, want)
			}
		}
	}
}
