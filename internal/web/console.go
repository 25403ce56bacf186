package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

// access is what the pages of the console ask the broker: what rest asks it
// too, with the same meaning.
type access interface {
	Me(ctx context.Context, c identity.Caller) (api.Me, error)
	Resources(ctx context.Context, c identity.Caller) ([]api.Resource, error)
	Resource(ctx context.Context, c identity.Caller, id string) (api.Resource, error)
	Lengths(ctx context.Context, c identity.Caller, resource, role string, of []time.Duration) ([]api.Decision, error)
	DryRun(ctx context.Context, c identity.Caller, s broker.Submission) (api.Decision, error)
	Submit(ctx context.Context, c identity.Caller, s broker.Submission, once *broker.Once) (broker.View, error)
	Request(ctx context.Context, c identity.Caller, id string) (broker.View, error)
	Requests(ctx context.Context, c identity.Caller, q broker.RequestQuery) ([]broker.View, string, error)
	Review(ctx context.Context, c identity.Caller, id string, v broker.Vote, once *broker.Once) (broker.View, error)
	Cancel(ctx context.Context, c identity.Caller, id string) (broker.View, error)
	Grant(ctx context.Context, c identity.Caller, id string) (api.Grant, error)
	Issue(ctx context.Context, c identity.Caller, grant, format string, once *broker.Once) (api.Credential, error)
	Revoke(ctx context.Context, c identity.Caller, grant, reason string) (api.Grant, error)
	Extend(ctx context.Context, c identity.Caller, grant string, d time.Duration, reason, ticket string, once *broker.Once) (broker.View, error)
	Events(ctx context.Context, c identity.Caller, q broker.EventQuery) ([]api.Event, string, error)
}

// screen is one page of the console.
type screen struct {
	Title  string // the heading, and with "· Daypass" the title
	Here   string // which entry of the navigation it is, "" for none
	Alert  string // what went wrong, said above everything else
	Trying bool   // the server is for trying things, and takes anybody's word
	Live   bool   // the script may load it anew when something moves
	Style  string
	Script string
	Me     api.Me
	Now    time.Time
	Data   any
}

// console writes a page of the console. Who looks at it is asked anew: a person
// who was removed a moment ago sees nothing.
func (s *server) console(w http.ResponseWriter, r *http.Request, status int, name string, p screen) {
	me, err := s.Broker.Me(r.Context(), callerOf(r))
	if err != nil {
		s.refused(w, err)
		return
	}
	p.Me, p.Now, p.Style, p.Script, p.Trying = me, s.Now(), stylePath, scriptPath, s.Cast != nil
	p.Live = p.Live && r.Method == http.MethodGet // the answer to a form is not asked for again
	s.write(w, status, consolePolicy, name, p)
}

// way is one link that leads on from an error.
type way struct{ Text, Link string }

// problem shows an error of the broker inside the console, and what to do next.
func (s *server) problem(w http.ResponseWriter, r *http.Request, err error, ways ...way) {
	var e *broker.Error
	if !errors.As(err, &e) || e.Kind == broker.Unauthorized {
		s.refused(w, err)
		return
	}
	if h := e.Hint; h != nil {
		ways = append([]way{{"Ask for access that would be given", askLink(h.Body.Resource, h.Body.Role, h.Body.Duration.String())}}, ways...)
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	title := "That was not possible"
	if e.Kind == broker.NotFound {
		title = "There is no such page"
	}
	s.console(w, r, statusOf(e.Kind), "problem", screen{Title: title, Data: struct {
		Text string
		Ways []way
	}{e.Message, append(ways, way{"My access", "/"}, way{"Request access", "/request"})}})
}

// askLink opens Request filled in.
func askLink(resource, role, length string) string {
	q := url.Values{"resource": {resource}}
	if role != "" {
		q.Set("role", role)
	}
	if length != "" {
		q.Set("for", length)
	}
	return "/request?" + q.Encode()
}

func statusOf(k broker.Kind) int {
	switch k {
	case broker.Invalid:
		return http.StatusUnprocessableEntity
	case broker.NotFound:
		return http.StatusNotFound
	case broker.Conflict:
		return http.StatusConflict
	case broker.Precondition:
		return http.StatusPreconditionFailed
	case broker.TooMany:
		return http.StatusTooManyRequests
	case broker.Unavailable:
		return http.StatusServiceUnavailable
	case broker.Unauthorized:
		return http.StatusUnauthorized
	case broker.Malformed:
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}

// comeBack is the page that somebody gets to after the login which r needs: the
// one that r opens, or that its form stands on.
func comeBack(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r.URL.RequestURI()
	}
	switch parts := strings.Split(r.URL.Path, "/"); parts[1] {
	case "device":
		return "/device"
	case "requests":
		return "/requests/" + parts[2]
	case "request":
		return askLink(r.PostForm.Get("resource"), r.PostForm.Get("role"), lengthIn(r.PostForm))
	}
	return home
}

// done sends the browser on to a page, which it then opens with GET.
func (s *server) done(w http.ResponseWriter, r *http.Request, to string) {
	http.Redirect(w, r, to, http.StatusSeeOther)
}
