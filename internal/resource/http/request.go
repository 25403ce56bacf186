package httpkind

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
)

// call is one request with what was found out about it.
type call struct {
	w        http.ResponseWriter
	r        *http.Request
	resource *policy.Resource
	config   *Config
	host     string // canonical, without port
	target   target
	proof    proof
}

// proof is how a request proves its grant.
type proof struct {
	secret string // "" when there is none
	prefix string
	pass   string // an Authorization header that is the application's, not ours
}

var (
	errTwoAuth   = errors.New("there is more than one Authorization header")
	errCookies   = errors.New("there are more than 200 cookies")
	errTwoCookie = errors.New("the login cookie is there more than once")
)

// cookie reports whether the proof came from a browser's login.
func (p proof) cookie() bool { return p.prefix == credential.GrantCookie && p.secret != "" }

// serve answers one request. The order: which resource; which target, in one
// reading; who; what the grant allows; on record; forward.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r}
	c.resource, c.config, c.host = g.find(r.Host)
	if c.resource == nil {
		g.deps.Guard.CountDenied(peer(r), "gateway:http", "unknown_host")
		g.refuse(c, http.StatusMisdirectedRequest, "unknown_resource", "No resource of this gateway has that host name.")
		return
	}
	var bad error
	c.proof, bad = g.proofOf(r)
	target, err := parseTarget(r.RequestURI)
	if err != nil {
		bad = err
	}
	if bad != nil {
		g.record(c, bad)
		status := http.StatusBadRequest
		if errors.Is(bad, errPathLong) || errors.Is(bad, errQueryLong) {
			status = http.StatusRequestURITooLong
		}
		g.refuse(c, status, "ambiguous_request", "The request was refused because "+bad.Error()+".")
		return
	}
	c.target = target
	if target.segments[0] == ownPaths {
		g.serveOwn(c)
		return
	}
	if !slices.Contains(methods, r.Method) {
		g.record(c, errors.New("the method is not one that a scope can allow"))
		w.Header().Set("Allow", strings.Join(methods, ", "))
		g.refuse(c, http.StatusMethodNotAllowed, "method_not_allowed", "Scopes allow "+strings.Join(methods, ", ")+" and nothing else.")
		return
	}
	session, err := g.deps.Guard.Open(r.Context(), g.attempt(c, func(grant *live.Grant) error { return g.allow(c, grant) }))
	if err != nil {
		g.deny(c, err)
		return
	}
	g.forward(c, session)
}

// attempt describes c to the guard.
func (g *Gateway) attempt(c *call, allow func(*live.Grant) error) gateway.Attempt {
	method := c.r.Method
	if len(method) > 32 {
		method = method[:32]
	}
	doing := method
	details := map[string]any{"method": method}
	if c.target.path != "" {
		doing += " " + c.target.path
		details["path"] = c.target.path
	}
	return gateway.Attempt{
		Gateway: "http", Secret: c.proof.secret, Prefix: c.proof.prefix, Host: c.host,
		Resource: c.resource.ID, Incarnation: g.deps.Incarnation(c.resource.ID),
		IP: peer(c.r), Doing: doing, Details: details, Allow: allow,
	}
}

// record has a request that is refused as such put on record under whoever
// sent it.
func (g *Gateway) record(c *call, why error) {
	session, err := g.deps.Guard.Open(c.r.Context(), g.attempt(c, func(*live.Grant) error { return why }))
	if err == nil {
		session.Close(gateway.Stats{})
	}
}

// allow is the scope check of one request.
func (g *Gateway) allow(c *call, grant *live.Grant) error {
	parsed, err := g.scopes.Scope(Kind{}, grant.Scope)
	scope, ok := parsed.(*Scope)
	if err != nil || !ok {
		return errors.New("the grant's scope cannot be read")
	}
	if !scope.allows(c.r.Method, c.target.segments) {
		return errors.New("the grant allows " + scope.String())
	}
	return nil
}

// proofOf finds the credential of a request: the Authorization header, else
// the cookie of a browser's login. Credentials in URLs are none.
func (g *Gateway) proofOf(r *http.Request) (proof, error) {
	auth := r.Header["Authorization"]
	if len(auth) > 1 {
		return proof{}, errTwoAuth
	}
	cookies, total := ourCookies(r.Header, g.cookieName())
	if total > maxCookies {
		if len(auth) == 0 {
			return proof{prefix: credential.GrantToken}, nil // nobody
		}
		return proof{}, errCookies
	}
	var pass string
	if len(auth) == 1 {
		scheme, value, _ := strings.Cut(auth[0], " ")
		value = strings.Trim(value, " ")
		ownScheme := strings.EqualFold(scheme, "Bearer")
		if ownScheme && (strings.HasPrefix(value, "dp") || len(cookies) == 0) {
			if value == "" {
				value = "-" // malformed, which is not the same as absent
			}
			return proof{secret: value, prefix: credential.GrantToken}, nil
		}
		pass = passable(scheme, auth[0])
	}
	switch len(cookies) {
	case 0:
		return proof{prefix: credential.GrantToken}, nil
	case 1:
		return proof{secret: cookies[0], prefix: credential.GrantCookie, pass: pass}, nil
	}
	return proof{}, errTwoCookie
}

// passable is an Authorization header that a page behind the gateway sends to
// its own server, when a cookie stands for the grant. Schemes that bind a
// connection to a person are not: connections are shared (A27).
func passable(scheme, header string) string {
	switch strings.ToLower(scheme) {
	case "basic", "bearer", "digest", "token", "apikey":
		if !holdsSecret(header) {
			return header
		}
	}
	return ""
}

// fromElsewhere reports whether a request that a cookie vouches for may have
// been made by another site's page rather than by the person.
func (g *Gateway) fromElsewhere(c *call) bool {
	if !c.proof.cookie() {
		return false
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		if upgrading(c.r.Header) { // a WebSocket is read by whoever opened it
			return !g.sameOrigin(c.r)
		}
		return crossOriginFetch(c.r)
	}
	return !g.sameOrigin(c.r)
}

// upgrading reports whether a request asks for a WebSocket. Other upgrades are
// ignored (RFC 9110 §7.8): h2c, above all, would carry requests that nobody
// checks.
func upgrading(h http.Header) bool {
	return len(h["Upgrade"]) == 1 && strings.EqualFold(h["Upgrade"][0], "websocket") && hasToken(h["Connection"], "upgrade")
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// forward carries one request, and nothing of it after the session's end.
func (g *Gateway) forward(c *call, session *gateway.Session) {
	f := &flow{
		w: c.w, control: http.NewResponseController(c.w), conn: connOf(c.r.Context()), h2: c.r.ProtoMajor == 2,
		session: session, clean: g.sanitizeResponse, config: c.config, target: c.target, client: peer(c.r), pass: c.proof.pass,
	}
	defer func() {
		f.close()
		session.Close(gateway.Stats{BytesIn: f.in.Load(), BytesOut: f.out.Load(), Details: map[string]any{"status": f.status}})
	}()
	if g.fromElsewhere(c) {
		g.refuse(c, http.StatusForbidden, "cross_origin", "A browser sent this request on behalf of a page of another site. Open this site itself, or send the token in the Authorization header.")
		return
	}
	if c.config.maxBody > 0 && c.r.ContentLength > c.config.maxBody {
		g.refuse(c, http.StatusRequestEntityTooLarge, "body_too_large", "The body is larger than this resource takes.")
		return
	}
	token, err := g.assertions.Of(session.Grant, g.now())
	if err != nil && !errors.Is(err, credential.ErrTooLate) {
		g.log.Error("http gateway: no assertion could be made", "grant", session.Grant.ID, "err", err)
		g.unavailable(c)
		return
	}
	f.token = token // none in the grant's last instants, when it would be over on arrival
	ctx, cancel := context.WithCancel(context.WithValue(c.r.Context(), flowKey{}, f))
	defer cancel()
	f.cancel = cancel
	session.OnEnd(f.cut)
	if t := time.AfterFunc(longLived, func() { _ = session.Started(context.WithoutCancel(ctx)) }); t != nil {
		defer t.Stop()
	}
	g.carry(c, f, c.r.WithContext(ctx))
}

// longLived is when a request counts as a session of its own in the record.
const longLived = 5 * time.Second

// carry runs the proxy and, when the flow was cut, ends the response so that
// it cannot be taken for complete.
func (g *Gateway) carry(c *call, f *flow, r *http.Request) {
	aborted := func() (aborted bool) {
		defer func() {
			if v := recover(); v != nil {
				if v != http.ErrAbortHandler { //nolint:errorlint // the value itself is the signal
					panic(v)
				}
				aborted = true
			}
		}()
		g.upstreams.of(c.resource.ID, c.config).ServeHTTP(f, r)
		return false
	}()
	f.finishUpgrade()
	cut, wrote := f.outcome()
	switch {
	case cut && wrote:
		panic(http.ErrAbortHandler)
	case cut:
		clear(c.w.Header())
		if r.ProtoMajor == 1 {
			c.w.Header().Set("Connection", "close")
		}
		g.denyCut(c, f.session)
	case aborted:
		panic(http.ErrAbortHandler)
	default:
		f.clean(c.w.Header()) // trailers
		_ = f.FlushError()    // while the session can still unblock it
		if cut, _ := f.outcome(); cut {
			panic(http.ErrAbortHandler)
		}
	}
}
