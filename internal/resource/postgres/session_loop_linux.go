package pgkind

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/resource/postgres/reactor"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
	"github.com/jackc/pgx/v5/pgconn"
)

// atATime is how many chunks of one direction are carried before others have
// their turn.
const atATime = 4

// aTurn is what a turn carries at most, in bytes. A statement that is longer is
// looked at beside the loop: there may be millions of words in it.
const aTurn = atATime * largeBuffer

// carrier is the loop that carries the sessions of a gateway.
type carrier struct {
	off    bool // sessions are carried by goroutines
	once   sync.Once
	loop   *reactor.Loop     // nil: there is none
	buffer [largeBuffer]byte // what is read, of whatever session; the loop's own
}

// get returns the loop, which begins with the first session; nil for none.
func (c *carrier) get(g *Gateway) *reactor.Loop {
	if c.off {
		return nil
	}
	c.once.Do(func() {
		l, err := reactor.Start()
		if err != nil {
			g.log.Warn("postgres gateway: sessions are carried by goroutines", "err", err)
			return
		}
		c.loop = l
	})
	return c.loop
}

// close ends the loop after the last session.
func (c *carrier) close() {
	c.once.Do(func() {}) // none begins any more
	if c.loop != nil {
		c.loop.Close()
	}
}

// rideable is a connection that can be carried on a loop later, where it is one
// of TCP.
func rideable(c net.Conn) net.Conn {
	if own, ok := reactor.Of(c); ok {
		return own
	}
	return c
}

// lane is one direction of a session.
type lane struct {
	below *reactor.Conn // what is read, below TLS
	from  net.Conn
	to    *reactor.Conn // the other side, below TLS
	scan  *wire.Scanner
	kept  []byte // comes again
	held  bool   // it is not read for now, and may have more all the same
}

// rider is a session on a loop.
type rider struct {
	s              *session
	loop           *reactor.Loop
	buffer         *[largeBuffer]byte
	client, server lane
	left           bool          // the client has
	lingers        bool          // the server has been given its time to close
	noting         chan struct{} // closed when what was owed last is on record; nil: nothing was
	waits          bool          // for that
	reading        chan struct{} // closed when a long statement of the client has been looked at; nil: none is
	gone           bool
}

// ride has a loop carry the session from here to its end. It reports false where
// goroutines have to: a record that is durable before each statement goes out
// makes each one wait.
func (s *session) ride() bool {
	client, ok := s.raw.(*reactor.Conn)
	if !ok || s.strict || s.guard.Durable() {
		return false
	}
	var server *reactor.Conn
	if t, secure := s.server.Conn.(*tls.Conn); secure {
		server, ok = t.NetConn().(*reactor.Conn)
	} else if server, ok = reactor.Of(s.server.Conn); ok {
		if s.server.Conn != net.Conn(server) {
			s.amend(func(up *pgconn.HijackedConn) { up.Conn = server })
		}
	}
	if !ok {
		return false
	}
	l := s.g.carrier.get(s.g)
	if l == nil {
		return false
	}
	r := &rider{
		s: s, loop: l, buffer: &s.g.carrier.buffer,
		client: lane{below: client, from: s.client, to: server, scan: wire.Clients()},
		server: lane{below: server, from: s.server.Conn, to: client, scan: wire.Servers()},
	}
	s.mu.Lock()
	s.wake = func() { l.Post(r.look) }
	s.mu.Unlock()
	if !l.Post(r.begin) {
		s.stop(shuttingDown())
		go r.finish()
	}
	return true
}

// begin takes both connections to the loop.
func (r *rider) begin() {
	err := r.client.below.Join(r.loop, r)
	if err == nil {
		err = r.server.below.Join(r.loop, r)
	}
	if err != nil && !r.s.isStopped() {
		r.s.g.log.Warn("postgres gateway: a session could not begin", "session", r.s.guard.ID, "err", err)
		r.s.stop(unavailable())
	}
	r.client.held, r.server.held = true, true // TLS may have read ahead
	r.look()
}

// Ready implements reactor.Owner.
func (r *rider) Ready(c *reactor.Conn, can reactor.Readiness) {
	if r.gone {
		return
	}
	r.turn(c, can)
	r.look()
}

// turn does what c can do.
func (r *rider) turn(c *reactor.Conn, can reactor.Readiness) {
	defer r.s.survive()
	if can&reactor.Writable != 0 && !r.s.isOver() {
		if err := c.Flush(); err != nil {
			r.s.ended(err)
		}
	}
	if can&reactor.Readable == 0 {
		return
	}
	if c == r.client.below {
		r.fromClient()
	} else {
		r.fromServer()
	}
}

// look takes the session up again where it had to wait and need not any more,
// and takes it off the loop when it is over.
func (r *rider) look() {
	if r.gone {
		return
	}
	r.resume()
	if r.s.isStopped() {
		r.leave()
	}
}

func (r *rider) resume() {
	defer r.s.survive()
	for r.client.held && r.clientMay() || r.server.held && r.serverMay() {
		if r.server.held && r.serverMay() {
			r.server.held = false
			r.fromServer()
		}
		if r.client.held && r.clientMay() {
			r.client.held = false
			r.fromClient()
		}
	}
	if r.s.isStopped() {
		return
	}
	if err := errors.Join(r.client.below.Listen(r.clientMay()), r.server.below.Listen(r.serverMay())); err != nil {
		r.s.ended(err)
	}
	if r.left && !r.lingers && r.server.below.Unsent() == 0 {
		// The server closes now, and with that the session ends.
		r.lingers = true
		r.s.after(lingering, func() { r.s.stop(nil) })
	}
}

// answersKept is how much may be kept for a client that is still read. What the
// server answers stays below; what TLS itself answers, to new keys, need not.
const answersKept = 4 * largeBuffer

// clientMay reports whether the client may be read: when the server has taken
// all, and has answered enough, and no statement is being looked at.
func (r *rider) clientMay() bool {
	return !r.left && r.reading == nil && !r.s.isStopped() && r.client.to.Unsent() == 0 && (len(r.client.kept) == 0 || !r.s.ops.full()) && r.client.below.Unsent() <= answersKept
}

// serverMay reports whether the server may be read: when the client has taken
// all, and the record too.
func (r *rider) serverMay() bool {
	return !r.waits && !r.s.isStopped() && r.server.to.Unsent() == 0
}

// read returns what was kept of a direction and what came after it; nothing when
// nothing came.
func (r *rider) read(l *lane) ([]byte, error) {
	n := copy(r.buffer[:], l.kept)
	m, err := l.from.Read(r.buffer[n:])
	if m > 0 {
		return r.buffer[:n+m], nil
	}
	if errors.Is(err, reactor.ErrEmpty) {
		return nil, nil
	}
	return nil, err
}

// fromClient carries what the client has sent.
func (r *rider) fromClient() {
	l, s := &r.client, r.s
	for range atATime {
		if !r.clientMay() {
			l.held = true
			return
		}
		chunk := l.kept
		if l.kept = nil; len(chunk) == 0 {
			var err error
			if chunk, err = r.read(l); err != nil {
				s.ended(err) // the client has gone
				return
			}
			if len(chunk) == 0 {
				return
			}
			s.in.Add(int64(len(chunk)))
		}
		if l.scan.Completes(chunk, aTurn) {
			r.beside(bytes.Clone(chunk))
			r.done()
			return
		}
		taken, done, err := s.forward(l.scan, chunk)
		if !r.carried(chunk, taken, done, err) {
			return
		}
		r.done()
	}
	r.loop.Again(l.below)
}

// carried takes note of how far a chunk of the client's was forwarded. It reports
// whether more may follow.
func (r *rider) carried(chunk []byte, taken int, done bool, err error) bool {
	switch {
	case err != nil:
		r.s.ended(err)
		return false
	case done:
		r.left = true
		return false
	case taken < len(chunk):
		r.client.kept = bytes.Clone(chunk[taken:])
	}
	return true
}

// beside has a goroutine forward a chunk, and the client wait meanwhile, so that
// the loop is there for all others.
func (r *rider) beside(chunk []byte) {
	s, reading := r.s, make(chan struct{})
	r.reading, r.client.held = reading, true
	go func() {
		defer close(reading)
		defer s.survive()
		taken, done, err := s.forward(r.client.scan, chunk)
		r.loop.Post(func() {
			if r.gone {
				return
			}
			r.reading = nil
			r.carried(chunk, taken, done, err)
			r.look()
		})
	}()
}

// fromServer carries what the server has sent.
func (r *rider) fromServer() {
	l, s := &r.server, r.s
	for range atATime {
		if !r.serverMay() {
			l.held = true
			return
		}
		seen := len(l.kept)
		chunk, err := r.read(l)
		if err != nil {
			if errors.Is(err, io.EOF) && l.scan.Idle() {
				err = nil
			}
			s.ended(err)
			return
		}
		if len(chunk) == 0 {
			return
		}
		kept, err := s.deliver(l.scan, chunk, seen, len(chunk) == len(r.buffer))
		if err != nil {
			s.ended(err)
			return
		}
		l.keep(chunk[len(chunk)-kept:])
		r.done()
		if s.owing.Load() {
			r.wait()
		}
		if s.g.draining.Load() {
			s.rest()
		}
	}
	r.loop.Again(l.below)
}

// done says that nothing in the buffer is used any more.
func (r *rider) done() {
	if released != nil {
		released(r.buffer)
	}
}

// keep has b come again.
func (l *lane) keep(b []byte) {
	if len(b) == 0 && cap(l.kept) > smallBuffer {
		l.kept = nil
		return
	}
	l.kept = append(l.kept[:0], b...)
}

// wait has a goroutine wait for the record, and the server meanwhile.
func (r *rider) wait() {
	s := r.s
	s.writing.Lock()
	notes := s.withheld.notes
	s.withheld.notes = nil
	s.writing.Unlock()
	noting := make(chan struct{})
	r.waits, r.noting = true, noting
	go func() {
		defer close(noting)
		defer s.survive()
		if left := s.settle(s.guard.Context(), notes); len(left) > 0 {
			s.writing.Lock()
			s.withheld.notes = left // for when it is closed
			s.writing.Unlock()
			return
		}
		r.loop.Post(r.goOn)
	}()
}

// goOn passes on what has waited for the record.
func (r *rider) goOn() {
	if r.gone {
		return
	}
	r.waits, r.server.held = false, true
	r.give()
	r.look()
}

func (r *rider) give() {
	defer r.s.survive()
	if err := r.s.give(); err != nil {
		r.s.ended(err)
	} else if r.s.g.draining.Load() {
		r.s.rest()
	}
}

// leave gives both connections back, for the end may wait.
func (r *rider) leave() {
	r.gone = true
	r.client.below.Leave()
	r.server.below.Leave()
	go r.finish()
}

// finish is the end of a session that is over.
func (r *rider) finish() {
	s := r.s
	defer s.g.leave(s.raw)
	for _, beside := range []chan struct{}{r.noting, r.reading} {
		if beside != nil {
			<-beside // the end of a session is the last of it on record
		}
	}
	if err := r.client.below.Flush(); err != nil {
		s.writing.Lock()
		s.partial = true
		s.writing.Unlock()
	}
	s.farewell()
	s.close()
}

// after has f run in a while, unless the session is closed by then.
func (s *session) after(wait time.Duration, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timers = append(s.timers, time.AfterFunc(wait, f))
}
