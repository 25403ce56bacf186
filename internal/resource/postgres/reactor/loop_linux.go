package reactor

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Readiness is what a connection can do now.
type Readiness uint8

// What a connection can do.
const (
	Readable Readiness = 1 << iota // or is at its end
	Writable                       // what was kept of it can go on
)

// Owner is told what its connections can do.
type Owner interface {
	// Ready runs on the loop and must not block. It may be called for nothing.
	Ready(c *Conn, can Readiness)
}

// atOnce is how many connections are looked at between two questions to the
// kernel.
const atOnce = 128

// bellSeat stands for the loop itself among its connections.
const bellSeat = -1

// Loop is the goroutine that waits. Start makes one, Close ends it.
type Loop struct {
	epoll int
	bell  int // an eventfd
	done  chan struct{}

	pending atomic.Bool // something was posted
	mu      sync.Mutex
	posted  []func()
	closed  bool

	// Of the loop alone.
	seats  []*Conn // those that wait, each at a place of its own
	empty  []int32 // places
	again  []*Conn
	events [atOnce]unix.EpollEvent
}

// Start returns a loop that runs.
func Start() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("making an eventfd: %w", err)
	}
	l := &Loop{epoll: epoll, bell: bell, done: make(chan struct{})}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: bellSeat}); err != nil {
		_, _ = unix.Close(bell), unix.Close(epoll)
		return nil, fmt.Errorf("watching an eventfd: %w", err)
	}
	go l.run()
	return l, nil
}

// Post has f run on the loop, which it must not block. It reports false, and
// drops f, when the loop is closed.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.posted = append(l.posted, f)
	if !l.pending.Swap(true) {
		one := [8]byte{1} // an eventfd counts in the machine's own order; anything but 0 will do
		_, _ = unix.Write(l.bell, one[:])
	}
	return true
}

// Again has the owner of c called once more, Readable, after others had their
// turn, whether it listens or not. It is for the loop's own calls.
func (l *Loop) Again(c *Conn) {
	if !c.again {
		c.again = true
		l.again = append(l.again, c)
	}
}

// Close ends the loop, which nobody must be on any more.
func (l *Loop) Close() {
	l.mu.Lock()
	again := l.closed
	l.mu.Unlock()
	if !again {
		l.Post(func() {
			l.mu.Lock()
			l.closed = true
			l.mu.Unlock()
		})
	}
	<-l.done
}

func (l *Loop) run() {
	defer close(l.done)
	for {
		n := l.wait()
		for i := range l.events[:n] {
			e := &l.events[i]
			if e.Fd == bellSeat {
				var count [8]byte
				_, _ = unix.Read(l.bell, count[:])
				continue
			}
			// Its place may be another's by now, who is asked for nothing then.
			if c := l.seats[e.Fd]; c != nil {
				can := c.can(e.Events)
				if c.again {
					can &^= Readable // that turn comes, once
				}
				if can != 0 {
					c.owner.Ready(c, can)
				}
			}
		}
		many := len(l.again)
		for i := range many {
			c := l.again[i]
			if c.again = false; c.on == l {
				c.owner.Ready(c, Readable)
			}
		}
		l.again = slices.Delete(l.again, 0, many)
		if l.call() {
			return
		}
	}
}

// call runs what was posted, and reports whether that was the end.
func (l *Loop) call() bool {
	if !l.pending.Swap(false) {
		return false
	}
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		f()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_, _ = unix.Close(l.bell), unix.Close(l.epoll)
	}
	return l.closed
}

// wait returns how many events there are. Where many are busy some have come
// meanwhile, and neither the thread nor the runtime's scheduler has to know that
// anybody waits.
func (l *Loop) wait() int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), atOnce, 0, 0, 0)
	if errno == 0 && n > 0 || len(l.again) > 0 || l.pending.Load() {
		if errno != 0 {
			return 0
		}
		return int(n)
	}
	for {
		n, err := unix.EpollWait(l.epoll, l.events[:], -1)
		switch err {
		case nil:
			return n
		case unix.EINTR:
		default:
			panic(fmt.Sprintf("epoll_wait: %v", err)) // it has no error that does not come from here
		}
	}
}

// seat gives c a place.
func (l *Loop) seat(c *Conn) int32 {
	if n := len(l.empty); n > 0 {
		at := l.empty[n-1]
		l.empty = l.empty[:n-1]
		l.seats[at] = c
		return at
	}
	l.seats = append(l.seats, c)
	return int32(len(l.seats) - 1) //nolint:gosec // descriptors are fewer
}

func (l *Loop) rise(at int32) {
	l.seats[at] = nil
	l.empty = append(l.empty, at)
}
