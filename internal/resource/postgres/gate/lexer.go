package gate

import (
	"bytes"
	"unicode/utf8"
)

// kind is what a token is.
type kind uint8

const (
	end    kind = iota
	word        // an identifier or keyword without quotes
	quoted      // an identifier in quotes, U&"" among them
	text        // a string of any form
	number      // and parameters, $1
	symbol      // one character of anything else
	broken      // a quote or comment that does not end, or a character that SQL has no use for
)

// token is a piece of a text: in[from:to].
type token struct {
	kind     kind
	from, to int
}

// lexer cuts a text into tokens where PostgreSQL's scan.l does. Where servers of
// different versions cut differently, the newer refuse the text.
type lexer struct {
	in      []byte
	pos     int
	escapes bool // plain strings have escapes too: standard_conforming_strings is off
}

func (l *lexer) next() token {
	if !l.blank() {
		return token{broken, l.pos, len(l.in)}
	}
	from := l.pos
	if from == len(l.in) {
		return token{end, from, from}
	}
	k := l.scan(l.in[from])
	if k == broken {
		l.pos = len(l.in)
	}
	return token{k, from, l.pos}
}

// at is the byte i places on, or 0: there is no 0 in a text.
func (l *lexer) at(i int) byte {
	if l.pos+i < len(l.in) {
		return l.in[l.pos+i]
	}
	return 0
}

func (l *lexer) scan(c byte) kind {
	switch {
	case c == '\'':
		return l.quote(l.escapes)
	case c == '"':
		return l.identifier()
	case c == '$':
		return l.dollar()
	case isDigit(c) || c == '.' && isDigit(l.at(1)):
		return l.number()
	case isStart(c):
		return l.word(c)
	case c < ' ' || c == 0x7f:
		return broken
	}
	l.pos++
	return symbol
}

// word reads an identifier, or a string that begins with a letter. The letter
// counts only where a token begins: the e of te'x' is part of an identifier.
func (l *lexer) word(c byte) kind {
	switch next := l.at(1); {
	case next == '\'' && (c == 'e' || c == 'E'):
		l.pos++
		return l.quote(true)
	case next == '\'' && (c == 'n' || c == 'N'):
		l.pos++
		return l.quote(l.escapes)
	case next == '\'' && (c == 'b' || c == 'B' || c == 'x' || c == 'X'):
		l.pos++
		return l.quote(false)
	case next == '&' && (c == 'u' || c == 'U') && l.at(2) == '\'':
		l.pos += 2
		return l.quote(false) // its backslashes do not escape a quote
	case next == '&' && (c == 'u' || c == 'U') && l.at(2) == '"':
		l.pos += 2
		return l.identifier()
	}
	pos := l.pos + 1
	for pos < len(l.in) && isContinued(l.in[pos]) {
		pos++
	}
	l.pos = pos
	return word
}

// quote reads a string from its first quote on, with all that continue it on
// later lines. They are read as the first is: with backslashes that escape, if
// escapes.
func (l *lexer) quote(escapes bool) kind {
	for {
		l.pos++
		for {
			i := l.stop(escapes)
			if i < 0 {
				return broken
			}
			if l.pos += i; l.in[l.pos] == '\\' {
				if l.pos += 2; l.pos > len(l.in) {
					return broken
				}
				continue
			}
			if l.at(1) != '\'' {
				l.pos++
				break
			}
			l.pos += 2
		}
		if !l.continued() {
			return text
		}
	}
}

// stop is where the next byte is that means something within a string.
func (l *lexer) stop(escapes bool) int {
	if escapes {
		return bytes.IndexAny(l.in[l.pos:], `'\`)
	}
	return bytes.IndexByte(l.in[l.pos:], '\'')
}

// continued moves to the quote that continues the string that was read, if there
// is one: nothing but blanks and -- comments in between, and a line break among
// them.
func (l *lexer) continued() bool {
	at, broke := l.pos, false
	for at < len(l.in) {
		switch c := l.in[at]; {
		case c == '\n' || c == '\r':
			broke = true
			at++
		case isBlank(c):
			at++
		case c == '-' && at+1 < len(l.in) && l.in[at+1] == '-':
			i := bytes.IndexAny(l.in[at:], "\n\r")
			if i < 0 {
				return false
			}
			at += i // the line break is the next turn's
		case c == '\'' && broke:
			l.pos = at
			return true
		default:
			return false
		}
	}
	return false
}

func (l *lexer) identifier() kind {
	for from := l.pos; ; {
		l.pos++
		i := bytes.IndexByte(l.in[l.pos:], '"')
		if i < 0 {
			return broken
		}
		if l.pos += i + 1; l.at(0) != '"' {
			if l.pos-from == 2 {
				return broken // ""
			}
			return quoted
		}
	}
}

// dollar reads a string in dollar quotes, a parameter, or a dollar sign.
func (l *lexer) dollar() kind {
	if isDigit(l.at(1)) {
		l.pos++
		for isDigit(l.at(0)) {
			l.pos++
		}
		return number
	}
	n := 1
	if c := l.at(n); isStart(c) {
		for n++; isContinued(l.at(n)) && l.at(n) != '$'; n++ {
		}
	}
	if l.at(n) != '$' {
		l.pos++
		return symbol
	}
	tag := l.in[l.pos : l.pos+n+1]
	if bytes.ContainsFunc(tag, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return broken // two that differ may be one in another encoding
	}
	l.pos += len(tag)
	i := bytes.Index(l.in[l.pos:], tag)
	if i < 0 {
		return broken
	}
	l.pos += i + len(tag)
	return text
}

// number reads no more than all versions of PostgreSQL agree to be a number. What
// follows it without a space is a token of its own before version 15, and an
// error since.
func (l *lexer) number() kind {
	for isDigit(l.at(0)) {
		l.pos++
	}
	if l.at(0) == '.' && l.at(1) != '.' {
		l.pos++
		for isDigit(l.at(0)) {
			l.pos++
		}
	}
	if c := l.at(0); c == 'e' || c == 'E' {
		n := 1
		if s := l.at(n); s == '+' || s == '-' {
			n++
		}
		if isDigit(l.at(n)) {
			for isDigit(l.at(n)) {
				n++
			}
			l.pos += n
		}
	}
	return number
}

// blank moves over blanks and comments, and reports whether the comments end.
func (l *lexer) blank() bool {
	for {
		pos := l.pos
		for pos < len(l.in) && isBlank(l.in[pos]) {
			pos++
		}
		l.pos = pos
		switch c := l.at(0); {
		case c == '-' && l.at(1) == '-':
			i := bytes.IndexAny(l.in[l.pos:], "\n\r")
			if i < 0 {
				l.pos = len(l.in)
				return true
			}
			l.pos += i
		case c == '/' && l.at(1) == '*':
			if !l.comment() {
				return false
			}
		default:
			return true
		}
	}
}

// comment moves over a comment in which there may be others.
func (l *lexer) comment() bool {
	depth, at := 1, l.pos+2
	for depth > 0 {
		i := bytes.IndexByte(l.in[at:], '/')
		if i < 0 {
			return false
		}
		slash := at + i
		switch {
		case slash > at && l.in[slash-1] == '*':
			depth--
			at = slash + 1
		case slash+1 < len(l.in) && l.in[slash+1] == '*':
			depth++
			at = slash + 2
		default:
			at = slash + 1
		}
	}
	l.pos = at
	return true
}

// Classes of bytes. Every byte beyond ASCII is a letter, as scan.l has it.
const (
	blankByte uint8 = 1 << iota
	letterByte
	digitByte
	dollarByte
)

var classes = func() (table [256]uint8) {
	for i := range table {
		switch c := byte(i); {
		case c == ' ' || '\t' <= c && c <= '\r':
			table[i] = blankByte
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80:
			table[i] = letterByte
		case '0' <= c && c <= '9':
			table[i] = digitByte
		case c == '$':
			table[i] = dollarByte
		}
	}
	return table
}()

func isBlank(c byte) bool     { return classes[c] == blankByte }
func isDigit(c byte) bool     { return classes[c] == digitByte }
func isStart(c byte) bool     { return classes[c] == letterByte }
func isContinued(c byte) bool { return classes[c]&(letterByte|digitByte|dollarByte) != 0 }
