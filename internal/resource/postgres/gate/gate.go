// Package gate decides which SQL statements a session may send at all. Who may
// read or change a table is decided by PostgreSQL, by the privileges of the
// grant's own role; the gate keeps away what needs no privilege there and
// outlives or escapes a grant: LISTEN, LOCK, DO, PREPARE TRANSACTION, WITH HOLD,
// ALTER ROLE, SET ROLE, SELECT … INTO, settings beyond a short list.
//
// It reads text as PostgreSQL does with standard_conforming_strings on and UTF-8,
// and holds the session to both. It refuses what it does not know or cannot read.
package gate

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"
)

// Actions are what a scope allows beyond reading.
type Actions uint8

// The actions of a scope. A SELECT as such needs none: which tables it reads is
// for PostgreSQL to decide, and drivers ask the catalog; Select is needed to copy
// a table out.
const (
	Select Actions = 1 << iota
	Insert
	Update
	Delete
	Execute // CALL; functions within a SELECT are for PostgreSQL to decide
)

const writes = Insert | Update | Delete | Execute

var names = map[string]Actions{"select": Select, "insert": Insert, "update": Update, "delete": Delete, "execute": Execute}

// ActionOf is the action that a scope calls name.
func ActionOf(name string) (a Actions, ok bool) {
	a, ok = names[name]
	return a, ok
}

func (a Actions) String() string {
	var out []string
	for _, name := range []string{"select", "insert", "update", "delete", "execute"} {
		if a&names[name] != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

// Refusal is why a text is not forwarded.
type Refusal struct {
	Code    string // SQLSTATE
	Message string // a sentence without a full stop, as PostgreSQL writes them
	Hint    string
}

func (r *Refusal) Error() string { return r.Message }

const (
	privilege = "42501"
	feature   = "0A000"
	syntax    = "42601"
	encoding  = "22021"
)

// Gate is what a session may send.
type Gate struct {
	Allowed Actions
	// Timeout is the longest statement_timeout that the session may set for
	// itself; 0 is no limit.
	Timeout time.Duration
}

// Check looks at the text of a Query or Parse message. It returns what to
// forward: the text, or the text in which a limit that the client wants to lift
// is put back to what the grant has.
func (g Gate) Check(sql []byte) ([]byte, *Refusal) {
	switch {
	case bytes.IndexByte(sql, 0) >= 0:
		return nil, &Refusal{Code: syntax, Message: "the statement contains a zero byte"}
	case !utf8.Valid(sql):
		return nil, &Refusal{Code: encoding, Message: "the statement is not UTF-8", Hint: "Set client_encoding to UTF8."}
	}
	p := reader{gate: g, lex: lexer{in: sql}}
	p.next()
	p.next()
	for p.refusal == nil && p.tok.kind != end {
		if p.is(";") {
			p.next()
			continue
		}
		p.statement()
		if p.refusal == nil && p.tok.kind != end && !p.is(";") {
			p.unreadable()
		}
	}
	switch {
	case p.refusal != nil:
		return nil, p.refusal
	case len(p.edits) > 0:
		return p.rewrite(sql), nil
	}
	return sql, nil
}
