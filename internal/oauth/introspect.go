package oauth

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/daypass/daypass/internal/broker"
)

// inactive is the whole answer for every token that is not live for this
// caller, whatever the reason (RFC 7662 section 2.2).
var inactive = []byte(`{"active":false}` + "\n")

// Header values that every answer shares; they are never changed.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
	noCache  = []string{"no-cache"}
)

// pages are the buffers of bodies and answers: each of a hot call's size, none
// of which outlives its call. The token is copied out of its page.
var pages = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// giveBack keeps a page for the next call, unless a long body made it large.
func giveBack(page *[]byte) {
	if cap(*page) <= 8<<10 {
		pages.Put(page)
	}
}

// introspect answers RFC 7662. The caller is known before the body is read.
func (s *server) introspect(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Content-Type"], h["Cache-Control"], h["Pragma"] = jsonType, noStore, noCache
	caller, err := s.Caller(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	page := pages.Get().(*[]byte)
	defer giveBack(page)
	token, err := readToken(w, r, page)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	if len(token) > maxToken || !ascii(token) {
		token = "-" // the caller's right to ask is still checked
	}
	found, err := s.Broker.Introspect(r.Context(), caller, token)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !found.Active {
		_, _ = w.Write(inactive)
		return
	}
	*page = s.encode((*page)[:0], &found)
	_, _ = w.Write(*page)
}

// ascii reports whether s is visible ASCII.
func ascii(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// encode writes an active token. Times are whole seconds, rounded down: a
// verifier that looks at exp alone never thinks a token valid for too long
// (Invariant A3).
func (s *server) encode(b []byte, t *broker.Introspection) []byte {
	b = append(b, `{"active":true,"iss":`...)
	b = append(b, s.issuer...)
	b = member(b, "sub", t.Sub)
	b = member(b, "aud", t.Aud)
	b = member(b, "client_id", t.ClientID)
	b = member(b, "jti", t.JTI)
	b = instant(b, "iat", t.Iat)
	b = instant(b, "nbf", t.Nbf)
	b = instant(b, "exp", t.Exp)
	b = member(b, "token_type", t.TokenType)
	b = member(b, "txn", t.Txn)
	b = member(b, "grant_id", t.GrantID)
	b = append(b, `,"authorization_details":[`...)
	b = t.AppendDetails(b)
	return append(b, "]}\n"...)
}

// member appends a text, and nothing for an empty one.
func member(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return quote(b, value)
}

func instant(b []byte, name string, t time.Time) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, t.Unix(), 10)
}

// quote appends s as a JSON string.
func quote(b []byte, s string) []byte {
	out, err := jsontext.AppendQuote(b, s)
	if err != nil { // not UTF-8
		out, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\uFFFD"))
	}
	return out
}
