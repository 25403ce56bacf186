// Package web is what a person sees in a browser: the pages on which people log
// in and let their command line in, in plain HTML without scripts. The console
// grows here: a page of it asks person for who is there, sends form posts
// through posted, and is written by show.
//
// It refuses a post that another site's page sends, a way back to anywhere but
// its own pages, and to repeat what somebody sent. It decides nothing: who
// somebody is the provider says, and what they may do the broker.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/oidc"
	"github.com/daypass/daypass/internal/signin"
)

// Broker is what this package asks.
type Broker interface {
	LogIn(ctx context.Context, a broker.Arrival) (broker.LoggedIn, error)
	SetUp(ctx context.Context, link, label, ip string) (broker.LoggedIn, error)
	EndLogin(ctx context.Context, c identity.Caller, id string) error
}

// Providers are those by which people log in.
type Providers interface {
	Choices() []oidc.Choice
	Begin(ctx context.Context, name, to string) (oidc.Attempt, error)
	Finish(ctx context.Context, name string, query url.Values, ticket string) (oidc.Person, string, error)
}

// Deps is what New needs. All but Log are required.
type Deps struct {
	Broker    Broker
	Providers Providers
	Codes     *signin.Codes
	Devices   *signin.Devices
	PublicURL string
	// Person finds out who sends a request, by its cookie.
	Person func(*http.Request) (identity.Caller, error)
	// Failure counts a login that failed, and says how long its address must
	// wait, 0 for not at all.
	Failure func(*http.Request) time.Duration
	PeerIP  func(*http.Request) string
	Now     func() time.Time
	Log     *slog.Logger // nil: discarded
}

type server struct {
	Deps
	cookies identity.Cookies
	mux     *http.ServeMux
}

// New returns the handler of the pages.
func New(d Deps) http.Handler {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	d.PublicURL = strings.TrimRight(d.PublicURL, "/")
	s := &server{Deps: d, cookies: identity.CookiesOf(d.PublicURL), mux: http.NewServeMux()}
	s.mux.HandleFunc("GET "+stylePath, serveStyle)
	s.mux.HandleFunc("GET /login", s.login)
	s.mux.HandleFunc("GET /login/start/{provider}", s.start)
	s.mux.HandleFunc("GET /login/callback/{provider}", s.callback)
	s.mux.HandleFunc("POST /logout", s.posted(s.logout))
	s.mux.HandleFunc("GET /setup", s.setup)
	s.mux.HandleFunc("POST /setup", s.posted(s.setUp))
	s.mux.HandleFunc("GET /device", s.person(s.device))
	s.mux.HandleFunc("POST /device", s.posted(s.person(s.deviceTyped)))
	s.mux.HandleFunc("POST /device/confirm", s.posted(s.person(s.deviceConfirmed)))
	s.mux.HandleFunc("GET /oauth/authorize", s.authorize)
	s.mux.HandleFunc("POST /oauth/authorize", s.posted(s.authorized))
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, http.StatusNotFound, "There is no such page", "Look at the address again.")
	})
	return s
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// posted lets a post through that a page of this server sent, with a form of a
// size that ours have.
func (s *server) posted(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !identity.SameOrigin(s.PublicURL, r) {
			s.fail(w, http.StatusForbidden, "Not from here", "This can be sent from a page of this server alone. Open "+s.PublicURL+"/login and begin there.")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
		if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.ParseForm() != nil {
			s.fail(w, http.StatusBadRequest, "That cannot be read", "Go back and try again.")
			return
		}
		next(w, r)
	}
}

type callerKey struct{}

// person lets those through who are logged in, and others log in first.
func (s *server) person(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := s.who(r)
		if err != nil {
			s.logInFirst(w, r, err, "/device")
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	}
}

// callerOf is whom person let through.
func callerOf(r *http.Request) identity.Caller {
	c, _ := r.Context().Value(callerKey{}).(identity.Caller)
	return c
}

// who is the person whose browser sends r: never one who shows a token.
func (s *server) who(r *http.Request) (identity.Caller, error) {
	c, err := s.Person(r)
	if err == nil && c.Login == "" {
		return c, &broker.Error{Kind: broker.Unauthorized, Code: "unauthorized", Message: "Log in in this browser."}
	}
	return c, err
}

// logInFirst sends somebody to the login, and back afterwards.
func (s *server) logInFirst(w http.ResponseWriter, r *http.Request, err error, to string) {
	if !unauthorized(err) {
		s.refused(w, err)
		return
	}
	http.Redirect(w, r, "/login?return_to="+url.QueryEscape(to), http.StatusSeeOther)
}

func unauthorized(err error) bool {
	var e *broker.Error
	return errors.As(err, &e) && e.Kind == broker.Unauthorized
}

// refused shows an error of the broker.
func (s *server) refused(w http.ResponseWriter, err error) {
	var e *broker.Error
	if !errors.As(err, &e) {
		s.Log.Error("a page failed", "error", err)
		s.fail(w, http.StatusInternalServerError, "Something failed inside", "The server's log says what. Try again in a moment.")
		return
	}
	status := http.StatusForbidden
	switch e.Kind {
	case broker.Unavailable:
		status = http.StatusServiceUnavailable
	case broker.TooMany:
		status = http.StatusTooManyRequests
	case broker.Unauthorized:
		status = http.StatusUnauthorized
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	s.fail(w, status, "That was not possible", e.Message)
}

// throttled counts a failure and reports whether its address has had too many.
func (s *server) throttled(w http.ResponseWriter, r *http.Request) bool {
	wait := s.Failure(r)
	if wait <= 0 {
		return false
	}
	s.refused(w, &broker.Error{Kind: broker.TooMany, Message: "Too many logins from this address failed. Wait a minute.", RetryAfter: wait})
	return true
}
