package live

import "encoding/json"

// holders are the grants that were not ended, by whose they are and of what. A
// grant is in the list of its pair by two numbers of its own, so that a pair
// costs one slot of a table, and leaving a long list is one step.
type holders struct {
	x     *Index
	hash  func(principal, resource string) uint64
	heads table // of entries
}

func (h *holders) init(x *Index) {
	h.x = x
	h.hash = func(principal, resource string) uint64 { return x.shared.hash(principal, resource) }
}

func (h *holders) pair(r ref) (principal, resource string) {
	e := h.x.entries.at(r)
	return h.x.parties.at(e.party).principal, h.x.terms.at(e.terms).resource
}

func (h *holders) key(r ref) uint64 { return h.hash(h.pair(r)) }

// first returns the place of the first of a pair's list, nil when there is no
// list.
func (h *holders) first(principal, resource string) *ref {
	return h.heads.find(h.hash(principal, resource), func(r ref) bool {
		whose, what := h.pair(r)
		return whose == principal && what == resource
	})
}

// enter puts a grant in front of its pair's list.
func (h *holders) enter(r ref, e *entry) {
	first := h.first(h.pair(r))
	if first == nil {
		h.heads.insert(r, h.key(r), h.key)
		return
	}
	e.next, h.x.entries.at(*first).prev = *first, r
	*first = r
}

// leave takes a grant, which is in its pair's list, out of it.
func (h *holders) leave(r ref, e *entry) {
	switch {
	case e.prev != 0:
		h.x.entries.at(e.prev).next = e.next
	case e.next != 0:
		*h.first(h.pair(r)) = e.next
	default:
		h.heads.remove(r, h.key(r), h.key)
	}
	if e.next != 0 {
		h.x.entries.at(e.next).prev = e.prev
	}
	e.prev, e.next = 0, 0
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
	for r := *first; r != 0; {
		e := x.entries.at(r)
		if _, _, over := x.over(e, now); !over && e.started(now) {
			if t := x.terms.at(e.terms); covers(t.incarnation, t.scope) {
				return x.view(r)
			}
		}
		r = e.next
	}
	return nil
}
