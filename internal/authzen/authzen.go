// Package authzen is the OpenID AuthZEN face of Daypass (Authorization API
// 1.0): one decision, several in one call, and the document that says where
// they are. A decision is true only while an active grant of that subject
// covers the action.
//
// It refuses to decide: the broker does. It refuses to turn a question that
// lacks something into a decision — that is 400 — and a denial into an error:
// that is 200 and false. There is no search: who holds what is not told here.
package authzen

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

// Broker is what this package asks: the hot path, from memory.
type Broker interface {
	Evaluate(ctx context.Context, c identity.Caller, q broker.Question) (broker.Answer, error)
}

// Deps is what the handler needs. All but Log are required.
type Deps struct {
	Broker Broker
	// Caller finds out who sends a request, or returns a *broker.Error.
	Caller func(*http.Request) (identity.Caller, error)
	// Challenge is the WWW-Authenticate header of a 401.
	Challenge func(r *http.Request, why string) string
	// PublicURL is the policy decision point's name.
	PublicURL string
	Log       *slog.Logger // nil: discarded
}

type server struct {
	Deps
	document []byte
}

// New returns the handler of /access/v1/ and of the AuthZEN document under
// /.well-known/.
func New(d Deps) http.Handler {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	d.PublicURL = strings.TrimRight(d.PublicURL, "/")
	s := &server{Deps: d}
	s.document = s.describe()
	return s
}

// Header values that every answer shares; they are never changed.
var (
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	noStore     = []string{"no-store"}
)

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	echo(w.Header(), r.Header)
	serve, method := route(r.URL.Path)
	switch {
	case serve == nil:
		refuse(w, http.StatusNotFound, "not_found", "There is no such endpoint; /.well-known/authzen-configuration names those there are.")
		return
	case r.Method == method, method == http.MethodGet && r.Method == http.MethodHead:
		r.Pattern = r.URL.Path // what metrics name it by
		serve(s, w, r)
	default:
		r.Pattern = r.URL.Path
		if method == http.MethodGet {
			method = "GET, HEAD"
		}
		w.Header().Set("Allow", method)
		refuse(w, http.StatusMethodNotAllowed, "method_not_allowed", "This endpoint takes "+method+".")
	}
}

func route(path string) (serve func(*server, http.ResponseWriter, *http.Request), method string) {
	switch path {
	case "/access/v1/evaluation":
		return (*server).evaluation, http.MethodPost
	case "/access/v1/evaluations":
		return (*server).evaluations, http.MethodPost
	case "/.well-known/authzen-configuration":
		return (*server).configuration, http.MethodGet
	}
	return nil, ""
}

// echo repeats the X-Request-ID of a call, where it is one that a log can take.
func echo(out, in http.Header) {
	id := in["X-Request-Id"]
	if len(id) != 1 || id[0] == "" || len(id[0]) > 256 {
		return
	}
	for i := range len(id[0]) {
		if c := id[0][i]; c < ' ' || c > '~' {
			return
		}
	}
	out["X-Request-Id"] = id
}

// fail answers an error of the broker, or one that nobody foresaw. None of them
// is a decision.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody is there to read it
	}
	var refused *broker.Error
	if !errors.As(err, &refused) {
		s.Log.Error("call failed", "method", r.Method, "route", r.Pattern, "error", err)
		refuse(w, http.StatusInternalServerError, "internal", "Something failed inside; the server's log has more.")
		return
	}
	if refused.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((refused.RetryAfter+time.Second-1)/time.Second), 10))
	}
	status := http.StatusBadRequest
	switch refused.Kind {
	case broker.Unauthorized:
		w.Header().Set("WWW-Authenticate", s.Challenge(r, refused.Message))
		status = http.StatusUnauthorized
	case broker.Forbidden:
		status = http.StatusForbidden
	case broker.TooMany:
		status = http.StatusTooManyRequests
	case broker.Unavailable:
		status = http.StatusServiceUnavailable
	}
	refuse(w, status, refused.Code, refused.Message)
}

// refuse writes a problem document (RFC 9457).
func refuse(w http.ResponseWriter, status int, code, detail string) {
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = problemType, noStore
	w.WriteHeader(status)
	b := append([]byte(nil), `{"type":"urn:daypass:problem:`...)
	b = append(b, code...)
	b = append(b, `","title":`...)
	b = quote(b, http.StatusText(status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"code":`...)
	b = quote(b, code)
	b = append(b, `,"detail":`...)
	b = quote(b, detail)
	_, _ = w.Write(append(b, "}\n"...))
}
