package pgkind

import (
	"net"
	"sync"
)

const (
	smallBuffer = 1 << 10  // of an idle direction; most statements and answers fit
	largeBuffer = 32 << 10 // of a busy one
)

// buffers are shared by all sessions, each for as long as it has something to
// carry.
var buffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// released is called with each buffer that goes back; tests spoil it there.
var released func(*[largeBuffer]byte)

// source reads one side of a session: into a few bytes of its own while there is
// little to read, into a shared buffer once there is more.
type source struct {
	conn  net.Conn
	small []byte
	large *[largeBuffer]byte // nil: not needed now
	kept  int                // bytes at the front that come again
	chunk []byte             // as read returned it
	more  bool               // the last read filled the buffer
}

// read returns what was kept, and what came after it.
func (in *source) read() ([]byte, error) {
	b := in.small
	if in.large != nil {
		b = in.large[:]
	}
	n, err := in.conn.Read(b[in.kept:])
	if n == 0 {
		return nil, err
	}
	in.chunk = b[:in.kept+n]
	in.more = len(in.chunk) == len(b)
	return in.chunk, nil
}

// full reports whether nothing of the chunk can be kept.
func (in *source) full() bool { return len(in.chunk) == largeBuffer }

// keep has the last n bytes of the chunk come again. The rest of it is done
// with: it must not be used any more.
func (in *source) keep(n int) {
	tail := in.chunk[len(in.chunk)-n:]
	if in.large == nil && (n > 0 || in.more) {
		in.large = buffers.Get().(*[largeBuffer]byte) //nolint:forcetypeassert // it has no others
	}
	switch {
	case in.large != nil && (n > 0 || in.more):
		copy(in.large[:], tail)
	case in.large != nil:
		in.release()
	}
	in.kept, in.chunk = n, nil
}

// release gives the shared buffer back.
func (in *source) release() {
	if in.large == nil {
		return
	}
	if released != nil {
		released(in.large)
	}
	buffers.Put(in.large)
	in.large = nil
}
