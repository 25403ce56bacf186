package oauth

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

// revoke answers RFC 7009: 200 whatever the token was. Who holds a token may
// end it without an API token: possession proves that, and ending access early
// harms nobody else (RFC 7009 section 2.1, public clients). An API token that
// is sent must be good; then the record names its principal.
func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	w.Header()["Cache-Control"] = noStore
	caller := identity.Caller{IP: s.PeerIP(r), Channel: "api"}
	if len(r.Header["Authorization"]) > 0 {
		var err error
		if caller, err = s.Caller(r); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	token, err := readToken(w, r, new([]byte))
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	if len(token) <= maxToken && ascii(token) {
		if err := s.Broker.RevokeToken(r.Context(), caller, token); err != nil && !unsaid(err) {
			s.fail(w, r, err)
			return
		}
	}
	w.WriteHeader(http.StatusOK)
}

// unsaid reports whether an error would tell a caller something of a token: it
// is answered like success.
func unsaid(err error) bool {
	var refused *broker.Error
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Kind {
	case broker.Unavailable, broker.TooMany, broker.Unauthorized:
		return false
	}
	return true
}

// fail answers an error of the broker, or one that nobody foresaw, in the form
// of RFC 6749 section 5.2.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody is there to read it
	}
	var refused *broker.Error
	if !errors.As(err, &refused) {
		s.Log.Error("call failed", "method", r.Method, "route", r.Pattern, "error", err)
		refuse(w, http.StatusInternalServerError, "server_error", "something failed inside; the server's log has more")
		return
	}
	if refused.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((refused.RetryAfter+time.Second-1)/time.Second), 10))
	}
	switch refused.Kind {
	case broker.Unauthorized:
		w.Header().Set("WWW-Authenticate", s.Challenge(r, refused.Message))
		code := "invalid_client"
		if len(r.Header["Authorization"]) > 0 {
			code = "invalid_token"
		}
		refuse(w, http.StatusUnauthorized, code, refused.Message)
	case broker.Forbidden:
		refuse(w, http.StatusForbidden, "insufficient_scope", "this caller may not ask about tokens")
	case broker.TooMany:
		refuse(w, http.StatusTooManyRequests, "temporarily_unavailable", refused.Message)
	case broker.Unavailable:
		refuse(w, http.StatusServiceUnavailable, "temporarily_unavailable", refused.Message)
	default:
		refuse(w, http.StatusBadRequest, "invalid_request", refused.Message)
	}
}

// refuse writes an error in the form of RFC 6749 section 5.2.
func refuse(w http.ResponseWriter, status int, code, why string) {
	w.Header()["Content-Type"], w.Header()["Cache-Control"] = jsonType, noStore
	w.WriteHeader(status)
	b := append([]byte(nil), `{"error":`...)
	b = quote(b, code)
	b = append(b, `,"error_description":`...)
	b = quote(b, why)
	_, _ = w.Write(append(b, "}\n"...))
}
