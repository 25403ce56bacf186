package audit

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gowebpki/jcs"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/canonical"
)

// This file writes RFC 8785 canonical JSON directly, because a detour through
// encoding/json would replace invalid UTF-8 by U+FFFD and round large
// integers: two different entries would share their bytes. A test compares it
// with an independent implementation.
//
// What JSON cannot hold is written as an object with one key that begins with
// a dollar sign: {"$hex":"ff00"} is a string that is not UTF-8, {"$cut":{…}} a
// string that is too long. A key that begins with a dollar sign itself gets a
// second one, so none of these can be forged by content.

const (
	cutKey  = "$cut"
	cutsKey = "$cuts"
	hexKey  = "$hex"
)

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string as RFC 8785 section 3.2.2.2 says.
// s must be valid UTF-8.
func appendString(b []byte, s string) []byte { return canonical.AppendString(b, s) }

// stringSize is the length of what appendString appends, without the quotes.
func stringSize(s string) int {
	n := len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '\b' || c == '\t' || c == '\n' || c == '\f' || c == '\r':
			n++
		case c < 0x20:
			n += 5
		}
	}
	return n
}

// appendText appends a string of Details in one of its three forms.
func appendText(b []byte, s string) []byte {
	valid := utf8.ValidString(s)
	switch {
	case valid && len(s) > MaxValue/6 && stringSize(s) > MaxValue, !valid && 2*len(s) > MaxValue:
		return appendCut(b, cutText(s, valueHead))
	case !valid:
		return append(appendString(append(b, `{"$hex":`...), hex.EncodeToString([]byte(s))), '}')
	}
	return appendString(b, s)
}

func appendCut(b []byte, c Cut) []byte {
	b = append(b, `{"$cut":`...)
	b = appendCutBody(b, c)
	return append(b, '}')
}

func appendCutBody(b []byte, c Cut) []byte {
	b = appendString(append(b, `{"head":`...), c.Head)
	b = strconv.AppendInt(append(b, `,"length":`...), c.Length, 10)
	b = appendString(append(b, `,"sha256":`...), c.SHA256)
	return append(b, '}')
}

func (c Cut) check() error {
	switch {
	case !utf8.ValidString(c.Head) || len(c.Head) > 3*valueHead: // U+FFFD is three times as long as the byte that it stands for
		return fmt.Errorf("the head of a cut value is too long or not UTF-8")
	case c.Length < 1 || c.Length > maxSeq:
		return fmt.Errorf("the length of a cut value is out of range")
	case !isHex(c.SHA256, 64):
		return fmt.Errorf("the digest of a cut value is not 64 hex digits")
	}
	return nil
}

func validHead(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	for cut := n; cut > n-utf8.UTFMax && cut > 0; cut-- {
		if utf8.RuneStart(s[cut]) {
			return strings.ToValidUTF8(s[:cut], "\uFFFD")
		}
	}
	return strings.ToValidUTF8(s[:n], "\uFFFD")
}

// escapeKey returns the key under which an object of Details keeps k.
func escapeKey(k string) (string, error) {
	switch {
	case len(k) > MaxKey:
		return "", fmt.Errorf("a key is longer than %d bytes", MaxKey)
	case !utf8.ValidString(k):
		return hexKey + ":" + hex.EncodeToString([]byte(k)), nil
	case strings.HasPrefix(k, "$"):
		return "$" + k, nil
	}
	return k, nil
}

// unescapeKey is the inverse of escapeKey.
func unescapeKey(k string) (string, error) {
	switch {
	case !strings.HasPrefix(k, "$"):
		return k, nil
	case strings.HasPrefix(k, "$$"):
		return k[1:], nil
	case strings.HasPrefix(k, hexKey+":"):
		raw, err := hex.DecodeString(k[len(hexKey)+1:])
		return string(raw), err
	}
	return "", fmt.Errorf("the key %q is reserved", clip(k))
}

type member struct {
	key   string // as written
	value any
}

// appendValue appends v, a value of Details.
func appendValue(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case string:
		return appendText(b, v), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return appendInt(b, int64(v))
	case int64:
		return appendInt(b, v)
	case float64:
		return appendFloat(b, v)
	case json.Number:
		return appendNumber(b, string(v))
	case Cut:
		if err := v.check(); err != nil {
			return nil, err
		}
		return appendCut(b, v), nil
	case time.Time:
		return appendString(b, api.TimeOf(v).String()), nil
	case time.Duration:
		return appendString(b, v.String()), nil
	case json.RawMessage:
		return appendRaw(b, v, depth)
	case map[string]any:
		members := make([]member, 0, len(v))
		for k, item := range v {
			members = append(members, member{k, item})
		}
		return appendObject(b, members, depth)
	case []any:
		return appendArray(b, len(v), func(i int) any { return v[i] }, depth)
	}
	return appendReflect(b, reflect.ValueOf(v), depth)
}

// appendReflect appends the named and the less common types.
func appendReflect(b []byte, v reflect.Value, depth int) ([]byte, error) {
	switch v.Kind() {
	case reflect.String:
		return appendText(b, v.String()), nil
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return appendInt(b, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > maxSeq {
			return nil, fmt.Errorf("the integer %d is beyond 2^53-1: write it as a string", v.Uint())
		}
		return appendInt(b, int64(v.Uint()))
	case reflect.Float32, reflect.Float64:
		return appendFloat(b, v.Float())
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			break
		}
		return appendArray(b, v.Len(), func(i int) any { return v.Index(i).Interface() }, depth)
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			break
		}
		members := make([]member, 0, v.Len())
		for it := v.MapRange(); it.Next(); {
			members = append(members, member{it.Key().String(), it.Value().Interface()})
		}
		return appendObject(b, members, depth)
	}
	return nil, fmt.Errorf("a %s cannot be written to the record", v.Type())
}

// appendRaw appends JSON text as a value of Details, so with its escapes.
func appendRaw(b []byte, raw json.RawMessage, depth int) ([]byte, error) {
	if len(raw) == 0 {
		return append(b, "null"...), nil
	}
	canonical, err := canonicalJSON(raw)
	if err != nil {
		return nil, err
	}
	v, err := decodeAny(canonical)
	if err != nil {
		return nil, err
	}
	return appendValue(b, v, depth)
}

func appendArray(b []byte, n int, item func(int) any, depth int) ([]byte, error) {
	var err error
	b = append(b, '[')
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, item(i), depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendObject(b []byte, members []member, depth int) ([]byte, error) {
	var err error
	for i := range members {
		if members[i].key, err = escapeKey(members[i].key); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(members, func(x, y member) int { return compareUTF16(x.key, y.key) })
	b = append(b, '{')
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, m.key), ':')
		if b, err = appendValue(b, m.value, depth+1); err != nil {
			return nil, fmt.Errorf("%s: %w", clip(m.key), err)
		}
	}
	return append(b, '}'), nil
}

// compareUTF16 orders keys by their UTF-16 code units, RFC 8785 section 3.2.3.
// It differs from the order of bytes only where a rune beyond U+FFFF, which
// begins with a surrogate, meets one of U+E000 to U+FFFF.
func compareUTF16(x, y string) int {
	i := 0
	for i < len(x) && i < len(y) && x[i] == y[i] {
		i++
	}
	for i > 0 && (i < len(x) && !utf8.RuneStart(x[i]) || i < len(y) && !utf8.RuneStart(y[i])) {
		i--
	}
	if i == len(x) || i == len(y) {
		return cmp.Compare(len(x), len(y))
	}
	r, _ := utf8.DecodeRuneInString(x[i:])
	s, _ := utf8.DecodeRuneInString(y[i:])
	if (r > 0xFFFF) != (s > 0xFFFF) {
		if r > 0xFFFF {
			r = 0xD800
		} else {
			s = 0xD800
		}
	}
	return cmp.Compare(r, s)
}

func appendInt(b []byte, n int64) ([]byte, error) {
	if n > maxSeq || n < -maxSeq {
		return nil, fmt.Errorf("the integer %d is beyond 2^53-1: write it as a string", n)
	}
	return strconv.AppendInt(b, n, 10), nil
}

func appendFloat(b []byte, f float64) ([]byte, error) {
	s, err := jcs.NumberToJSON(f)
	if err != nil {
		return nil, fmt.Errorf("%v is not a number that JSON can hold", f)
	}
	return append(b, s...), nil
}

// appendNumber appends a JSON number. One that a double cannot hold to the
// last digit is an error, for its neighbour would get the same bytes.
func appendNumber(b []byte, s string) ([]byte, error) {
	canonical, err := canonicalNumber(s)
	if err != nil {
		return nil, err
	}
	return append(b, canonical...), nil
}

func canonicalNumber(s string) (string, error) {
	want, ok := parseDecimal(s)
	if !ok {
		return "", fmt.Errorf("%q is not a JSON number", clip(s))
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return "", fmt.Errorf("the number %s is out of range: write it as a string", clip(s))
	}
	canonical, err := jcs.NumberToJSON(f)
	if err != nil {
		return "", err
	}
	if got, ok := parseDecimal(canonical); !ok || got != want {
		return "", fmt.Errorf("the number %s has more digits than a double holds: write it as a string", clip(s))
	}
	return canonical, nil
}

// decimal is the value of a number: ±0.digits × 10^exp, digits without zeros
// at either end.
type decimal struct {
	negative bool
	digits   string
	exp      int
}

// parseDecimal takes a number of the RFC 8259 grammar of at most 400
// characters; the exponent may be at most a million.
func parseDecimal(s string) (decimal, bool) {
	var d decimal
	if len(s) > 400 {
		return d, false
	}
	s, d.negative = strings.CutPrefix(s, "-")
	mantissa := s
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa = s[:i]
		n, err := strconv.Atoi(s[i+1:])
		if err != nil || n > 1_000_000 || n < -1_000_000 {
			return d, false
		}
		d.exp = n
	}
	whole, fraction, point := strings.Cut(mantissa, ".")
	if !isDigits(whole) || len(whole) > 1 && whole[0] == '0' || point && !isDigits(fraction) {
		return d, false
	}
	d.exp += len(whole)
	digits := whole + fraction
	trimmed := strings.TrimLeft(digits, "0")
	d.exp -= len(digits) - len(trimmed)
	d.digits = strings.TrimRight(trimmed, "0")
	if d.digits == "" {
		return decimal{}, true // -0 is 0 in RFC 8785
	}
	return d, true
}

// canonicalJSON returns the RFC 8785 form of one JSON value. Duplicate keys,
// invalid UTF-8, lone surrogates and numbers that a double cannot hold are errors.
func canonicalJSON(raw []byte) ([]byte, error) {
	if canonical.Is(raw) {
		return raw, nil
	}
	strict, err := jcs.Transform(raw)
	if err != nil {
		return nil, fmt.Errorf("not one strict JSON value: %w", err)
	}
	depth := 0
	for i := 0; i < len(raw); {
		c := raw[i]
		i++
		switch {
		case c == '"':
			for raw[i] != '"' {
				if raw[i] == '\\' {
					i++
				}
				i++
			}
			i++
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("nested deeper than %d", maxDepth)
			}
		case c == ']' || c == '}':
			depth--
		case c == '-' || '0' <= c && c <= '9':
			start := i - 1
			for i < len(raw) && strings.IndexByte("+-.eE0123456789", raw[i]) >= 0 {
				i++
			}
			if _, err := canonicalNumber(string(raw[start:i])); err != nil {
				return nil, err
			}
		}
	}
	return strict, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, hexDigits) == ""
}

func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
