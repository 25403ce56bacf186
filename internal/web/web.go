// Package web is what a person sees in a browser: the pages on which people log
// in and let their command line in, and the console on which they ask, decide
// and use. All of it is plain HTML that works without a script. A page of the
// console asks person for who is there, sends form posts through posted, and is
// written by console; the pages before a login are written by show.
//
// It refuses a post that another site's page sends, to change anything on GET,
// and a way back to anywhere but its own pages. It decides nothing: who somebody
// is the provider says, and what they may do the broker.
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
	access
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
	// Cast are those as whom anybody is logged in who says so, for trying things;
	// nil on every other server.
	Cast *Cast
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
	s.mux.HandleFunc("GET "+scriptPath, serveScript)
	for _, rt := range s.routes() {
		s.mux.HandleFunc(rt.pattern, rt.serve)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, http.StatusNotFound, "There is no such page", "Look at the address again, or open "+s.PublicURL+"/ and go on from there.")
	})
	return s
}

// route is one page, or one form.
type route struct {
	pattern string
	serve   http.HandlerFunc
}

func (s *server) routes() []route {
	form := func(next http.HandlerFunc) http.HandlerFunc { return s.posted(s.person(next)) }
	return []route{
		{"GET /login", s.login},
		{"GET /login/start/{provider}", s.start},
		{"GET /login/callback/{provider}", s.callback},
		{"POST /login/as", s.posted(s.loginAs)},
		{"POST /logout", s.posted(s.logout)},
		{"GET /setup", s.setup},
		{"POST /setup", s.posted(s.setUp)},
		{"GET /device", s.person(s.device)},
		{"POST /device", form(s.deviceTyped)},
		{"POST /device/confirm", form(s.deviceConfirmed)},
		{"GET /oauth/authorize", s.authorize},
		{"POST /oauth/authorize", s.posted(s.authorized)},

		{"GET /{$}", s.person(s.mine)},
		{"GET /request", s.person(s.ask)},
		{"POST /request", form(s.askedFor)},
		{"GET /inbox", s.person(s.inbox)},
		{"GET /requests/{id}", s.person(s.request)},
		{"POST /requests/{id}/review", form(s.reviewed)},
		{"POST /requests/{id}/cancel", form(s.cancelled)},
		{"POST /grants/{id}/credential", form(s.credential)},
		{"GET /grants/{id}/extend", s.person(s.extend)},
		{"POST /grants/{id}/extend", form(s.extended)},
		{"POST /grants/{id}/end", form(s.ended)},
	}
}

// Routes lists the pages and forms, as "GET /path".
func Routes() []string {
	var out []string
	for _, rt := range (&server{}).routes() {
		out = append(out, rt.pattern)
	}
	return out
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// posted lets a post through that a page of this server sent, with a form of a
// size that ours have.
func (s *server) posted(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !identity.SameOrigin(s.PublicURL, r) {
			s.fail(w, http.StatusForbidden, "Not from here", "This can be sent from a page of this server alone. Open "+s.PublicURL+"/ and begin there.")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.ParseForm() != nil {
			s.fail(w, http.StatusBadRequest, "That cannot be read", "Go back and try again.")
			return
		}
		next(w, r)
	}
}

// maxForm is what a form may have: a reason of the greatest length, each of its
// characters four bytes and each of those three in a form, and the rest.
const maxForm = 128 << 10

// pageTimeout bounds a page, as it does a call of the API (ATTACKS RES-10).
const pageTimeout = 30 * time.Second

type callerKey struct{}

// person lets those through who are logged in, and others log in first.
func (s *server) person(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := s.who(r)
		if err != nil {
			s.logInFirst(w, r, err, comeBack(r))
			return
		}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callerKey{}, c), pageTimeout)
		defer cancel()
		next(w, r.WithContext(ctx))
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
	if err == nil && (c.Login == "" || len(r.Header["Authorization"]) > 0) {
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
	if len(s.Providers.Choices()) == 0 && s.Cast == nil && s.shell(w, r) {
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
	if errors.Is(err, context.DeadlineExceeded) {
		s.fail(w, http.StatusServiceUnavailable, "This took too long", "It was given up. Look at My access for what has become of it before you try again.")
		return
	}
	if !errors.As(err, &e) {
		s.Log.Error("a page failed", "error", err)
		s.fail(w, http.StatusInternalServerError, "Something failed inside", "The server's log says what. Try again in a moment.")
		return
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	s.fail(w, statusOf(e.Kind), "That was not possible", e.Message)
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
