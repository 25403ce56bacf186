package pgkind

import (
	"crypto/tls"
	"io"
	"net"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/keepalive"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
)

// A4 allows a second from the end of a grant to the last byte. Half of it is
// for a clean ending, the rest for a busy machine.
const (
	farewell = 500 * time.Millisecond // for a client to take what it is told
	lastCall = 700 * time.Millisecond // until its connection is gone, come what may

	// warning is how long before its end a session is told of it.
	warning = time.Minute
	// again is when a session that was busy is looked at again.
	again = time.Second
)

// cut ends the session in the instant in which its grant does. It is the
// session's OnEnd and does not block.
func (s *session) cut() {
	reason := s.guard.EndReason()
	switch reason {
	case live.ReasonExpired, live.ReasonRevoked, live.ReasonReturned, live.ReasonPolicy, live.ReasonUnknown:
		// All sessions of the grant are over: one statement terminates the backends
		// of many, where each would ask for a connection of its own to cancel what
		// it runs. The connector tries until it succeeds when it removes the role:
		// here it is only about the instant.
		s.g.telling.begin(s)
		s.halt(s.epitaph(reason), (*session).still)
		go func() {
			s.g.telling.wait()
			s.hangUp()
			if err := <-s.g.target.cut(s.resource, roleOf(s.grant.ID)); err != nil {
				s.g.log.Warn("postgres gateway: the backends of a grant could not be terminated at once", "grant", s.grant.ID, "resource", s.resource.ID, "err", err)
				s.cancelStatement()
			}
		}()
	default:
		s.stop(s.epitaph(reason))
	}
}

// epitaph is what a client is told of the end of its session.
func (s *session) epitaph(reason string) *wire.Error {
	at := s.g.now()
	if reason == live.ReasonExpired {
		at = s.grant.ExpiresAt()
	}
	when := " at " + api.TimeOf(at).String()
	switch reason {
	case gateway.EndShutdown:
		return shuttingDown()
	case gateway.EndKilled:
		return fatal(wire.CodeShutdown, "terminating connection: an administrator ended this Daypass session"+when, "")
	case gateway.WhyNotRecorded:
		return fatal(wire.CodeShutdown, "terminating connection: what this session does cannot be recorded now", "Connect again in a moment.")
	case live.ReasonCredentialExpired, live.ReasonCredentialEnded:
		return fatal(wire.CodeShutdown, "terminating connection: the credential of the Daypass grant "+s.grant.ID+" ended"+when, "Get another one: daypass credential "+s.grant.ID)
	}
	return fatal(wire.CodeShutdown, "terminating connection: the Daypass grant "+s.grant.ID+" "+ending(reason)+when, s.g.askAgain(s.resource, s.grant))
}

// stop ends the session, once: from here on nothing of it is forwarded, and what
// it runs is cancelled. e is what the client is told; nil for nothing. It does
// not block.
func (s *session) stop(e *wire.Error) {
	if s.halt(e, (*session).hangUp) && e != nil {
		// What runs would end at the server's next look at the connection.
		go s.cancelStatement()
	}
}

// halt ends the session without a word to the server: what is done to the
// connection to it, apart says. It reports whether there is one.
func (s *session) halt(e *wire.Error, apart func(*session)) bool {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return false
	}
	s.over, s.last, s.since = true, e, time.Now()
	running, wake := s.server != nil, s.wake
	s.timers = append(s.timers, time.AfterFunc(lastCall, func() { abort(s.raw) }))
	s.mu.Unlock()
	s.ops.close()
	_ = s.raw.SetReadDeadline(s.since)
	_ = s.raw.SetWriteDeadline(s.since.Add(farewell))
	apart(s)
	if wake != nil {
		wake()
	}
	return running
}

// still has nobody wait any more for the database.
func (s *session) still() {
	if c := s.upstream(); c != nil {
		_ = c.SetDeadline(time.Unix(1, 0))
	}
}

// hangUp closes the connection to the database, and wakes who waits for it.
func (s *session) hangUp() {
	if c := s.upstream(); c != nil {
		abort(c)
	}
}

// upstream is the connection to the database, below TLS; nil before there is
// one.
func (s *session) upstream() net.Conn {
	s.mu.Lock()
	up := s.server
	s.mu.Unlock()
	if up == nil {
		return nil
	}
	if t, ok := up.Conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return up.Conn
}

// farewell tells the client why its session is over, where it has got whole
// messages so far, and closes. A client that does not take it is cut off.
func (s *session) farewell() {
	s.mu.Lock()
	last, until := s.last, s.since.Add((farewell+lastCall)/2) // a client that only waits is not cut off
	s.mu.Unlock()
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.partial {
		abort(s.raw)
		return
	}
	if last != nil {
		if _, err := s.client.Write(last.AppendError(nil)); err != nil {
			abort(s.raw)
			return
		}
	}
	s.g.telling.done(s)
	closeWrite(s.client)
	// To close on what the client still sends would take the message back.
	_ = s.raw.SetReadDeadline(until)
	_, _ = io.Copy(io.Discard, s.raw)
	if n, known := keepalive.Unsent(s.raw); known && n > 0 {
		abort(s.raw)
		return
	}
	_ = s.raw.Close()
}

// rest ends a session that has nothing to do, because the gateway shuts down.
func (s *session) rest() {
	if status, idle := s.ops.idle(); idle && status == 'I' && !s.owing.Load() {
		s.stop(shuttingDown())
	}
}

// warnBefore has the session told of its end a minute before, unless that moves.
func (s *session) warnBefore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	var t *time.Timer
	left := s.grant.ExpiresAt().Sub(s.g.now())
	if left < warning {
		left += warning + again // who begins this late knows; but it may be extended
	}
	t = time.AfterFunc(max(0, left-warning), func() {
		if wait := s.warn(); wait > 0 {
			t.Reset(wait)
		}
	})
	s.timers = append(s.timers, t)
}

// warn tells the session of its end, if that is near and nothing runs. It
// returns when to look again.
func (s *session) warn() time.Duration {
	end := s.grant.ExpiresAt()
	left := end.Sub(s.g.now())
	if left > warning {
		return left - warning
	}
	if _, idle := s.ops.idle(); !idle {
		return again
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.partial || s.owing.Load() {
		return again
	}
	notice := wire.Error{
		Severity: wire.SeverityWarning, Code: "01000",
		Message: "the Daypass grant " + s.grant.ID + " ends at " + api.TimeOf(end).String() + ", and this session with it",
		Hint:    "Extend it: daypass extend " + s.grant.ID,
	}
	if s.write(notice.AppendNotice(nil), false) != nil {
		return 0
	}
	return max(left, 0) + again // by then it is over, or was extended
}
