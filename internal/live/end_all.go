package live

import "time"

// EndAll ends, as End does, every grant that match gives a reason for, and
// returns how many those were.
func (x *Index) EndAll(match func(*Grant) (reason string, ok bool), at time.Time) int {
	type ended struct{ id, reason string }
	var all []ended
	x.mu.RLock()
	for id, e := range x.grants {
		if e.ended.Load() != 0 {
			continue
		}
		if reason, ok := match(&e.Grant); ok {
			all = append(all, ended{id, reason})
		}
	}
	x.mu.RUnlock()
	for _, e := range all {
		x.End(e.id, at, e.reason)
	}
	return len(all)
}
