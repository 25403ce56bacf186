package broker

import (
	"context"
	"sync"

	"github.com/daypass/daypass/internal/access"
)

// soon are the grants that are being made real in their targets, so that who
// waits for one is told when it begins, or ends before it did, and looks for it
// nowhere meanwhile. It holds those of this run; none is said to be there that
// is not.
type soon struct {
	mu     sync.Mutex
	closed bool
	grants map[string]coming
}

type coming struct {
	requester string
	settled   chan struct{} // closed when it is being made no more
}

// note takes in what became of the grant of r.
func (s *soon) note(r *access.Request, events []access.Event) {
	for _, ev := range events {
		switch ev := ev.(type) {
		case access.Granted:
			if ev.Grant.State == access.Activating {
				s.add(r)
			}
		case access.GrantActivating:
			s.add(r)
		case access.GrantActivated, access.GrantEnding:
			s.settle(r.Grant.ID)
		}
	}
}

func (s *soon) add(r *access.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grants == nil {
		s.grants = map[string]coming{}
	}
	if _, known := s.grants[r.Grant.ID]; !known && !s.closed {
		s.grants[r.Grant.ID] = coming{r.Content.Requester, make(chan struct{})}
	}
}

func (s *soon) settle(grant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.grants[grant]; ok {
		close(c.settled)
		delete(s.grants, grant)
	}
}

// await returns when a grant of requester is being made no more, or ctx ends.
// It reports whether there was one.
func (s *soon) await(ctx context.Context, grant, requester string) bool {
	s.mu.Lock()
	c, ok := s.grants[grant]
	s.mu.Unlock()
	if !ok || c.requester != requester {
		return false
	}
	select {
	case <-c.settled:
	case <-ctx.Done():
	}
	return true
}

// close lets everybody go who waits.
func (s *soon) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.grants {
		close(c.settled)
	}
	s.grants, s.closed = nil, true
}
