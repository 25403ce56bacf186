package pgkind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/gate"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
	"github.com/jackc/pgx/v5/pgconn"
)

var errStopped = errors.New("the session is over")

// session is one client, and its one connection to the database.
type session struct {
	g        *Gateway
	guard    *gateway.Session
	resource *policy.Resource
	grant    *live.Grant
	scope    *Scope
	strict   bool // statements are on record before they go out
	gate     gate.Gate
	budget   *budget

	raw    net.Conn // the client, below TLS
	client net.Conn
	key    string // for cancel requests: process and key

	ops     ops
	in, out atomic.Int64 // bytes from and to the client

	writing  sync.Mutex // to the client
	partial  bool       // it has a part of a message; guarded by writing
	withheld waiting    // guarded by writing
	owing    atomic.Bool

	mu     sync.Mutex
	server *pgconn.HijackedConn // nil: not yet
	over   bool
	last   *wire.Error // what the client is told at the end; nil: nothing
	since  time.Time   // of the end
	timers []*time.Timer
	wake   func() // has the loop that carries it look at it; nil: goroutines do

	awaited, told bool // guarded by telling
}

func newSession(v *visit, n named, guarded *gateway.Session, scope *Scope) *session {
	s := &session{
		g: v.g, guard: guarded, resource: n.resource, grant: guarded.Grant, scope: scope, strict: n.config.strict,
		gate: gateOf(scope), budget: v.g.budgets.take(guarded.Grant, scope, v.g.now()), raw: v.raw, client: v.conn,
	}
	s.ops.init('I')
	return s
}

// gateOf is what the sessions of a scope may send at all.
func gateOf(s *Scope) gate.Gate {
	g := gate.Gate{Timeout: s.fields.StatementTimeout, Filtered: len(s.fields.Rows) > 0}
	for _, name := range s.fields.Actions {
		a, _ := gate.ActionOf(name) // a scope has no others
		g.Allowed |= a
	}
	return g
}

// takes makes up the session's connection to the database, unless the session
// is over.
func (s *session) takes(up *pgconn.HijackedConn, keySize int) bool {
	up.Frontend = nil // it has a buffer
	s.mu.Lock()
	over := s.over
	if !over {
		s.server = up
	}
	s.mu.Unlock()
	if over {
		_ = up.Conn.Close()
		return false
	}
	_ = up.Conn.SetDeadline(time.Time{})
	s.key = s.g.cancels.add(s, keySize)
	return true
}

// amend changes what is known of the connection to the database: a copy of it,
// because whoever ends the session may be reading the one there is.
func (s *session) amend(change func(*pgconn.HijackedConn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	up := *s.server
	change(&up)
	s.server = &up
}

// hello is what a client gets to know before its first statement.
func (s *session) hello() ([]byte, error) {
	b := wire.AppendAuthOK(nil)
	for _, name := range slices.Sorted(maps.Keys(s.server.ParameterStatuses)) {
		value := s.server.ParameterStatuses[name]
		if err := wire.CheckSetting(name, value); err != nil {
			return nil, err
		}
		b = wire.AppendParameterStatus(b, name, value)
	}
	s.amend(func(up *pgconn.HijackedConn) { up.ParameterStatuses = nil }) // they have been told
	b = wire.AppendKeyData(b, binary.BigEndian.Uint32([]byte(s.key[:4])), []byte(s.key[4:]))
	return wire.AppendReady(b, 'I'), nil
}

// serve carries the session to its end: on a loop, where nothing of a session
// that does nothing is kept but its state, or else on two goroutines.
func (s *session) serve() {
	if s.ride() {
		return
	}
	defer s.g.leave(s.raw)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.survive()
		if err := s.fromClient(); !errors.Is(err, errLeft) {
			s.ended(err)
		}
	}()
	func() {
		defer s.survive()
		s.ended(s.fromServer())
	}()
	<-done
	s.farewell()
	s.close()
}

// survive ends the session, and nothing else, when its code panics.
func (s *session) survive() {
	if v := recover(); v != nil {
		s.g.deps.Guard.CountPanic()
		s.g.log.Error("postgres gateway: a session panicked", "what", fmt.Sprintf("%T", v))
		s.stop(unavailable())
	}
}

// ended takes the error with which a direction came to its end.
func (s *session) ended(err error) {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		s.stop(e)
		return
	}
	if errors.Is(err, errProtocol) {
		s.g.log.Warn("postgres gateway: a session was not understood", "session", s.guard.ID, "resource", s.resource.ID, "err", err)
		s.stop(fatal(wire.CodeProtocol, err.Error(), ""))
		return
	}
	s.stop(nil)
}

// why is the error with which a session fails to begin: its end, if it has one.
func (s *session) why(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over && s.last != nil {
		return s.last
	}
	return err
}

// abandon gives up a session that did not begin. The connection goes on
// without it, to say why.
func (s *session) abandon() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.g.mu.Lock()
	delete(s.g.sessions, s.raw)
	s.g.mu.Unlock()
	s.hangUp()
	s.close()
	_ = s.raw.SetDeadline(time.Now().Add(farewell))
}

// close is the last thing that happens to a session.
func (s *session) close() {
	s.mu.Lock()
	for _, t := range s.timers {
		t.Stop()
	}
	s.mu.Unlock()
	s.g.telling.done(s)
	s.g.cancels.remove(s.key)
	s.g.budgets.release(s.budget)
	s.unfinished()
	s.guard.Close(gateway.Stats{BytesIn: s.in.Load(), BytesOut: s.out.Load()})
}

// isOver reports whether nothing more may pass. It asks the clock too, so that
// what hangs up may come late, and must be called without s.mu.
func (s *session) isOver() bool {
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if !over && s.guard.Over() {
		// What runs at the end may be a moment behind, and whoever asks here stops
		// with nothing to tell the client.
		s.halt(s.epitaph(s.guard.EndReason()), (*session).still)
		return true
	}
	return over
}

// isStopped reports whether stop was called. It does not ask the clock.
func (s *session) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// toClient writes whole messages, or a part of one that is too long to be kept.
// Nothing begins to go out after the end.
func (s *session) toClient(b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.write(b, false)
}

func (s *session) write(b []byte, partial bool) error {
	if len(b) == 0 {
		return nil
	}
	if s.isOver() {
		return errStopped
	}
	if s.owing.Load() {
		s.withheld.bytes = append(s.withheld.bytes, b...)
		s.withheld.partial = partial
		return nil
	}
	n, err := s.client.Write(b)
	s.out.Add(int64(n))
	s.partial = partial || err != nil
	return err
}
