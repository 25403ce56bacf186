package pgkind

import (
	"sync"
	"time"
)

// The backends of grants that are over are left alone for a moment, so that
// their clients are told first. They can do nothing for them: nothing passes any
// more. But each is a process that wakes up to end, and a thousand of them leave
// a gateway on the same machine no time.
const (
	tellFirst = 300 * time.Millisecond // at most
	tellPause = 25 * time.Millisecond  // without anybody having been told
)

// telling knows of the sessions whose client is just being told of the end of
// its grant.
type telling struct {
	mu    sync.Mutex
	n     int           // who waits to be told
	so    int           // who has been told
	quiet chan struct{} // closed when all have been told; nil: nobody waits
}

func (t *telling) begin(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.told || s.awaited {
		return
	}
	s.awaited = true
	t.n++
}

// done says that the client of s was told, or will not be.
func (t *telling) done(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.awaited && !s.told {
		t.n--
		t.so++
	}
	s.told = true
	if t.n == 0 && t.quiet != nil {
		close(t.quiet)
		t.quiet = nil
	}
}

// wait returns when all have been told, or those who are left do not listen.
func (t *telling) wait() {
	for began := time.Now(); time.Since(began) < tellFirst; {
		t.mu.Lock()
		so := t.so
		if t.n == 0 {
			t.mu.Unlock()
			return
		}
		if t.quiet == nil {
			t.quiet = make(chan struct{})
		}
		quiet := t.quiet
		t.mu.Unlock()
		pause := time.NewTimer(tellPause)
		select {
		case <-quiet:
		case <-pause.C:
		}
		pause.Stop()
		t.mu.Lock()
		stuck := t.so == so
		t.mu.Unlock()
		if stuck {
			return
		}
	}
}
