package live

import "hash/maphash"

// holders are the grants that were not ended, by whose they are and of what. A
// grant is in the list of its pair by two pointers of its own, so that a pair
// costs one slot of a map of 64-bit keys, and leaving a long list is one step.
// Pairs whose keys collide share a list; whoever walks it compares.
type holders struct {
	seed  maphash.Seed
	first map[uint64]*entry
}

func newHolders() holders {
	return holders{seed: maphash.MakeSeed(), first: make(map[uint64]*entry)}
}

func (h *holders) key(principal, resource string) uint64 {
	var m maphash.Hash
	m.SetSeed(h.seed)
	_, _ = m.WriteString(principal)
	_ = m.WriteByte(0)
	_, _ = m.WriteString(resource)
	return m.Sum64()
}

// enter puts e in front of its pair's list.
func (h *holders) enter(e *entry) {
	key := h.key(e.Principal, e.Resource)
	if e.next = h.first[key]; e.next != nil {
		e.next.prev = e
	}
	h.first[key] = e
}

// leave takes e out of its pair's list; it does nothing for an e that is in
// none.
func (h *holders) leave(e *entry) {
	switch {
	case e.prev != nil:
		e.prev.next = e.next
	default:
		key := h.key(e.Principal, e.Resource)
		if h.first[key] != e {
			return
		}
		if e.next == nil {
			delete(h.first, key)
		} else {
			h.first[key] = e.next
		}
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

// Held returns a grant of principal on resource that gives access at this
// instant and that covers says yes to, the newest first; nil when there is
// none. covers must be quick and must not call the index: changes wait for it.
// Held itself allocates nothing.
func (x *Index) Held(principal, resource string, covers func(*Grant) bool) *Grant {
	key := x.held.key(principal, resource)
	x.mu.RLock()
	defer x.mu.RUnlock()
	now := x.now()
	for e := x.held.first[key]; e != nil; e = e.next {
		if e.Principal != principal || e.Resource != resource || now.Before(e.StartsAt) {
			continue
		}
		if _, _, over := e.over(now); !over && covers(&e.Grant) {
			return &e.Grant
		}
	}
	return nil
}
