package httpkind

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/daypass/daypass/internal/credential"
)

const (
	maxPath     = 8 << 10 // bytes of a request's path, as sent
	maxQuery    = 8 << 10 // bytes of its query
	maxParams   = 10_000  // "&"-separated parameters; a Go upstream loses those beyond
	maxSegments = 256
)

// target is the one form of a request's target: what scopes are matched with
// and what is forwarded are made from it and nothing else (A25).
type target struct {
	segments []string // decoded; the last one is "" when the path ends in a slash
	path     string   // canonical, percent-encoded
	query    string   // byte for byte, without the question mark
	asked    bool     // there was a question mark
}

// Why a target is refused. None of them repeats what was sent.
var (
	errNotOrigin  = errors.New("the request target must be a path that begins with a slash")
	errPathLong   = errors.New("the path is longer than 8 KiB or has more than 256 segments")
	errQueryLong  = errors.New("the query is longer than 8 KiB or has more than 10,000 parameters")
	errEscape     = errors.New("the path has a % that is not followed by two hexadecimal digits")
	errSlashes    = errors.New("the path has an empty segment (//)")
	errDots       = errors.New("the path has a . or .. segment")
	errEncSlash   = errors.New("the path has an encoded slash or a backslash")
	errSemicolon  = errors.New("the path has a semicolon")
	errControl    = errors.New("the target has a control character or a space")
	errUTF8       = errors.New("the path is not valid UTF-8 once decoded, or has a raw character outside ASCII")
	errDoubly     = errors.New("the path is percent-encoded twice")
	errFragment   = errors.New("the target has a fragment")
	errQuerySemi  = errors.New("the query has a semicolon: encode it as %3B")
	errSecretHere = errors.New("a Daypass credential must not be in a URL: send it in the Authorization header, and consider this one leaked")
)

// parseTarget reads the request target as it came over the wire (RFC 9112
// §3.2, origin-form alone). It refuses whatever two servers could read
// differently instead of choosing a reading.
func parseTarget(raw string) (target, error) {
	if raw == "" || raw[0] != '/' {
		return target{}, errNotOrigin
	}
	path, query, asked := strings.Cut(raw, "?")
	if len(path) > maxPath {
		return target{}, errPathLong
	}
	if err := checkQuery(query); err != nil {
		return target{}, err
	}
	segments, canonical, err := canonicalPath(path)
	if err != nil {
		return target{}, err
	}
	t := target{segments: segments, path: canonical, query: query, asked: asked}
	if holdsSecret(t.path) || holdsSecret(query) {
		return target{}, errSecretHere
	}
	return t, nil
}

func checkQuery(q string) error {
	if len(q) > maxQuery || strings.Count(q, "&") >= maxParams {
		return errQueryLong
	}
	for i := range len(q) {
		switch c := q[i]; {
		case c == ';':
			return errQuerySemi
		case c == '#':
			return errFragment
		case c <= ' ' || c >= 0x7f:
			return errControl
		}
	}
	return nil
}

// holdsSecret reports whether s holds the beginning of an opaque token.
func holdsSecret(s string) bool {
	for {
		i := strings.Index(s, "dp")
		if i < 0 || len(s) < i+5 {
			return false
		}
		switch s[i : i+5] {
		case credential.GrantToken, credential.PrincipalToken, credential.GrantCookie, credential.LoginCookie, credential.LoginToken, credential.SetupLink:
			return true
		}
		s = s[i+2:]
	}
}

// canonicalPath splits a path that begins with a slash into decoded segments,
// and writes it in its canonical form: unreserved characters decoded, all
// other escapes in upper case, what must be escaped escaped. The canonical form
// is its own canonical form.
func canonicalPath(path string) (segments []string, canonical string, err error) {
	parts := strings.Split(path[1:], "/")
	if len(parts) > maxSegments {
		return nil, "", errPathLong
	}
	var b strings.Builder
	b.Grow(len(path))
	segments = make([]string, len(parts))
	for i, part := range parts {
		if part == "" && i < len(parts)-1 {
			return nil, "", errSlashes
		}
		b.WriteByte('/')
		if segments[i], err = segment(part, &b); err != nil {
			return nil, "", err
		}
	}
	return segments, b.String(), nil
}

// segment decodes one segment and writes its canonical form to b.
func segment(raw string, b *strings.Builder) (string, error) {
	decoded := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c, escaped := raw[i], false
		switch {
		case c == '%':
			if i+2 >= len(raw) || unhex(raw[i+1]) < 0 || unhex(raw[i+2]) < 0 {
				return "", errEscape
			}
			c, escaped = byte(unhex(raw[i+1])<<4|unhex(raw[i+2])), true
			i += 2
		case c == '#':
			return "", errFragment
		case c >= utf8.RuneSelf:
			return "", errUTF8
		}
		switch {
		case c < ' ' || c == 0x7f || c == ' ' && !escaped:
			return "", errControl
		case c == '/' || c == '\\':
			return "", errEncSlash
		case c == ';':
			return "", errSemicolon
		}
		decoded = append(decoded, c)
		if unreserved(c) || !escaped && subDelim(c) {
			b.WriteByte(c)
		} else {
			writeEscape(b, c)
		}
	}
	return checkSegment(decoded)
}

func checkSegment(decoded []byte) (string, error) {
	if !utf8.Valid(decoded) {
		return "", errUTF8
	}
	s := string(decoded)
	if s == "." || s == ".." {
		return "", errDots
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return "", errControl
		}
	}
	for i := 0; i+2 < len(s); i++ {
		if s[i] == '%' && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0 {
			return "", errDoubly
		}
	}
	return s, nil
}

const upperHex = "0123456789ABCDEF"

func writeEscape(b *strings.Builder, c byte) {
	b.WriteByte('%')
	b.WriteByte(upperHex[c>>4])
	b.WriteByte(upperHex[c&15])
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// unreserved is RFC 3986 §2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// subDelim is what else RFC 3986 §3.3 allows in a segment unescaped, without
// the semicolon. Escaped or not may matter to an upstream, so it stays as sent.
func subDelim(c byte) bool { return strings.IndexByte("!$&'()*+,=:@", c) >= 0 }
