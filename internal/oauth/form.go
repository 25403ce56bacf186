package oauth

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

const (
	maxForm  = 64 << 10 // bytes of a body
	maxToken = 8 << 10  // bytes of a token; what is longer is none of ours
)

var (
	errForm   = errors.New("send application/x-www-form-urlencoded, in UTF-8 and without Content-Encoding")
	errLong   = errors.New("the body is longer than 64 KiB")
	errBody   = errors.New("the body did not arrive whole")
	errCoding = errors.New("the form is not well encoded")
	errToken  = errors.New("send exactly one token parameter")
	errTwice  = errors.New("a parameter occurs twice")
)

// readToken reads the token parameter of a form body. Other parameters are
// ignored (RFC 6749 section 3.2), but none of those that we know may occur
// twice.
// It reads into page, and what it returns is a copy.
func readToken(w http.ResponseWriter, r *http.Request, page *[]byte) (string, error) {
	body, err := readBody(w, r, page)
	if err != nil {
		return "", err
	}
	return tokenOf(body)
}

// readBody reads the body of a form into page, and returns a copy.
func readBody(w http.ResponseWriter, r *http.Request, page *[]byte) (string, error) {
	if !isForm(r.Header) {
		return "", errForm
	}
	if r.ContentLength > maxForm {
		return "", errLong
	}
	var over *http.MaxBytesError
	switch err := fill(page, w, r); {
	case errors.As(err, &over):
		return "", errLong
	case err != nil:
		return "", errBody
	}
	return string(*page), nil
}

// fill reads the body of r, at most maxForm bytes. One whose length is known
// and short is read without a guard of its own: net/http reads no further.
func fill(page *[]byte, w http.ResponseWriter, r *http.Request) error {
	if n := r.ContentLength; n >= 0 && n <= int64(cap(*page)) {
		*page = (*page)[:n]
		_, err := io.ReadFull(r.Body, *page)
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	*page = body
	return err
}

// isForm reports whether a body is a plain form.
func isForm(h http.Header) bool {
	types := h["Content-Type"]
	if len(types) != 1 || len(h["Content-Encoding"]) > 0 {
		return false
	}
	if types[0] == "application/x-www-form-urlencoded" {
		return true // what nearly everybody sends
	}
	kind, params, err := mime.ParseMediaType(types[0])
	charset, has := params["charset"]
	return err == nil && kind == "application/x-www-form-urlencoded" && (!has || strings.EqualFold(charset, "utf-8"))
}

// tokenOf is the value of the one token parameter of a form.
func tokenOf(form string) (string, error) {
	var token string
	var tokens, hints int
	for form != "" {
		var pair string
		pair, form, _ = strings.Cut(form, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := unescape(name)
		if err != nil {
			return "", err
		}
		if value, err = unescape(value); err != nil {
			return "", err
		}
		switch name {
		case "token":
			tokens, token = tokens+1, value
		case "token_type_hint":
			hints++
		}
	}
	switch {
	case hints > 1:
		return "", errTwice
	case tokens != 1 || token == "":
		return "", errToken
	}
	return token, nil
}

// unescape decodes one name or value of a form. What needs no decoding, as our
// tokens, is not copied.
func unescape(s string) (string, error) {
	if !strings.ContainsAny(s, "%+;") {
		return s, nil
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '+':
			b.WriteByte(' ')
		case ';':
			return "", errCoding // once a separator, and still one somewhere
		case '%':
			if i+2 >= len(s) || hex(s[i+1]) < 0 || hex(s[i+2]) < 0 {
				return "", errCoding
			}
			b.WriteByte(byte(hex(s[i+1])<<4 | hex(s[i+2])))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

func hex(c byte) int {
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
