package live

import (
	"encoding/json"
	"hash/maphash"
)

// holders are the grants that were not ended, by whose they are and of what. A
// grant is in the list of its pair by two pointers of its own, so that a pair
// costs one slot of a table, and leaving a long list is one step.
type holders struct {
	hash  func(principal, resource string) uint64
	heads table[entry]
}

func (h *holders) init() {
	seed := maphash.MakeSeed()
	h.hash = func(principal, resource string) uint64 {
		var m maphash.Hash
		m.SetSeed(seed)
		_, _ = m.WriteString(principal)
		_ = m.WriteByte(0)
		_, _ = m.WriteString(resource)
		return m.Sum64()
	}
	h.heads.key = func(e *entry) uint64 { return h.hash(e.party.principal, e.terms.resource) }
}

// first returns the place of the first of a pair's list, nil when there is no
// list.
func (h *holders) first(principal, resource string) **entry {
	return h.heads.find(h.hash(principal, resource), func(e *entry) bool {
		return e.party.principal == principal && e.terms.resource == resource
	})
}

// enter puts e in front of its pair's list.
func (h *holders) enter(e *entry) {
	first := h.first(e.party.principal, e.terms.resource)
	if first == nil {
		h.heads.insert(e)
		return
	}
	e.next, (*first).prev = *first, e
	*first = e
}

// leave takes e, which is in its pair's list, out of it.
func (h *holders) leave(e *entry) {
	switch {
	case e.prev != nil:
		e.prev.next = e.next
	case e.next != nil:
		*h.first(e.party.principal, e.terms.resource) = e.next
	default:
		h.heads.remove(e)
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

// Held returns a grant of principal on resource that gives access at this
// instant and whose incarnation and scope covers says yes to, the newest first;
// nil when there is none. covers must be quick and must not call the index:
// changes wait for it. Only what is found is made a view, which allocates.
func (x *Index) Held(principal, resource string, covers func(incarnation string, scope json.RawMessage) bool) *Grant {
	x.mu.RLock()
	defer x.mu.RUnlock()
	first := x.held.first(principal, resource)
	if first == nil {
		return nil
	}
	now := x.now()
	for e := *first; e != nil; e = e.next {
		if _, _, over := e.over(now); !over && e.started(now) && covers(e.terms.incarnation, *e.terms.scope) {
			return e.view()
		}
	}
	return nil
}
