package httpkind

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/dial"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

// flowKey is where a request's context holds its *flow.
type flowKey struct{}

func flowOf(ctx context.Context) *flow { return ctx.Value(flowKey{}).(*flow) }

// upstreams holds what is kept between requests for each resource: connections
// and injected values.
type upstreams struct {
	g    *Gateway
	dial func(upstream string) resource.DialFunc

	conns upstreamConns

	mu      sync.Mutex
	all     map[string]*upstream
	catalog *policy.Catalog // the one that all was last compared with
}

// dawdling is how long bytes of an answer of known length may wait for more of
// it, so that a short one leaves in a single write. Event streams and answers
// of unknown length wait for nothing: the proxy flushes each piece of them.
const dawdling = 5 * time.Millisecond

// upstream is one resource's service.
type upstream struct {
	config *Config
	pooled *http.Transport // ordinary requests; connections are shared
	fresh  *http.Transport // upgrades: a connection each, never used again (A27, HTT-11)
	proxy  *httputil.ReverseProxy

	mu     sync.Mutex
	values []string // of config.inject
	readAt time.Time
}

// rereadSecrets is how long a rotated secret may go unnoticed.
const rereadSecrets = 5 * time.Second

func (u *upstreams) init(g *Gateway, dialer func(string) resource.DialFunc) {
	if dialer == nil {
		dialer = func(upstream string) resource.DialFunc { return dial.New(upstream).DialContext }
	}
	u.g, u.dial, u.all = g, dialer, make(map[string]*upstream)
	u.conns.init(g.limits.Upstreams)
}

// of returns the upstream of a resource as it is configured now.
func (u *upstreams) of(id string, c *Config) *httputil.ReverseProxy {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := u.g.deps.Catalog(); now != u.catalog {
		u.catalog = now
		u.sweep(now)
	}
	up := u.all[id]
	if up == nil || up.config != c {
		if up != nil {
			up.close()
		}
		up = u.g.newUpstream(c, u.dial(c.host))
		u.all[id] = up
	}
	return up.proxy
}

// sweep forgets the resources that are gone.
func (u *upstreams) sweep(c *policy.Catalog) {
	for id, up := range u.all {
		if r, ok := c.Resource(id); !ok || r.Disabled {
			up.close()
			delete(u.all, id)
		}
	}
}

func (u *upstreams) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, up := range u.all {
		up.close()
	}
}

func (up *upstream) close() {
	up.pooled.CloseIdleConnections()
	up.fresh.CloseIdleConnections()
}

func (g *Gateway) newUpstream(c *Config, dialContext resource.DialFunc) *upstream {
	up := &upstream{config: c}
	up.pooled = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return g.upstreams.conns.dial(func() (net.Conn, error) { return dialContext(ctx, network, addr) })
		},
		// No Proxy: it would see the traffic, and resolve names again elsewhere.
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dial.Timeout,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1: one request to a connection
		DisableCompression:     true,                                                   // bodies pass as they are
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        time.Minute,
		ResponseHeaderTimeout:  c.timeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
	up.fresh = up.pooled.Clone()
	up.fresh.DisableKeepAlives = true
	up.proxy = &httputil.ReverseProxy{
		Rewrite:        func(p *httputil.ProxyRequest) { g.rewrite(p, up) },
		Transport:      up,
		FlushInterval:  dawdling,
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		BufferPool:     &buffers,
		ModifyResponse: g.modifyResponse,
		ErrorHandler:   g.upstreamFailed,
	}
	return up
}

// bufferPool holds the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

var buffers = bufferPool{sync.Pool{New: func() any { return new([32 << 10]byte) }}}

// Get implements httputil.BufferPool.
func (b *bufferPool) Get() []byte { return b.pool.Get().(*[32 << 10]byte)[:] }

// Put implements httputil.BufferPool.
func (b *bufferPool) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }

var errNoSecret = errors.New("reading what to inject")

// secrets returns the values of the injected headers.
func (up *upstream) secrets(now time.Time) ([]string, error) {
	up.mu.Lock()
	defer up.mu.Unlock()
	if up.values != nil && now.Sub(up.readAt) < rereadSecrets {
		return up.values, nil
	}
	values := make([]string, len(up.config.inject))
	for i, in := range up.config.inject {
		v, err := in.value.Value()
		if err != nil {
			return nil, errors.Join(errNoSecret, err)
		}
		if strings.ContainsAny(v, "\r\n\x00") {
			return nil, errors.Join(errNoSecret, errors.New("the value of "+in.name+" has a line end in it"))
		}
		values[i] = v
	}
	up.values, up.readAt = values, now
	return values, nil
}

// RoundTrip implements http.RoundTripper for the proxy.
func (up *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	f := flowOf(r.Context())
	values, err := up.secrets(time.Now())
	if err != nil {
		return nil, err
	}
	for i, in := range up.config.inject {
		r.Header[in.name] = []string{values[i]}
	}
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { f.uses(info.Conn) }}
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	if r.URL.EscapedPath() != up.config.base+f.target.path || r.URL.RawQuery != f.target.query {
		return nil, errors.New("the forwarded target is not the one that was matched") // A25; a bug
	}
	if upgrading(r.Header) {
		return up.fresh.RoundTrip(r)
	}
	return up.pooled.RoundTrip(r)
}

// rewrite makes the request that the upstream gets.
func (g *Gateway) rewrite(p *httputil.ProxyRequest, up *upstream) {
	f, out, c := flowOf(p.In.Context()), p.Out, up.config
	segments := "/" + strings.Join(f.target.segments, "/")
	base, _ := url.PathUnescape(c.base)
	out.URL = &url.URL{
		Scheme: c.scheme, Host: c.host,
		Path: base + segments, RawPath: c.base + f.target.path,
		RawQuery: f.target.query, ForceQuery: f.target.asked && f.target.query == "",
	}
	out.Host = c.hostHeader()
	out.Trailer = nil // a trailer could bear a header's name
	h := out.Header
	if !upgrading(p.In.Header) {
		delete(h, "Upgrade")
		delete(h, "Connection")
		delete(h, "Http2-Settings")
	}
	sanitizeRequest(h)
	for name := range h {
		if c.injects(name) {
			delete(h, name)
		}
	}
	stripCookies(h)
	delete(h, "Authorization")
	if f.pass != "" {
		h["Authorization"] = []string{f.pass}
	}
	h["X-Forwarded-For"] = []string{f.client}
	h["X-Forwarded-Host"] = []string{p.In.Host}
	h["X-Forwarded-Proto"] = []string{g.scheme()}
	grant := f.session.Grant
	h["Daypass-Subject"] = []string{grant.Principal}
	h["Daypass-Request"] = []string{grant.Request}
	h["Daypass-Grant"] = []string{grant.ID}
	h["Daypass-Expires-At"] = []string{api.TimeOf(grant.ExpiresAt()).String()}
	if f.token != "" {
		h["Daypass-Assertion"] = []string{f.token}
	}
	if out.Body != nil {
		body := out.Body
		if c.maxBody > 0 {
			body = http.MaxBytesReader(f.w, body, c.maxBody)
		}
		out.Body = &requestBody{ReadCloser: body, flow: f}
	}
}

// modifyResponse makes the response that the client gets.
func (g *Gateway) modifyResponse(res *http.Response) error {
	f := flowOf(res.Request.Context())
	g.sanitizeResponse(res.Header)
	rewriteLocation(res.Header, f.config)
	for name := range res.Trailer {
		if ours(name) || name == "Set-Cookie" || name == "Clear-Site-Data" {
			delete(res.Trailer, name)
		}
	}
	if bindsConnection(res.Header) {
		f.mu.Lock()
		if f.upstream != nil {
			f.upstream.spent.Store(true)
		}
		f.mu.Unlock()
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		if !upgrading(res.Request.Header) {
			return errors.New("the upstream switched protocols unasked")
		}
		f.holdUpgrade(res.Body)
		return f.session.Started(context.WithoutCancel(res.Request.Context()))
	}
	res.Body = &responseBody{ReadCloser: res.Body, flow: f}
	if strings.HasPrefix(strings.ToLower(res.Header.Get("Content-Type")), "text/event-stream") {
		return f.session.Started(context.WithoutCancel(res.Request.Context()))
	}
	return nil
}

// bindsConnection reports whether an upstream speaks of authenticating the
// connection rather than the request (NTLM, Negotiate).
func bindsConnection(h http.Header) bool {
	if len(h["Persistent-Auth"]) > 0 {
		return true
	}
	for _, line := range h["Www-Authenticate"] {
		for challenge := range strings.SplitSeq(line, ",") {
			scheme, _, _ := strings.Cut(strings.TrimSpace(challenge), " ")
			if strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate") {
				return true
			}
		}
	}
	return false
}

// upstreamFailed answers when there is no answer from the upstream.
func (g *Gateway) upstreamFailed(w http.ResponseWriter, r *http.Request, err error) {
	f := flowOf(r.Context())
	if cut, wrote := f.outcome(); cut || wrote {
		return // carry ends it
	}
	c := &call{w: f, r: r}
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &tooLarge):
		g.refuse(c, http.StatusRequestEntityTooLarge, "body_too_large", "The body is larger than this resource takes.")
	case errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // the client has gone
	case f.badBody.Load():
		if !f.h2 {
			f.Header().Set("Connection", "close")
		}
		g.refuse(c, http.StatusBadRequest, "malformed_body", "The body of the request ended early or was malformed.")
	case errors.Is(err, errNoSecret):
		g.log.Error("http gateway: cannot inject", "resource", f.session.Grant.Resource, "err", err)
		g.unavailable(c)
	case errors.Is(err, errCrowded):
		g.log.Warn("http gateway: too many connections to upstreams", "resource", f.session.Grant.Resource)
		g.unavailable(c)
	case errors.As(err, &timeout) && timeout.Timeout():
		g.log.Warn("http gateway: upstream timed out", "resource", f.session.Grant.Resource, "err", err)
		g.refuse(c, http.StatusGatewayTimeout, "upstream_timeout", "The service behind the gateway did not answer in time.")
	default:
		g.log.Warn("http gateway: upstream failed", "resource", f.session.Grant.Resource, "err", err)
		g.refuse(c, http.StatusBadGateway, "upstream_failed", "The service behind the gateway could not be reached, or its answer could not be understood.")
	}
}
