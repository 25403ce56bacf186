package rest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of what is read (CONTRACT §5).
const (
	maxBody  = 64 << 10         // bytes of a JSON body
	maxDepth = 64               // of nested objects and arrays
	bodyTime = 15 * time.Second // for all of a body to arrive
)

// readJSON reads a JSON body and refuses what is not exactly one strict JSON
// object. An empty body is refused too, unless optional: then it is {}.
func readJSON(w http.ResponseWriter, r *http.Request, optional bool) ([]byte, error) {
	raw, kind, err := readBody(w, r, maxBody)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		if optional {
			return []byte("{}"), nil
		}
		return nil, malformed("body", "The body is empty; this call takes a JSON object.")
	}
	if !isJSON(kind) {
		return nil, unsupported("Send Content-Type: application/json.")
	}
	return raw, scanJSON(raw)
}

// readBody reads at most limit bytes, within bodyTime. The media type is
// returned lower-case and without parameters.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, string, error) {
	kind, err := mediaType(r)
	if err != nil {
		return nil, "", err
	}
	tooLarge := malformed("body", fmt.Sprintf("The body is longer than %d KiB.", limit>>10))
	tooLarge.code = "body_too_large"
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close")
		return nil, "", tooLarge
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, "", tooLarge
	case err != nil:
		return nil, "", malformed("body", "The body did not arrive whole.")
	}
	// The deadline was for the body; what follows may take longer.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return raw, kind, nil
}

// mediaType is the type of the body. Compressed bodies and texts that are not
// UTF-8 are refused unread.
func mediaType(r *http.Request) (string, error) {
	for _, e := range r.Header.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(e), "identity") {
			return "", unsupported("Send the body without Content-Encoding.")
		}
	}
	types := r.Header.Values("Content-Type")
	if len(types) == 0 {
		return "", nil
	}
	kind, params, err := mime.ParseMediaType(types[0])
	if err != nil || len(types) > 1 {
		return "", unsupported("The Content-Type is not one media type.")
	}
	if c, ok := params["charset"]; ok && !strings.EqualFold(c, "utf-8") {
		return "", unsupported("Send the body as UTF-8.")
	}
	return kind, nil
}

func isJSON(kind string) bool {
	return kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

// scanJSON refuses what encoding/json would let pass: text that is not UTF-8,
// names that occur twice in one object, also when only their case differs, data
// after the value, a value that is not an object, nesting without end. Its work
// is linear in the length of raw.
func scanJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return malformed("body", "The body is not valid UTF-8.")
	}
	// Names are compared here, folded; jsontext would compare them exactly.
	d := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true))
	if d.PeekKind() != '{' {
		if _, err := d.ReadToken(); err != nil {
			return badJSON(d, err)
		}
		return malformed("body", "The body must be a JSON object.")
	}
	var names []map[string]struct{} // of each open object; nil for an array
	for {
		tok, err := d.ReadToken()
		if err != nil {
			return badJSON(d, err)
		}
		switch tok.Kind() {
		case '{', '[':
			if len(names) == maxDepth {
				return malformed("body", fmt.Sprintf("The body is nested deeper than %d.", maxDepth))
			}
			var set map[string]struct{}
			if tok.Kind() == '{' {
				set = map[string]struct{}{}
			}
			names = append(names, set)
		case '}', ']':
			names = names[:len(names)-1]
			if len(names) == 0 {
				if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
					return malformed("body", "There is something after the JSON object.")
				}
				return nil
			}
		case '"':
			set := names[len(names)-1]
			if kind, n := d.StackIndex(d.StackDepth()); kind != '{' || n%2 == 0 {
				break // a value: a name leaves an odd count
			}
			name := fold(tok.String())
			if _, twice := set[name]; twice {
				return malformed(pointer(d), "This name occurs twice in one object.")
			}
			set[name] = struct{}{}
		}
	}
}

func badJSON(d *jsontext.Decoder, _ error) error {
	return malformed("body", fmt.Sprintf("The body is not valid JSON near byte %d.", d.InputOffset()))
}

// pointer is where the decoder is, as errors[].location writes it.
func pointer(d *jsontext.Decoder) string {
	var b strings.Builder
	b.WriteString("body")
	for token := range d.StackPointer().Tokens() {
		b.WriteByte('.')
		b.WriteString(clip(token, 64))
		if b.Len() > 256 {
			b.WriteString("…")
			break
		}
	}
	return b.String()
}

// fold maps names that differ only in case to the same text, as encoding/json
// would match them.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// clip shortens s to at most n bytes, at a character's edge.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
