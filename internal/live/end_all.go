package live

import (
	"slices"
	"time"
)

// Count returns how many grants match that were not ended. It does not ask for
// the time: those whose end has come, and is not yet known to be on record, are
// among them.
func (x *Index) Count(match func(principal, resource string) bool) (n int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for r := range x.grants.all {
		e := x.entries.at(r)
		if e.ended.Load() == 0 && match(x.parties.at(e.party).principal, x.terms.at(e.terms).resource) {
			n++
		}
	}
	return n
}

// markTogether is how many grants are marked as ended while checks wait: less
// than a millisecond.
const markTogether = 8192

// EndAll ends, as End does, every grant whose principal and resource match
// gives a reason for, and returns how many those were. First all of them give
// access no more, within milliseconds however many they are; what follows from
// the end of each, its watchers and the place that it has, comes after that.
func (x *Index) EndAll(match func(principal, resource string) (reason string, ok bool), at time.Time) int {
	type ending struct {
		place  place
		reason string
		marked bool // by us: else it ended or was forgotten meanwhile
	}
	var all []ending
	x.mu.RLock()
	for r := range x.grants.all {
		e := x.entries.at(r)
		if e.ended.Load() != 0 {
			continue
		}
		if reason, ok := match(x.parties.at(e.party).principal, x.terms.at(e.terms).resource); ok {
			all = append(all, ending{place: place{e.name, r}, reason: reason})
		}
	}
	x.mu.RUnlock()
	for some := range slices.Chunk(all, markTogether) {
		x.mu.Lock()
		for i := range some {
			w := &some[i]
			if e := x.in(w.place); e != nil && e.ended.Load() == 0 {
				x.mark(e, at, w.reason)
				w.marked = true
			}
		}
		x.mu.Unlock()
	}
	for _, w := range all {
		if !w.marked {
			continue
		}
		x.mu.Lock()
		x.settle(w.place.at, x.entries.at(w.place.at)) // there still: it is forgotten only after this
		x.mu.Unlock()
		x.watchers.fire(w.place, w.reason)
	}
	return len(all)
}
