package gate

import (
	"strconv"
	"strings"
	"time"
)

// rank is what a session may do with a setting.
type rank uint8

const (
	refused rank = iota
	free         // any value
	utf8Only
	onOnly
	readOnly // off needs an action that writes
	limit    // a limit of the role: may be lowered, and put back
	own      // may be put back to what the role has
)

var ranks = map[string]rank{
	"application_name":                    free,
	"bytea_output":                        free,
	"client_min_messages":                 free,
	"datestyle":                           free,
	"default_transaction_deferrable":      free,
	"default_transaction_isolation":       free,
	"escape_string_warning":               free,
	"extra_float_digits":                  free,
	"intervalstyle":                       free,
	"jit":                                 free,
	"lock_timeout":                        free, // a wait for a lock ends at statement_timeout too
	"quote_all_identifiers":               free,
	"row_security":                        free, // off makes an error of what it would filter
	"synchronize_seqscans":                free,
	"timezone":                            free,
	"transaction_deferrable":              free,
	"transaction_isolation":               free,
	"xmloption":                           free,
	"client_encoding":                     utf8Only,
	"standard_conforming_strings":         onOnly,
	"default_transaction_read_only":       readOnly,
	"transaction_read_only":               readOnly,
	"statement_timeout":                   limit,
	"transaction_timeout":                 limit,
	"idle_in_transaction_session_timeout": limit,
	"idle_session_timeout":                limit,
	"search_path":                         own, // it decides what a name in an owner-rights function means
}

// set reads what follows SET.
func (p *reader) set() {
	switch {
	case p.accept("session"):
		if p.accept("characteristics") {
			if p.expect("as") && p.expect("transaction") {
				p.modes()
			}
			return
		}
	case p.accept("local"):
	case p.is("constraints"):
		p.tail()
		return
	}
	switch {
	case p.refusal != nil:
	case p.is("transaction") && !p.peekIs("=") && !p.peekIs("to"):
		p.next()
		p.modes()
	case p.is("time") && p.peekIs("zone"):
		p.next()
		p.next()
		p.values("timezone", free)
	case p.is("names") && !p.peekIs("=") && !p.peekIs("to"):
		if p.next(); !p.done() { // without a value it is DEFAULT
			p.values("client_encoding", utf8Only)
		}
	default:
		name := p.setting()
		r := p.rank(name)
		if p.refusal == nil && !p.accept("=") && !p.accept("to") {
			p.unreadable()
		}
		p.values(name, r)
	}
}

// reset reads what follows RESET. The values to which it goes back are those of
// the role and of the login, which are the grant's.
func (p *reader) reset() {
	switch {
	case p.accept("all"):
	case p.is("time") && p.peekIs("zone"):
		p.next()
		p.next()
	case p.accept("transaction"):
		p.only("isolation", "level")
	default:
		p.rank(p.setting())
	}
	if !p.done() {
		p.unreadable()
	}
}

// setting reads the name of a setting.
func (p *reader) setting() string {
	t := p.tok
	if !p.name() {
		return ""
	}
	name := strings.ToLower(string(p.lex.in[t.from:t.to]))
	if t.kind == quoted {
		name = strings.Trim(name, `"`) // of an escaped one this makes no name on the list
	}
	if p.is(".") {
		name += ".…"
	}
	return name
}

// rank looks a setting up, and refuses one that is not on the list.
func (p *reader) rank(name string) rank {
	r := ranks[name]
	if r == refused && p.refusal == nil {
		p.refuse(privilege, "", "the setting %q may not be changed in a Daypass session", p.shorten(name))
	}
	return r
}

func (p *reader) shorten(name string) string {
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "")
	}
	return name
}

// values reads the values of a setting: constants and commas.
func (p *reader) values(name string, r rank) {
	first, last, n := p.tok, p.tok, 0
	for !p.done() {
		switch p.tok.kind {
		case word, quoted, text, number:
		default:
			if !p.among(",", "+", "-") {
				p.unreadable()
				return
			}
		}
		last = p.tok
		n++
		p.next()
	}
	switch {
	case p.refusal != nil:
		return
	case n == 0:
		p.unreadable()
		return
	}
	value := ""
	if n == 1 {
		value = p.plain(first)
	}
	if value == "default" && first.kind == word {
		return
	}
	switch r {
	case utf8Only:
		if n != 1 || value != "utf8" && value != "utf-8" && value != "unicode" {
			p.refuse(feature, "", "the encoding of a Daypass session is UTF8")
		}
	case onOnly:
		if !isOn(value) {
			p.refuse(feature, "", "the setting %q must be on in a Daypass session", name)
		}
	case readOnly:
		if !isOn(value) {
			p.need(writes, "a transaction that is not READ ONLY")
		}
	case own:
		p.refuse(privilege, "Write the names of tables with their schema.", "the setting %q may not be changed in a Daypass session", name)
	case limit:
		p.limit(name, value, token{from: first.from, to: last.to})
	}
}

// limit puts a limit that would be lifted back to what the role has: pg_dump and
// others lift all of them, and would not go on after an error. What is lower than
// the grant's stays.
func (p *reader) limit(name, value string, at token) {
	if name == "statement_timeout" {
		d, ok := duration(value)
		if ok && d > 0 && (p.gate.Timeout == 0 || d <= p.gate.Timeout) {
			return
		}
	}
	p.edits = append(p.edits, at)
}

// plain is a value as a word in small letters, or nothing where it is written in
// a way that is not worth reading.
func (p *reader) plain(t token) string {
	s := string(p.lex.in[t.from:t.to])
	switch t.kind {
	case text, quoted:
		if len(s) < 2 || s[0] != '\'' && s[0] != '"' || strings.ContainsAny(s[1:len(s)-1], `'"\`) {
			return ""
		}
		s = s[1 : len(s)-1]
	}
	return strings.ToLower(s)
}

func isOn(value string) bool {
	return value == "on" || value == "true" || value == "yes" || value == "1"
}

// duration reads a time as PostgreSQL does: milliseconds, or a number with a unit.
func duration(value string) (time.Duration, bool) {
	digits := strings.TrimRight(value, "abcdefghijklmnopqrstuvwxyz ")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return 0, false
	}
	unit := map[string]time.Duration{"": time.Millisecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	u, ok := unit[strings.TrimSpace(value[len(digits):])]
	d := time.Duration(n) * u //nolint:gosec // at most 31 bits
	if !ok || u > 0 && d/u != time.Duration(n) {
		return 0, false
	}
	return d, true
}
