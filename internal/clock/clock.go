// Package clock is the effective clock of one node: it never goes back, not
// even when the wall clock is set back or the process was killed in between.
//
//	effective = max(wall, last mark + time elapsed since that mark)
//
// Elapsed time comes from the monotonic clock while the process lives, and
// across restarts of the process from the machine's boot-time clock where the
// system has one (Linux), so that a wall clock set back during a restart
// neither revives a grant nor stops time.
//
// It refuses to sleep or to wake anybody.
package clock

import (
	"sync"
	"sync/atomic"
	"time"
)

// Mark is a point of effective time that the store keeps.
type Mark struct {
	At   time.Time     // effective time
	Boot string        // boot ID of the machine; "" where it has none
	Up   time.Duration // boot-time clock when the mark was made
}

// Clock gives effective time. It is safe for concurrent use.
type Clock struct {
	wall   func() time.Time // with monotonic reading
	uptime func() (boot string, up time.Duration)

	mu   sync.Mutex // of those who move the anchor
	now  atomic.Pointer[anchor]
	last atomic.Int64 // Unix nanoseconds: the latest that Now has said
}

// anchor is an instant of effective time and the reading that it belongs to.
type anchor struct {
	base time.Time // effective time at ref, without monotonic reading
	ref  time.Time // wall reading with monotonic part, taken together with base
}

// at is effective time at a reading, as far as a knows.
func (a *anchor) at(now time.Time) time.Time {
	// Sub uses the monotonic readings, so a wall clock set back does not count.
	if elapsed := now.Sub(a.ref); elapsed > 0 {
		return a.base.Add(elapsed)
	}
	return a.base
}

// New returns a clock that never shows less than what last and the time since
// then demand.
func New(last Mark) *Clock { return NewFrom(last, time.Now, uptime) }

// NewFrom is New on other clocks than the machine's: those of a simulation.
func NewFrom(last Mark, wall func() time.Time, up func() (string, time.Duration)) *Clock {
	c := &Clock{wall: wall, uptime: up}
	// Here before the wall clock, and in Mark after it: the time between two
	// readings must never count as passed, or effective time would get ahead of
	// a wall clock that is right, and further with each start.
	boot, now := up()
	a := &anchor{ref: wall()}
	a.base = a.ref.Round(0)
	floor := last.At
	if elapsed := now - last.Up; boot != "" && boot == last.Boot && elapsed > 0 {
		floor = floor.Add(elapsed)
	}
	if floor.After(a.base) {
		a.base = floor
	}
	c.now.Store(a)
	c.last.Store(a.base.UnixNano())
	return c
}

// Now returns effective time in UTC, in full precision and without a monotonic
// reading. It never goes back. It takes no lock unless the wall clock is ahead
// of what the time since the last anchor explains: somebody set it forward.
func (c *Clock) Now() time.Time {
	now := c.wall()
	effective := c.now.Load().at(now)
	if w := now.Round(0); w.After(effective) {
		effective = c.forward(w, now)
	}
	return c.reached(effective, now)
}

// reached returns t, or what was said before where that is later.
func (c *Clock) reached(t, reading time.Time) time.Time {
	for at := t.UnixNano(); ; {
		last := c.last.Load()
		if at <= last {
			if reading == reading.Round(0) { //nolint:revive,staticcheck // the monotonic part is what is compared
				c.back()
			}
			return time.Unix(0, last).UTC()
		}
		if c.last.CompareAndSwap(last, at) {
			return t.UTC()
		}
	}
}

// forward moves the anchor to a wall clock that is ahead.
func (c *Clock) forward(w, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	effective := c.now.Load().at(now) // somebody else may have moved it meanwhile
	if w.After(effective) {
		effective = w
		c.now.Store(&anchor{base: effective, ref: now})
	}
	return effective
}

// back moves the anchor when the wall clock was set back, so that time runs on
// from what was said last. Only readings without a monotonic part show that:
// with one, an earlier reading is that of somebody slower, and counting from it
// would make time run ahead. Without one it may be too, so that the clock is
// read again: a reading that is taken after something was said is earlier than
// that only where the clock was set back.
func (c *Clock) back() {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := time.Unix(0, c.last.Load()).UTC()
	reading := c.wall()
	if reading.Before(last) && !c.now.Load().at(reading).After(last) {
		c.now.Store(&anchor{base: last, ref: reading})
	}
}

// Mark returns the present as something that the store can keep.
func (c *Clock) Mark() Mark {
	at := c.Now()
	boot, up := c.uptime()
	return Mark{At: at, Boot: boot, Up: up}
}

// Behind returns by how much the wall clock is behind effective time: more
// than a little says that somebody set it back, or forward before.
func (c *Clock) Behind() time.Duration {
	now := c.Now()
	if d := now.Sub(c.wall().Round(0)); d > 0 {
		return d
	}
	return 0
}
