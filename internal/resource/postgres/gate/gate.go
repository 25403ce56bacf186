// Package gate decides which SQL statements a session may send at all. Who may
// read or change a table is decided by PostgreSQL, by the privileges of the
// grant's own role; the gate keeps away what needs no privilege there and
// outlives or escapes a grant: LISTEN, LOCK, DO, PREPARE TRANSACTION, WITH HOLD,
// ALTER ROLE, SET ROLE, SELECT … INTO, settings beyond a short list.
//
// It reads text as PostgreSQL does with standard_conforming_strings on and UTF-8,
// to which a session must be held (wire.CheckSetting). With the same eyes it takes
// apart the predicates that a catalog approves for row filters. It refuses what it does not know or cannot read.
package gate

import (
	"bytes"
	"slices"
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
	// Filtered says that rows are kept from the session, of which a plan would
	// tell: how many there are, and what is in them.
	Filtered bool
}

// Check looks at the text of a Query or Parse message. It returns what to
// forward: the text, or the text in which a limit that the client wants to lift
// is put back to what the grant has.
//
// A function can change the two settings on which reading depends, and messages
// that were sent behind it are on their way when the server tells. So a text that
// would be read otherwise then, and be refused, is refused at once.
func (g Gate) Check(sql []byte) ([]byte, *Refusal) {
	backslash := bytes.IndexByte(sql, '\\') >= 0
	switch {
	case bytes.IndexByte(sql, 0) >= 0:
		return nil, &Refusal{Code: syntax, Message: "the statement contains a zero byte"}
	case !utf8.Valid(sql):
		return nil, &Refusal{Code: encoding, Message: "the statement is not UTF-8", Hint: "Set client_encoding to UTF8."}
	case backslash && swallowed(sql):
		return nil, &Refusal{Code: feature, Message: "a backslash directly after a character that is not ASCII is not forwarded: in some encodings the two are one", Hint: "Send the value as a parameter, or write the character as \\uXXXX in an E'' string."}
	}
	edits, refusal := g.read(sql, false)
	if refusal != nil {
		return nil, refusal
	}
	if backslash && lexable(sql) {
		if other, refusal := g.read(sql, true); refusal != nil || !slices.Equal(edits, other) {
			return nil, &Refusal{Code: feature, Message: "the statement would mean something else with standard_conforming_strings off, and is not forwarded", Hint: "Send the value with the backslash as a parameter, or as an E'' string."}
		}
	}
	if len(edits) > 0 {
		return rewrite(sql, edits), nil
	}
	return sql, nil
}

// read reads all statements of a text, and returns what is to be put back to
// DEFAULT in it.
func (g Gate) read(sql []byte, escapes bool) (edits []token, refusal *Refusal) {
	p := reader{gate: g, lex: lexer{in: sql, escapes: escapes}}
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
	return p.edits, p.refusal
}

// swallowed reports whether a backslash stands where a client encoding such as
// SJIS takes it for the second half of a character.
func swallowed(sql []byte) bool {
	for at := 1; at < len(sql); at++ {
		if sql[at] == '\\' && sql[at-1] >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// lexable reports whether a text has an end to all of its quotes where plain
// strings have escapes. PostgreSQL reads a text as a whole before it does any of
// it, and one that is not lexable does nothing.
func lexable(sql []byte) bool {
	for l := (lexer{in: sql, escapes: true}); ; {
		switch l.next().kind {
		case broken:
			return false
		case end:
			return true
		}
	}
}
