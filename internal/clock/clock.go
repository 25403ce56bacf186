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

	mu   sync.Mutex
	base time.Time // effective time at ref, without monotonic reading
	ref  time.Time // wall reading with monotonic part, taken together with base
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
	c.ref = wall()
	c.base = c.ref.Round(0)
	floor := last.At
	if elapsed := now - last.Up; boot != "" && boot == last.Boot && elapsed > 0 {
		floor = floor.Add(elapsed)
	}
	if floor.After(c.base) {
		c.base = floor
	}
	return c
}

// Now returns effective time in UTC, in full precision and without a monotonic
// reading. It never goes back.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.wall()
	effective := c.base
	// Sub uses the monotonic readings, so a wall clock set back does not count.
	if elapsed := now.Sub(c.ref); elapsed > 0 {
		effective = c.base.Add(elapsed)
	}
	if w := now.Round(0); w.After(effective) {
		effective = w
	}
	c.base, c.ref = effective, now
	return effective.UTC()
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
