// Package canonical writes JSON as RFC 8785 says, and sees whether a text is
// in that form already, without taking it apart and composing it anew.
//
// It refuses to guess: Is says no to whatever takes more than a look, such as
// a fraction, an escape or a letter beyond ASCII, and who asked goes the long
// way then.
package canonical

import (
	"encoding/json"
	"errors"

	"github.com/gowebpki/jcs"
)

// JSON returns the RFC 8785 form of one JSON value.
func JSON(raw []byte) ([]byte, error) {
	if Is(raw) {
		return raw, nil
	}
	if !json.Valid(raw) {
		return nil, errors.New("not one JSON value")
	}
	wrapped := append(append([]byte{'['}, raw...), ']') // some take no bare values
	out, err := jcs.Transform(wrapped)
	if err != nil {
		return nil, err
	}
	return out[1 : len(out)-1], nil
}

// deepest bounds how deep Is follows.
const deepest = 32

// Is reports that raw is one JSON object or array in the form of RFC 8785. It
// says no to some that are: those with anything but plain ASCII in their
// strings, with numbers that are not integers of at most 15 digits, or nested
// deeper than 32.
func Is(raw []byte) bool {
	if len(raw) == 0 || raw[0] != '{' && raw[0] != '[' {
		return false
	}
	end, ok := value(raw, 0, 0)
	return ok && end == len(raw)
}

// value returns where the value that begins at i ends.
func value(b []byte, i, depth int) (end int, ok bool) {
	if i >= len(b) {
		return 0, false
	}
	switch c := b[i]; {
	case (c == '{' || c == '[') && depth == deepest:
		return 0, false
	case c == '{':
		return object(b, i+1, depth+1)
	case c == '[':
		return array(b, i+1, depth+1)
	case c == '"':
		return text(b, i+1)
	case c == 't':
		return word(b, i, "true")
	case c == 'f':
		return word(b, i, "false")
	case c == 'n':
		return word(b, i, "null")
	}
	return number(b, i)
}

func object(b []byte, i, depth int) (end int, ok bool) {
	if i < len(b) && b[i] == '}' {
		return i + 1, true
	}
	last := ""
	for first := true; ; first = false {
		if i >= len(b) || b[i] != '"' {
			return 0, false
		}
		begin := i + 1
		if i, ok = text(b, begin); !ok {
			return 0, false
		}
		key := string(b[begin : i-1])
		if !first && key <= last {
			return 0, false
		}
		last = key
		if i >= len(b) || b[i] != ':' {
			return 0, false
		}
		if i, ok = value(b, i+1, depth); !ok || i >= len(b) {
			return 0, false
		}
		switch b[i] {
		case '}':
			return i + 1, true
		case ',':
			i++
		default:
			return 0, false
		}
	}
}

func array(b []byte, i, depth int) (end int, ok bool) {
	if i < len(b) && b[i] == ']' {
		return i + 1, true
	}
	for {
		if i, ok = value(b, i, depth); !ok || i >= len(b) {
			return 0, false
		}
		switch b[i] {
		case ']':
			return i + 1, true
		case ',':
			i++
		default:
			return 0, false
		}
	}
}

// text returns what comes after the string that begins at i, behind its quote.
func text(b []byte, i int) (end int, ok bool) {
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, true
		case c < 0x20 || c >= 0x7f || c == '\\':
			return 0, false
		}
	}
	return 0, false
}

func word(b []byte, i int, word string) (end int, ok bool) {
	end = i + len(word)
	return end, end <= len(b) && string(b[i:end]) == word
}

func number(b []byte, i int) (end int, ok bool) {
	negative := b[i] == '-'
	if negative {
		i++
	}
	begin := i
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	digits := i - begin
	if digits == 0 || digits > 15 || b[begin] == '0' && (digits > 1 || negative) {
		return 0, false
	}
	return i, true // what follows is no comma or bracket if the number goes on
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string, RFC 8785 section 3.2.2.2. s must be
// valid UTF-8.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0 // what is not appended yet
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\f':
			b = append(b, '\\', 'f')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(b, s[from:]...), '"')
}
