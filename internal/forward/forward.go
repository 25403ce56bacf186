// Package forward answers other proxies that ask, before they pass a request
// on, whether they may (forward-auth): nginx, Caddy and Traefik, and Envoy, each
// at a path of its own. Yes is 200 with who it is, no is 401 or 403.
//
// It refuses every caller that has not proven to be a configured proxy, it
// refuses to read another dialect's headers than that of the path, or to believe
// a client which resource it asks for, and it refuses what the proxy's upstream
// could read differently than the scope. It carries nothing: what it let pass
// is cut by nobody at the end of the grant, which only a gateway does.
package forward

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

// Deps is what the handler needs. All but Log are required.
type Deps struct {
	// Check decides and records: gateway.Guard.Check.
	Check func(ctx context.Context, a gateway.Attempt) (*live.Grant, error)
	// CountDenied counts who did not prove to be a proxy: gateway.Guard.CountDenied.
	CountDenied func(ip, channel, what string)
	Catalog     func() *policy.Catalog
	Incarnation func(resource string) string
	Assertion   func(grant *live.Grant) (string, error)
	Now         func() time.Time
	PeerIP      func(*http.Request) string

	Proxies   []Proxy
	Domain    string // a resource is asked for as Host: <resource>.<Domain>
	PublicURL string
	Log       *slog.Logger // nil: discarded
}

type server struct {
	Deps
	assertions *gateway.Assertions
	scopes     policy.Parsed
}

// New returns the handler of /authz/.
func New(d Deps) http.Handler {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	d.PublicURL = strings.TrimRight(d.PublicURL, "/")
	return &server{Deps: d, assertions: &gateway.Assertions{Mint: d.Assertion}}
}

// Header values that every answer shares; they are never changed.
var (
	problemType = []string{"application/problem+json"}
	noStore     = []string{"no-store"}
	noLength    = []string{"0"}
	ownToken    = []string{"authorization"}
)

// channel is the Attempt.Gateway of what is asked here.
const channel = "forward"

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dialect := dialectOf(r.RequestURI)
	if dialect == nil {
		s.refuse(w, r, http.StatusNotFound, "not_found", "There is no such endpoint: /authz/nginx, /authz/forward and /authz/envoy there are.")
		return
	}
	r.Pattern = dialect.path // what metrics name it by
	proxy := s.proxy(r)
	if proxy == nil {
		s.CountDenied(s.PeerIP(r), "gateway:"+channel, "unknown_proxy")
		s.refuse(w, r, http.StatusForbidden, "unknown_proxy", "This endpoint is for the proxies in the server's configuration: send the secret of one as Daypass-Proxy-Secret, or its client certificate.")
		return
	}
	q, err := dialect.read(r)
	if err != nil {
		s.Log.Warn("a proxy asks in another way than it should", "proxy", proxy.Name, "dialect", dialect.path, "error", err)
		s.refuse(w, r, http.StatusForbidden, "unclear", "The proxy must send what it asks about: "+err.Error()+".")
		return
	}
	res := s.resource(proxy, r, &q)
	if res == nil {
		s.CountDenied(s.PeerIP(r), "gateway:"+channel, "unknown_host")
		s.refuse(w, r, http.StatusForbidden, "unknown_resource", "No resource that this proxy may ask about has that name.")
		return
	}
	s.decide(w, r, proxy, res, &q, dialect)
}

// decide answers a question that is complete.
func (s *server) decide(w http.ResponseWriter, r *http.Request, proxy *Proxy, res *policy.Resource, q *question, d *dialect) {
	action, unclear := s.action(res, q)
	secret, err := tokenOf(r.Header["Authorization"])
	if err != nil {
		unclear = err
	}
	grant, err := s.Check(r.Context(), gateway.Attempt{
		Gateway: channel, Secret: secret, Prefix: credential.GrantToken,
		Resource: res.ID, Incarnation: s.Incarnation(res.ID), IP: s.PeerIP(r),
		Doing: doing(q), Details: proxy.details,
		Allow: func(g *live.Grant) error {
			if unclear != nil {
				return unclear
			}
			scope, err := s.scopes.Scope(res.Kind, g.Scope)
			if err != nil {
				return errors.New("the grant's scope cannot be read")
			}
			if !scope.Covers(action) {
				return errOutside
			}
			return nil
		},
	})
	if err != nil {
		s.deny(w, r, res, action, err)
		return
	}
	s.allow(w, r, grant, d)
}

var errOutside = errors.New("the grant does not cover this request")

// allow says yes, and who it is. Every header is there each time, empty if need
// be: a proxy that copies them leaves none of a client's (A26).
func (s *server) allow(w http.ResponseWriter, r *http.Request, grant *live.Grant, d *dialect) {
	token, err := s.assertions.Of(grant, s.Now())
	if err != nil && !errors.Is(err, credential.ErrTooLate) {
		s.Log.Error("forward-auth: no assertion could be made", "grant", grant.ID, "err", err)
		s.refuse(w, r, http.StatusForbidden, "unavailable", "Nothing can be decided now, so nothing is allowed. Try again.")
		return
	}
	h := w.Header()
	h["Cache-Control"], h["Content-Length"] = noStore, noLength
	values := [...]string{
		grant.Principal, strings.Join(s.Catalog().Groups(grant.Principal), ","),
		grant.Principal, grant.Request, grant.ID, api.TimeOf(grant.ExpiresAt()).String(), token,
	}
	for i, name := range IdentityHeaders {
		h[name] = values[i : i+1 : i+1]
	}
	if d.path == envoy {
		h["X-Envoy-Auth-Headers-To-Remove"] = ownToken // the grant token is none of the upstream's
	}
	w.WriteHeader(http.StatusOK)
}

// IdentityHeaders are the headers of every yes, in the order of their values.
var IdentityHeaders = [...]string{
	"Remote-User", "Remote-Groups", "Daypass-Subject", "Daypass-Request", "Daypass-Grant", "Daypass-Expires-At", "Daypass-Assertion",
}

// resource is what is asked about: by the host that the client named, or as the
// proxy says, whichever its configuration has.
func (s *server) resource(p *Proxy, r *http.Request, q *question) *policy.Resource {
	var id string
	if p.Header {
		name, err := one(r.Header, resourceHeader)
		if err != nil {
			return nil
		}
		id = name
	} else {
		host := resource.CanonicalHost(q.host)
		name, ok := strings.CutSuffix(host, "."+s.Domain)
		if !ok {
			return nil
		}
		id = name
	}
	res, ok := s.Catalog().Resource(id)
	if !ok || res.Disabled || res.Kind.Name() != "http" || !p.fronts(id) {
		return nil
	}
	return res
}

// action is the request as a scope of the resource's kind: the path as the
// proxy will pass it on, in the one form that nobody can read differently.
func (s *server) action(res *policy.Resource, q *question) (policy.Scope, error) {
	kind, ok := res.Kind.(policy.Actions)
	if !ok {
		return nil, errors.New("single requests of this kind cannot be asked about")
	}
	path, query, _ := strings.Cut(q.target, "?")
	return kind.Action(q.method, func(name string) string {
		switch name {
		case "path":
			return path
		case "query":
			return query
		}
		return ""
	})
}

// doing is what is wanted, for a person to read: no query, and no more than a
// line of it.
func doing(q *question) string {
	path, _, _ := strings.Cut(q.target, "?")
	return q.method[:min(len(q.method), 32)] + " " + path[:min(len(path), 1024)]
}

// tokenOf is the grant token of a request: the one Authorization header.
func tokenOf(headers []string) (string, error) {
	switch len(headers) {
	case 0:
		return "", nil
	case 1:
	default:
		return "-", errors.New("there is more than one Authorization header")
	}
	scheme, value, _ := strings.Cut(headers[0], " ")
	if value = strings.Trim(value, " "); !strings.EqualFold(scheme, "Bearer") || value == "" {
		return "-", nil // malformed, which is not the same as absent
	}
	return value, nil
}
