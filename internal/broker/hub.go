package broker

import "sync"

// hub tells whoever waits that something was committed. It carries no data:
// those who are woken read what is there, so nothing can be lost or shown to
// somebody who may not see it.
type hub struct {
	mu     sync.Mutex
	moved  chan struct{}
	closed bool
}

func (h *hub) init() { h.moved = make(chan struct{}) }

// wait returns a channel that is closed at the next commit.
func (h *hub) wait() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.moved
}

func (h *hub) publish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	close(h.moved)
	h.moved = make(chan struct{})
}

// close wakes everybody for the last time; waiting ends at once from then on.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.moved)
	}
}

func (h *hub) over() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}
