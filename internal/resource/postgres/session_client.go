package pgkind

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/resource/postgres/wire"
)

// lingering is how long a server may take to close after a client's Terminate.
const lingering = 5 * time.Second

// errLeft says that the client took its leave, so that all that is to come comes
// from the server.
var errLeft = errors.New("the client has left")

// placeholder stands for a statement that was refused. It is an error of syntax
// wherever it stands, and in every state of a transaction, so that the server
// itself keeps the order of answers and skips what it must.
const placeholder = "?"

// fromClient carries what the client sends until it stops, or must be stopped.
func (s *session) fromClient() error {
	in := source{conn: s.client, small: make([]byte, smallBuffer)}
	defer in.release()
	scan := wire.Clients()
	for {
		chunk, err := in.read()
		if err != nil {
			return err // the client has gone
		}
		s.in.Add(int64(len(chunk)))
		for len(chunk) > 0 {
			taken, done, err := s.forward(scan, chunk)
			if err != nil {
				return err
			}
			if done {
				// The server closes now, and with that the session ends.
				_ = s.server.Conn.SetReadDeadline(time.Now().Add(lingering))
				return errLeft
			}
			if chunk = chunk[taken:]; len(chunk) > 0 && !s.ops.wait() {
				return errStopped
			}
		}
		in.keep(0)
	}
}

// forward takes a chunk of the client's messages to the server, up to where the
// server has to answer some of them first. done says that the client has taken
// its leave.
func (s *session) forward(scan *wire.Scanner, chunk []byte) (taken int, done bool, err error) {
	from, end, now := 0, 0, time.Now() // what of the chunk has been looked at, and has not gone out
	for rest := chunk; len(rest) > 0 && !done; {
		at := len(chunk) - len(rest)
		if scan.Boundary() && s.ops.full() {
			// The server answers what it has only when asked to.
			return at, false, s.toServer(append(bytes.Clone(chunk[from:at]), wire.Flush, 0, 0, 0, 4))
		}
		part, next, err := scan.Next(rest)
		if err != nil {
			return 0, false, err
		}
		rest = next
		end = len(chunk) - len(rest)
		out := part.Raw
		if part.Count > 0 {
			if out, err = s.look(part, now); err != nil {
				return 0, false, err
			}
		}
		done = part.Type == wire.Terminate && part.Whole
		if !part.Held && len(out) == len(part.Raw) && len(out) > 0 && &out[0] == &part.Raw[0] {
			continue // it stays where it is, and goes out with what is around it
		}
		if err := s.toServer(chunk[from:at]); err != nil {
			return 0, false, err
		}
		if err := s.toServer(out); err != nil {
			return 0, false, err
		}
		from = end
	}
	// What comes after a Terminate goes nowhere: nobody has looked at it.
	return len(chunk), done, s.toServer(chunk[from:end])
}

func (s *session) toServer(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if s.isOver() {
		return errStopped
	}
	_, err := s.server.Conn.Write(b)
	return err
}

// look takes note of a message, and returns what is to go out for it.
func (s *session) look(part wire.Part, now time.Time) ([]byte, error) {
	p := op{kind: part.Type, at: now}
	out := part.Raw
	switch part.Type {
	case wire.Query:
		sql, err := wire.ReadQuery(part.Body)
		if err != nil {
			return nil, err
		}
		checked, err := s.admit(&p, sql, "run")
		if err != nil {
			return nil, err
		}
		if len(checked) != len(sql) || len(sql) > 0 && &checked[0] != &sql[0] {
			out = wire.AppendQuery(nil, checked)
		}
	case wire.Parse:
		m, err := wire.ReadParse(part.Body)
		if err != nil {
			return nil, err
		}
		p.name = string(m.Name)
		checked, err := s.admit(&p, m.SQL, "prepare")
		if err != nil {
			return nil, err
		}
		if len(checked) != len(m.SQL) || len(checked) > 0 && &checked[0] != &m.SQL[0] {
			m.SQL = checked
			out = m.AppendParse(nil)
		}
	case wire.Bind:
		t, err := wire.ReadBind(part.Body)
		if err != nil {
			return nil, err
		}
		p.name, p.of = string(t.Name), string(t.Statement)
	case wire.Execute:
		t, err := wire.ReadExecute(part.Body)
		if err != nil {
			return nil, err
		}
		p.name = string(t.Name)
		runs := s.ops.intended(p.name)
		s.guard.Does(runs.doing())
		if s.strict {
			if err := s.intend(runs, "run"); err != nil {
				return nil, errStopped
			}
		}
	case wire.Describe, wire.Close:
		t, err := wire.ReadTarget(part.Body)
		if err != nil {
			return nil, err
		}
		p.name, p.of = string(t.Name), string(t.Kind)
	case wire.Sync:
	case wire.CopyDone, wire.CopyFail:
		p.kind = copyEnd
	case wire.Flush, wire.CopyData, wire.Terminate:
		return out, nil // they have no answer
	default:
		return nil, fmt.Errorf("%w: message %q from the client", errProtocol, part.Type)
	}
	return out, s.ops.push(p)
}

// admit asks the gate about a statement and returns what is to go out for it,
// which is on record already where that is wanted.
func (s *session) admit(p *op, sql []byte, what string) ([]byte, error) {
	checked, refusal := s.gate.Check(sql)
	if p.refusal = refusal; p.refusal != nil {
		p.text = textOf(sql)
		return []byte(placeholder), nil //nolint:nilerr // the server's error in its place says so
	}
	p.text = textOf(checked)
	s.guard.Does(p.text.doing())
	if s.strict {
		if err := s.intend(p.text, what); err != nil {
			return nil, errors.Join(errStopped, err) // the session is being cut
		}
	}
	return checked, nil
}
