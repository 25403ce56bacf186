package rest

import (
	"net/http"
	"strings"
)

// face returns the handler of another protocol that a path belongs to; nil
// when it is the API's. It is asked before the mux: these are the paths that
// are called for each use of a credential.
func (s *server) face(path string) http.Handler {
	switch {
	case webPaths[path], strings.HasPrefix(path, "/login/"), strings.HasPrefix(path, "/assets/"),
		strings.HasPrefix(path, "/requests/"), strings.HasPrefix(path, "/grants/"):
		return s.Web
	case strings.HasPrefix(path, "/oauth/"):
		return s.OAuth
	case strings.HasPrefix(path, "/access/v1/"):
		return s.AuthZEN
	}
	switch path {
	case "/.well-known/oauth-authorization-server", "/.well-known/jwks.json":
		return s.OAuth
	case "/.well-known/authzen-configuration":
		return s.AuthZEN
	}
	return nil
}

// webPaths are the pages on which people log in, ask and decide.
var webPaths = map[string]bool{"/": true, "/request": true, "/inbox": true, "/login": true, "/logout": true, "/device": true, "/device/confirm": true, "/setup": true, "/oauth/authorize": true}

// forwarded reports whether a request came by way of a proxy's question.
func (s *server) forwarded(r *http.Request) bool {
	return s.Forward != nil && strings.HasPrefix(r.URL.Path, "/authz/")
}

// The headers of every answer, shared between all: they are never changed.
var (
	nosniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	noStore    = []string{"no-store"}
	nothing    = []string{"default-src 'none'; frame-ancestors 'none'"}
	noFrame    = []string{"DENY"}
	sameOrigin = []string{"same-origin"}
	onlyTLS    = []string{"max-age=31536000"}
)

// secure sets the headers that every answer has; handlers loosen some.
func secure(h http.Header, r *http.Request) {
	secureFace(h, r)
	h["Referrer-Policy"] = noReferrer
	h["Content-Security-Policy"] = nothing
	h["X-Frame-Options"] = noFrame
	h["Cross-Origin-Resource-Policy"] = sameOrigin
}

// secureFace sets those of an answer to another program: it is never a
// document, and nosniff keeps it from being taken for one.
func secureFace(h http.Header, r *http.Request) {
	h["X-Content-Type-Options"] = nosniff
	h["Cache-Control"] = noStore
	if r.TLS != nil {
		h["Strict-Transport-Security"] = onlyTLS
	}
}
