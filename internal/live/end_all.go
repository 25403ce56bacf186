package live

import "time"

// EndAll ends, as End does, every grant whose principal and resource match
// gives a reason for, and returns how many those were.
func (x *Index) EndAll(match func(principal, resource string) (reason string, ok bool), at time.Time) int {
	type ended struct {
		entry  *entry
		reason string
	}
	var all []ended
	x.mu.RLock()
	for e := range x.grants.all {
		if e.ended.Load() != 0 {
			continue
		}
		if reason, ok := match(e.party.principal, e.terms.resource); ok {
			all = append(all, ended{e, reason})
		}
	}
	x.mu.RUnlock()
	for _, e := range all {
		x.mu.Lock()
		done := x.end(e.entry, at, e.reason)
		x.mu.Unlock()
		if done {
			x.watchers.fire(e.entry, e.reason)
		}
	}
	return len(all)
}
