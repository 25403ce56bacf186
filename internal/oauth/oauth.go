// Package oauth is the OAuth face of Daypass: authorization server metadata
// (RFC 8414), the JWKS (RFC 7517), token introspection (RFC 7662), token
// revocation (RFC 7009) and, where the server takes tokens of jobs, their
// exchange (RFC 8693), and where people log in, the way of a command line to a
// login of its own (RFC 8252, 7636 and 8628; its pages are internal/web's).
//
// It refuses to claim an endpoint that does not exist: what proves a grant is
// issued under /v1, and without jobs and logins there is no token endpoint. It refuses to
// say why a token is not active or not accepted, and answers errors only in the
// form of RFC 6749 section 5.2. What is active, and who may ask, is the broker's
// to say.
package oauth

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

// Broker is what this package asks.
type Broker interface {
	// Introspect is the hot path: it looks into memory only.
	Introspect(ctx context.Context, c identity.Caller, token string) (broker.Introspection, error)
	// RevokeToken ends the grant of a token and never says whether there was
	// one. A caller without a principal has shown nothing but the token itself.
	RevokeToken(ctx context.Context, c identity.Caller, token string) error
	// JWKS is the current key set, encoded.
	JWKS() ([]byte, error)
	// Exchange gives a token for that of a job.
	Exchange(ctx context.Context, c identity.Caller, token string) (broker.Exchanged, error)
}

// Deps is what the handler needs. All but Log, Exchange, SignIn and Failure
// are required; Failure where there is one of the other two.
type Deps struct {
	Broker Broker
	// Caller finds out who sends a request, or returns a *broker.Error.
	Caller func(*http.Request) (identity.Caller, error)
	// Challenge is the WWW-Authenticate header of a 401.
	Challenge func(r *http.Request, why string) string
	// PeerIP is the address that a request comes from.
	PeerIP func(*http.Request) string
	// Exchange says that the token endpoint takes the tokens of jobs, SignIn that
	// command lines get logins there; Failure counts a proof that it refused, and
	// says how long its address must wait, 0 for not at all.
	Exchange bool
	SignIn   *SignIn
	Failure  func(*http.Request) time.Duration
	// Issuer is public_url, without a trailing slash.
	Issuer string
	// Types are the authorization_details types, urn:daypass:http …
	Types []string
	Log   *slog.Logger // nil: discarded
}

type server struct {
	Deps
	issuer   []byte // quoted
	metadata []byte
}

// New returns the handler of /oauth/ and of the OAuth documents under
// /.well-known/.
func New(d Deps) http.Handler {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	d.Issuer = strings.TrimRight(d.Issuer, "/")
	s := &server{Deps: d, issuer: quote(nil, d.Issuer)}
	s.metadata = s.describe()
	return s
}

// ServeHTTP implements http.Handler. Paths are few and exact; introspection,
// which is asked for each use of a token, is the first.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve, allow := s.route(r.URL.Path)
	switch {
	case serve == nil:
		refuse(w, http.StatusNotFound, "invalid_request", "there is no such endpoint")
	case r.Method == allow, allow == http.MethodGet && r.Method == http.MethodHead:
		r.Pattern = r.URL.Path // what metrics name it by
		serve(s, w, r)
	default:
		r.Pattern = r.URL.Path
		if allow == http.MethodGet {
			allow = "GET, HEAD"
		}
		w.Header().Set("Allow", allow)
		refuse(w, http.StatusMethodNotAllowed, "invalid_request", "this endpoint takes "+allow)
	}
}

func (s *server) route(path string) (serve func(*server, http.ResponseWriter, *http.Request), method string) {
	switch path {
	case "/oauth/introspect":
		return (*server).introspect, http.MethodPost
	case "/oauth/revoke":
		return (*server).revoke, http.MethodPost
	case "/oauth/token":
		if len(s.grants()) > 0 {
			return (*server).token, http.MethodPost
		}
	case "/oauth/device_authorization":
		if s.SignIn != nil {
			return (*server).deviceAuthorization, http.MethodPost
		}
	case "/.well-known/jwks.json":
		return (*server).serveJWKS, http.MethodGet
	case "/.well-known/oauth-authorization-server":
		return (*server).serveMetadata, http.MethodGet
	}
	return nil, ""
}
