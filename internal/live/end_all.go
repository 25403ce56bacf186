package live

import "time"

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

// EndAll ends, as End does, every grant whose principal and resource match
// gives a reason for, and returns how many those were.
func (x *Index) EndAll(match func(principal, resource string) (reason string, ok bool), at time.Time) int {
	type ended struct {
		place  place
		reason string
	}
	var all []ended
	x.mu.RLock()
	for r := range x.grants.all {
		e := x.entries.at(r)
		if e.ended.Load() != 0 {
			continue
		}
		if reason, ok := match(x.parties.at(e.party).principal, x.terms.at(e.terms).resource); ok {
			all = append(all, ended{place{e.name, r}, reason})
		}
	}
	x.mu.RUnlock()
	for _, w := range all {
		x.mu.Lock()
		e := x.in(w.place)
		done := e != nil && x.end(w.place.at, e, at, w.reason)
		x.mu.Unlock()
		if done {
			x.watchers.fire(w.place, w.reason)
		}
	}
	return len(all)
}
