package httpkind

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/keepalive"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

// Gateway is the HTTP gateway: one listener for all http resources, told apart
// by Host. It implements resource.Gateway and http.Handler.
type Gateway struct {
	deps   resource.Deps
	domain string
	tls    *tls.Config
	log    *slog.Logger
	now    func() time.Time
	limits resource.Limits
	server *http.Server

	upstreams  upstreams
	assertions gateway.Assertions
	scopes     policy.Parsed // of live grants

	mu       sync.Mutex
	listener *listener
	closed   bool
}

// Gateway implements resource.Kind.
func (Kind) Gateway(deps resource.Deps) (resource.Gateway, error) {
	domain := resource.CanonicalHost(deps.Site.Domain)
	if domain == "" || strings.ContainsAny(domain, ":/@ ") {
		return nil, fmt.Errorf("the http gateway: %q is not a domain", deps.Site.Domain)
	}
	if deps.Site.TLS != (deps.TLS != nil) {
		return nil, errors.New("the http gateway: TLS is half configured")
	}
	g := &Gateway{
		deps: deps, domain: domain, tls: deps.TLS, log: deps.Log, now: deps.Now,
		limits: deps.Limits.OrDefault(),
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.upstreams.init(g, deps.Dial)
	g.assertions.Mint = deps.Assertion
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(g.tls != nil)
	g.server = &http.Server{
		Handler:                      g,
		TLSConfig:                    g.tls,
		Protocols:                    protocols,
		ReadHeaderTimeout:            g.limits.HeaderTimeout, // bodies may take as long as their grant lives
		IdleTimeout:                  g.limits.IdleTimeout,
		MaxHeaderBytes:               g.limits.HeaderBytes,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: int(g.limits.Streams)},
		DisableGeneralOptionsHandler: true, // OPTIONS * is refused here, not answered there
		ConnContext:                  withConn,
		ErrorLog:                     slog.NewLogLogger(g.log.Handler(), slog.LevelDebug), // its remarks on bad peers
	}
	return g, nil
}

// Serve implements resource.Gateway.
func (g *Gateway) Serve(l net.Listener) error {
	limited := newListener(l, g.limits)
	g.mu.Lock()
	if g.closed || g.listener != nil {
		again := !g.closed
		g.mu.Unlock()
		_ = l.Close()
		if again {
			return errors.New("serving http: the gateway serves already")
		}
		return nil
	}
	g.listener = limited
	g.mu.Unlock()
	done := make(chan struct{})
	defer close(done)
	go g.watch(limited, done)
	var err error
	if g.tls != nil {
		err = g.server.ServeTLS(limited, "", "")
	} else {
		err = g.server.Serve(limited)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving http: %w", err)
}

// watch gives up connections whose peers have vanished, so that their sessions
// end and what they hold is free again.
func (g *Gateway) watch(l *listener, done <-chan struct{}) {
	tick := time.NewTicker(keepalive.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.abortLost()
			g.upstreams.conns.abortLost()
		case <-done:
			return
		}
	}
}

// Shutdown implements resource.Gateway.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	l := g.listener
	g.mu.Unlock()
	err := g.server.Shutdown(ctx)
	if err != nil { // ctx ended before everything did
		err = g.server.Close()
	}
	if l != nil {
		l.abortAll() // upgraded connections are not the server's any more
	}
	g.upstreams.close()
	return err
}

// find returns the resource that a Host names, and that host without port.
func (g *Gateway) find(hostport string) (*policy.Resource, *Config, string) {
	host := resource.CanonicalHost(hostport)
	id, ok := strings.CutSuffix(host, "."+g.domain)
	if !ok || id == "" || strings.Contains(id, ".") {
		return nil, nil, ""
	}
	r, ok := g.deps.Catalog().Resource(id)
	if !ok || r.Disabled || r.Kind.Name() != (Kind{}).Name() {
		return nil, nil, ""
	}
	c, ok := r.Config.(*Config)
	if !ok {
		return nil, nil, ""
	}
	return r, c, host
}

func (g *Gateway) scheme() string {
	if g.tls != nil {
		return "https"
	}
	return "http"
}

// ServeHTTP implements http.Handler. A panic ends its connection and nothing
// else.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v != http.ErrAbortHandler { //nolint:errorlint // the value itself is the signal
			g.deps.Guard.CountPanic()
			g.log.Error("http gateway: a handler panicked", "what", fmt.Sprintf("%T", v))
		}
		panic(http.ErrAbortHandler)
	}()
	if r.ProtoMajor == 1 {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // that of an earlier answer
	}
	g.serve(w, r)
}

// peer returns the client's address without port.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

const (
	smallBody  = 4 << 10          // bytes that are read of a body that nobody wants
	answerTime = 10 * time.Second // for a client to take an answer of the gateway's own
)

// turnAway readies a connection for an answer to a request whose body nobody
// wants. A peer that is not let in gets no time to send it: a small one is
// read, so that the connection can go on; for the rest it is closed.
func turnAway(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(answerTime)) // ServeHTTP lifts it for the next request
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	// Also for the server's own attempt to read on, after the answer.
	_ = control.SetReadDeadline(time.Now().Add(farewell))
	waits := r.Header.Get("Expect") != "" // reading would invite the body
	if !waits && r.ContentLength <= smallBody {
		n, err := io.CopyN(io.Discard, r.Body, smallBody+1)
		if errors.Is(err, io.EOF) && n <= smallBody {
			_ = control.SetReadDeadline(time.Time{})
			return
		}
	}
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}
