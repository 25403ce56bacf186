package live

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stride is how often watched deadlines are compared with the clock even
	// when no timer is due: the effective clock can jump ahead of the
	// monotonic one, on which timers run.
	stride = 200 * time.Millisecond
	// linger is how long the scheduler waits for new watchers before it stops.
	linger = time.Second
)

// Watch calls f once, in its own goroutine, as soon as the grant is over, and
// says why; at once if it is over already or not known. After stop returns, a
// call that has not begun will not.
func (x *Index) Watch(grant string, f func(reason string)) (stop func()) {
	n, odd := nameWith(grantPrefix, grant)
	x.mu.RLock()
	p := place{n, x.named(n, odd)}
	x.mu.RUnlock()
	w := &watcher{f: f}
	if p.at == 0 {
		go w.call(ReasonUnknown)
		return func() { w.done.Store(true) }
	}
	x.watchers.add(p, w)
	// Looked at after adding: an End in between either found the watcher or is
	// seen here.
	if reason, over := x.overAt(p, x.now()); over {
		x.watchers.fire(p, reason)
	}
	return func() {
		w.done.Store(true)
		x.watchers.remove(p, w)
	}
}

// overAt says whether and why the grant in this place is over. One that has
// been forgotten is.
func (x *Index) overAt(p place, now time.Time) (reason string, over bool) {
	reason, over = ReasonUnknown, true
	x.look(p, func(e *entry) { _, reason, over = x.over(e, now) })
	return reason, over
}

// watcher is one caller of Watch. It is in the list of its watched grant while
// listed is true.
type watcher struct {
	f          func(reason string)
	done       atomic.Bool
	listed     bool
	prev, next *watcher
}

func (w *watcher) call(reason string) {
	if w.done.CompareAndSwap(false, true) {
		w.f(reason)
	}
}

// watched is a grant that somebody watches. It exists while there is anybody
// in its list.
type watched struct {
	place place
	first *watcher
	at    int64 // Unix milliseconds; its place in the heap
	index int
}

// watchers is the scheduler: one goroutine over a heap of deadlines, running
// only while there is somebody to tell. It asks the index while it holds its
// own lock; so the index never calls it while it holds its own.
type watchers struct {
	x *Index

	mu      sync.Mutex
	heap    deadlines
	watched map[place]*watched
	running bool
	closed  bool
	wake    chan struct{} // capacity 1: the earliest deadline may have changed
}

func (s *watchers) init(x *Index) {
	s.x, s.wake, s.watched = x, make(chan struct{}, 1), make(map[place]*watched)
}

// end is when the grant in this place ends.
func (s *watchers) end(p place) (end int64) {
	s.x.look(p, func(e *entry) { end = e.end() })
	return end
}

func (s *watchers) add(p place, w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	g := s.watched[p]
	if g == nil {
		g = &watched{place: p, at: s.end(p)}
		s.watched[p] = g
		heap.Push(&s.heap, g)
		if g.index == 0 {
			s.poke()
		}
	}
	w.next, w.listed = g.first, true
	if w.next != nil {
		w.next.prev = w
	}
	g.first = w
	if !s.running {
		s.running = true
		go s.run()
	}
}

func (s *watchers) remove(p place, w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.listed {
		return
	}
	w.listed = false
	g := s.watched[p]
	if w.next != nil {
		w.next.prev = w.prev
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		g.first = w.next
	}
	w.prev, w.next = nil, nil
	if g.first == nil {
		heap.Remove(&s.heap, g.index)
		delete(s.watched, p)
	}
}

// moved puts a grant where its new deadline belongs.
func (s *watchers) moved(p place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.watched[p]
	if g == nil {
		return
	}
	g.at = s.end(p)
	heap.Fix(&s.heap, g.index)
	s.poke()
}

// fire tells all watchers of a grant.
func (s *watchers) fire(p place, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fireLocked(p, reason)
}

func (s *watchers) fireLocked(p place, reason string) {
	g := s.watched[p]
	if g == nil {
		return
	}
	heap.Remove(&s.heap, g.index)
	for w := g.first; w != nil; {
		next := w.next
		w.listed, w.prev, w.next = false, nil, nil
		go w.call(reason)
		w = next
	}
	delete(s.watched, p)
}

func (s *watchers) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *watchers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.poke()
}

func (s *watchers) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, again := s.due()
		if !again {
			return
		}
		timer.Reset(wait)
		select {
		case <-s.wake:
		case <-timer.C:
			s.mu.Lock()
			if len(s.heap) == 0 {
				s.running = false
				s.mu.Unlock()
				return
			}
			s.mu.Unlock()
		}
	}
}

// due tells everybody whose grant is over and returns when to look again.
func (s *watchers) due() (wait time.Duration, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.running = false
		return 0, false
	}
	now := s.x.now()
	for len(s.heap) > 0 {
		p := s.heap[0].place
		if at := s.end(p); at != s.heap[0].at { // an extension is on its way to moved
			s.heap[0].at = at
			heap.Fix(&s.heap, 0)
			continue
		}
		reason, over := s.x.overAt(p, now)
		if !over {
			left := time.UnixMilli(s.heap[0].at).Sub(now)
			return min(max(left, 0), stride), true
		}
		s.fireLocked(p, reason)
	}
	return linger, true
}

// deadlines is a heap by time.
type deadlines []*watched

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push implements heap.Interface.
func (d *deadlines) Push(v any) {
	w := v.(*watched)
	w.index = len(*d)
	*d = append(*d, w)
}

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	old := *d
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return w
}
