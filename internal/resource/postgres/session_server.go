package pgkind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/daypass/daypass/internal/resource/postgres/wire"
)

// fromServer carries what the server sends until it stops, or must be stopped.
// The client gets whole messages: what is not whole yet waits in the buffer,
// unless it does not fit there.
func (s *session) fromServer() error {
	in := source{conn: s.server.Conn, small: make([]byte, smallBuffer)}
	defer in.release()
	scan := wire.Servers()
	for {
		chunk, err := in.read()
		if err != nil {
			if errors.Is(err, io.EOF) && scan.Idle() {
				return nil
			}
			return err
		}
		kept, err := s.deliver(scan, chunk, in.kept, in.full())
		if err != nil {
			return err
		}
		in.keep(kept)
		if s.g.draining.Load() {
			s.rest()
		}
	}
}

// deliver takes a chunk of the server's messages to the client: its first seen
// bytes have been looked at already. It returns how many bytes at its end are to
// come again, with more behind them; none if must is set.
func (s *session) deliver(scan *wire.Scanner, chunk []byte, seen int, must bool) (kept int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	from, whole, now := 0, 0, time.Now() // what has not gone out begins at from, and is whole up to whole
	for rest := chunk[seen:]; len(rest) > 0; {
		at := len(chunk) - len(rest)
		part, next, err := scan.Next(rest)
		if err != nil {
			return 0, err
		}
		rest = next
		end := len(chunk) - len(rest)
		out, err := s.watch(part, now)
		if err != nil {
			// What came before it has happened.
			return 0, errors.Join(err, s.write(chunk[from:whole], false))
		}
		if part.Raw != nil && !part.Held && len(out) > 0 && &out[0] == &part.Raw[0] {
			if scan.Boundary() {
				whole = end
			}
			continue
		}
		if err := s.write(chunk[from:at], false); err != nil {
			return 0, err
		}
		if err := s.write(out, !scan.Boundary()); err != nil {
			return 0, err
		}
		from, whole = end, end
	}
	if whole == from && (must || s.partial) {
		// A message longer than the buffer goes through as it comes.
		return 0, s.write(chunk[from:], !scan.Boundary())
	}
	return len(chunk) - whole, s.write(chunk[from:whole], false)
}

// watch takes note of what the server sent, and returns what the client gets
// for it.
func (s *session) watch(part wire.Part, now time.Time) ([]byte, error) {
	if part.Count == 0 {
		return part.Raw, nil // more of a long message
	}
	switch part.Type {
	case wire.DataRow, wire.CopyData:
		return part.Raw, s.rows(part)
	case wire.CommandComplete:
		tag, _, _ := wire.ReadTag(part.Body)
		done, err := s.ops.answer(part.Type, string(tag), now)
		if err != nil {
			return nil, err
		}
		return part.Raw, s.noted(done, outcome{tag: string(tag)}, now)
	case wire.PortalSuspended:
		done, err := s.ops.answer(part.Type, "", now)
		if err != nil {
			return nil, err
		}
		return part.Raw, s.noted(done, outcome{tag: "suspended"}, now)
	case wire.ErrorResponse:
		return s.failed(part, now)
	case wire.ReadyForQuery:
		status, err := wire.ReadReady(part.Body)
		if err != nil {
			return nil, err
		}
		s.guard.Does("idle")
		_, err = s.ops.answer(part.Type, string(status), now)
		return part.Raw, err
	case wire.ParameterStatus:
		name, value, err := wire.ReadParameterStatus(part.Body)
		if err == nil {
			err = wire.CheckSetting(name, value)
		}
		return part.Raw, err
	case wire.NoticeResponse, wire.Notification:
		return part.Raw, nil
	case wire.Authentication, wire.KeyData:
		return nil, fmt.Errorf("%w: the server sent %q in a session", errProtocol, part.Type)
	}
	for range part.Count {
		if _, err := s.ops.answer(part.Type, "", now); err != nil {
			return nil, err
		}
	}
	return part.Raw, nil
}

// rows counts what a client reads, and stops it before it has more than its
// grant allows: it must not take the rest for the whole.
func (s *session) rows(part wire.Part) error {
	n := len(part.Raw)
	if !part.Whole {
		n = 1 + int(binary.BigEndian.Uint32(part.Raw[1:]))
	}
	if over := s.budget.spend(int64(part.Count), int64(n)); over != "" {
		return &wire.Error{
			Severity: wire.SeverityFatal, Code: wire.CodeLimit, Message: "the result is cut off: " + over,
			Hint: "Ask for less at a time, or for a grant that allows more.",
		}
	}
	return s.ops.rows(part.Count, n)
}

// failed: an error of the server's; of a statement that was refused, the one
// that its placeholder had to cause.
func (s *session) failed(part wire.Part, now time.Time) ([]byte, error) {
	e := wire.ReadError(part.Body)
	done, err := s.ops.answer(part.Type, "", now)
	if err != nil || done == nil {
		return part.Raw, err
	}
	how := outcome{sqlstate: e.Code}
	out := part.Raw
	if r := done.refusal; r != nil && part.Whole && e.Severity == wire.SeverityError && e.Code == wire.CodeSyntax {
		how = outcome{sqlstate: r.Code, refused: r.Message}
		ours := wire.Error{Severity: wire.SeverityError, Code: r.Code, Message: r.Message, Hint: r.Hint}
		out = ours.AppendError(nil)
	} else if r == nil && part.Whole && e.Code == wire.CodePrivilege && e.Hint == "" {
		out = wire.AppendHinted(nil, part.Body, s.g.askMore(s.resource, s.grant.ID, s.scope))
	}
	return out, s.noted(done, how, now)
}
