package gate

import (
	"fmt"
	"strings"
)

// reader reads statements off a text, one token ahead, until it refuses.
type reader struct {
	gate    Gate
	lex     lexer
	tok     token
	peek    token
	refusal *Refusal
	edits   []token // values in place of which DEFAULT is forwarded
}

func (p *reader) next() {
	if p.tok = p.peek; p.tok.kind == broken {
		p.unreadable()
	}
	if p.refusal == nil {
		p.peek = p.lex.next()
	}
}

// is reports whether the token is a keyword or symbol, given in small letters.
func (p *reader) is(s string) bool { return p.matches(p.tok, s) }

func (p *reader) peekIs(s string) bool { return p.matches(p.peek, s) }

func (p *reader) matches(t token, s string) bool {
	if t.to-t.from != len(s) || t.kind != word && t.kind != symbol {
		return false
	}
	for i, c := range p.lex.in[t.from:t.to] {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// among reports whether the token is one of words.
func (p *reader) among(words ...string) bool {
	for _, w := range words {
		if p.is(w) {
			return true
		}
	}
	return false
}

// accept moves on if the token is s.
func (p *reader) accept(s string) bool {
	if !p.is(s) {
		return false
	}
	p.next()
	return p.refusal == nil
}

// expect moves on, or refuses a text in which something else than s stands.
func (p *reader) expect(s string) bool {
	if p.accept(s) {
		return true
	}
	p.unreadable()
	return false
}

// name moves over a name of one part.
func (p *reader) name() bool {
	if p.tok.kind != word && p.tok.kind != quoted {
		p.unreadable()
		return false
	}
	p.next()
	return p.refusal == nil
}

// done reports whether the statement, or the text, ends here.
func (p *reader) done() bool { return p.refusal != nil || p.tok.kind == end || p.is(";") }

// tail moves over the rest of a statement in which nothing can be nested.
func (p *reader) tail() {
	for !p.done() {
		if p.is("(") || p.is(")") {
			p.unreadable()
			return
		}
		p.next()
	}
}

// only moves over the rest of a statement that consists of words.
func (p *reader) only(words ...string) {
	for !p.done() {
		if !p.among(words...) {
			p.unreadable()
			return
		}
		p.next()
	}
}

// parens moves over a pair of parentheses and what is in it.
func (p *reader) parens() {
	depth := 0
	for !p.done() {
		if p.is("(") {
			depth++
		} else if p.is(")") {
			depth--
		}
		p.next()
		if depth == 0 {
			return
		}
	}
	p.unreadable()
}

func (p *reader) refuse(code, hint, format string, args ...any) {
	if p.refusal == nil {
		p.refusal = &Refusal{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
}

// unreadable refuses what PostgreSQL may well understand. A text with a mistake
// comes here too.
func (p *reader) unreadable() {
	where := "at the end of the statement"
	if p.tok.kind != end {
		where = fmt.Sprintf("at or near %q", p.excerpt(p.tok))
	}
	p.refuse(syntax, "If PostgreSQL would take it, write it in a plainer way.", "Daypass cannot read the statement, and so does not forward it: %s", where)
}

// deny refuses a statement of a kind that the scope does not have.
func (p *reader) deny(what string) {
	allowed := p.gate.Allowed.String()
	if allowed == "" {
		allowed = "nothing"
	}
	p.refuse(privilege, "", "%s is not allowed: this grant allows %s", what, allowed)
}

// need refuses a statement unless the scope has one of the actions.
func (p *reader) need(a Actions, what string) {
	if p.gate.Allowed&a == 0 {
		p.deny(what)
	}
}

func (p *reader) excerpt(t token) string {
	in := p.lex.in[t.from:t.to]
	if len(in) > 40 {
		in = in[:40]
	}
	return strings.ToValidUTF8(string(in), "")
}

// rewrite is the text with DEFAULT in place of the values in edits.
func rewrite(sql []byte, edits []token) []byte {
	out := make([]byte, 0, len(sql)+len(edits)*len("DEFAULT"))
	at := 0
	for _, e := range edits {
		out = append(append(out, sql[at:e.from]...), "DEFAULT"...)
		at = e.to
	}
	return append(out, sql[at:]...)
}
