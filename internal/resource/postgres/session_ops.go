package pgkind

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/resource/postgres/gate"
)

// Bounds of what is remembered of one session.
const (
	maxOps     = 1024     // that wait for an answer; above, the client is not read
	maxNamed   = 4096     // prepared statements, and portals
	maxTexts   = 16 << 20 // bytes of their texts
	nameLength = 63       // of a name that PostgreSQL tells apart (NAMEDATALEN - 1)
)

// op is one message of a client that the server answers.
type op struct {
	kind     byte // Q P B D E C S; copyEnd
	name     string
	of       string        // of a Bind: the statement
	text     *text         // of Q and P; of E once it is answered
	refusal  *gate.Refusal // why it was replaced by one that cannot run
	at       time.Time     // when it went out
	part     int           // results of it that are complete
	moved    int64         // rows, or lines of a COPY
	bytes    int64
	answered bool // an error has
}

// copyEnd stands for CopyDone and CopyFail, which answer the server.
const copyEnd = 'c'

// text is a statement as the client sent it, cut.
type text struct {
	sql    string
	length int
	unsure bool // SQL may have put another statement under its name
}

// known is the text under a name, as of how many doubts.
type known struct {
	*text
	doubts uint64
}

// An errProtocol ends the session: client and server are not understood any
// more, and what is not understood does not pass.
var errProtocol = errors.New("protocol violation")

// ops is what a session waits for: the messages of the client in order, each
// until the server has answered it. Names are resolved when answers come, as the
// server resolves them: a statement that it refused to parse has not taken the
// place of the one before.
type ops struct {
	mu       sync.Mutex
	room     sync.Cond
	closed   bool
	queue    fifo
	skipping bool // the server reads on to the next Sync
	copyIn   bool // the server takes a COPY
	status   byte // of the transaction: I T E
	last     time.Time

	statements map[string]known
	portals    map[string]known
	texts      int
	doubts     uint64 // how often SQL may have changed what names stand for
}

func (o *ops) init(status byte) {
	o.room.L = &o.mu
	o.status = status
	o.statements = make(map[string]known)
	o.portals = make(map[string]known)
}

// close lets nobody wait any more.
func (o *ops) close() {
	o.mu.Lock()
	o.closed = true
	o.room.Broadcast()
	o.mu.Unlock()
}

// full reports whether a client must not be read before the server has
// answered something.
func (o *ops) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queue.n >= maxOps
}

// wait returns when there is room, and false when the session is over.
func (o *ops) wait() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.queue.n >= maxOps && !o.closed {
		o.room.Wait()
	}
	return !o.closed
}

// idle reports whether the client waits for nothing.
func (o *ops) idle() (status byte, idle bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status, o.queue.n == 0 && !o.copyIn && !o.skipping
}

// push notes a message that goes out now.
func (o *ops) push(p op) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.skipping && p.kind != 'S':
		return nil // the server does not look at it
	case o.copyIn && p.kind == copyEnd:
		o.copyIn = false
		return nil
	case o.copyIn && p.kind == 'S':
		return nil // the server ignores it: it came before the client knew of the COPY
	case o.copyIn:
		return fmt.Errorf("%w: message %q during COPY", errProtocol, p.kind)
	case p.kind == copyEnd && o.queue.n == 0:
		return nil // after a COPY that has failed
	}
	if p.kind == 'S' {
		o.skipping = false // what comes after it is looked at again
	}
	p.name, p.of = cutName(p.name), cutName(p.of)
	o.queue.push(p)
	return nil
}

func cutName(s string) string {
	if len(s) > nameLength {
		return s[:nameLength]
	}
	return s
}

// head is what the server answers now; nil when nothing waits.
func (o *ops) head() *op {
	for o.queue.n > 0 && o.queue.at(0).kind == copyEnd {
		o.pop() // there was no COPY to end
	}
	if o.queue.n == 0 {
		return nil
	}
	return o.queue.at(0)
}

func (o *ops) pop() {
	o.queue.pop()
	if o.queue.n == maxOps-1 {
		o.room.Signal()
	}
}

// fifo is a ring.
type fifo struct {
	buf   []op // its length is a power of two, or 0
	first int
	n     int
}

const keptOps = 8 // of an idle session

func (f *fifo) at(i int) *op { return &f.buf[(f.first+i)&(len(f.buf)-1)] }

func (f *fifo) push(p op) {
	if f.n == len(f.buf) {
		more := make([]op, max(keptOps, 2*f.n))
		for i := range f.n {
			more[i] = *f.at(i)
		}
		f.buf, f.first = more, 0
	}
	f.n++
	*f.at(f.n - 1) = p
}

func (f *fifo) pop() {
	*f.at(0) = op{}
	f.first = (f.first + 1) & (len(f.buf) - 1)
	if f.n--; f.n == 0 && len(f.buf) > keptOps {
		f.buf, f.first = nil, 0
	}
}
