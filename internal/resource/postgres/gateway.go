package pgkind

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	"github.com/jackc/pgx/v5/pgconn"
)

// Gateway carries the sessions of all postgres resources on one port. It
// implements resource.Gateway.
type Gateway struct {
	deps   resource.Deps
	target target
	tls    *tls.Config // nil: plain
	log    *slog.Logger
	now    func() time.Time
	limits resource.Limits
	mock   []byte // a key: for the salts of users who do not exist

	visitors *visitors
	cancels  cancels
	budgets  budgets
	telling  telling
	draining atomic.Bool // sessions end when they have nothing to do
	carrier  carrier

	mu       sync.Mutex
	listener net.Listener
	closed   bool
	sessions map[net.Conn]*session
	running  sync.WaitGroup
}

// target is what a gateway needs of the connector.
type target interface {
	// dialUpstream logs in as the role of a grant.
	dialUpstream(ctx context.Context, r *policy.Resource, grant string, params map[string]string) (*pgconn.HijackedConn, error)
	// check says, in a sentence for the client, that names of s do not stand any
	// more for what was found when the grant was asked for.
	check(ctx context.Context, r *policy.Resource, s *Scope, found json.RawMessage) error
	// cut locks a role out and terminates its backends. It does not block.
	cut(r *policy.Resource, role string) <-chan error
	// cancelBackend stops what a backend runs, if it is one of role's.
	cancelBackend(ctx context.Context, r *policy.Resource, role string, pid uint32) error
}

// Gateway implements resource.Kind.
func (Kind) Gateway(deps resource.Deps) (resource.Gateway, error) {
	c, ok := deps.Connector.(*connector)
	if !ok {
		return nil, errors.New("the postgres gateway: there is no connector")
	}
	return newGateway(deps, c, c.deps.Key("mock salt"))
}

func newGateway(deps resource.Deps, t target, mock []byte) (*Gateway, error) {
	if deps.Site.TLS != (deps.TLS != nil) {
		return nil, errors.New("the postgres gateway: TLS is half configured")
	}
	g := &Gateway{
		deps: deps, target: t, log: deps.Log, now: deps.Now, limits: deps.Limits.OrDefault(), mock: mock,
		sessions: make(map[net.Conn]*session),
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.visitors = newVisitors(g.limits.Connections, g.limits.ConnectionsPerPeer)
	g.cancels.init()
	if deps.TLS != nil {
		g.tls = serverConfig(deps.TLS)
	}
	return g, nil
}

func (g *Gateway) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// find returns a postgres resource that can be used now.
func (g *Gateway) find(id string) (*policy.Resource, *Config) {
	r, ok := g.deps.Catalog().Resource(id)
	if !ok || r.Disabled || r.Kind.Name() != (Kind{}).Name() {
		return nil, nil
	}
	c, ok := r.Config.(*Config)
	if !ok {
		return nil, nil
	}
	return r, c
}

// Shutdown implements resource.Gateway. Sessions that have nothing to do end at
// once, the others when they are between two transactions.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	l := g.listener
	g.mu.Unlock()
	var err error
	if l != nil {
		if err = l.Close(); errors.Is(err, net.ErrClosed) {
			err = nil // by an earlier call
		}
	}
	g.draining.Store(true)
	g.visitors.abort(func(c net.Conn) bool { return g.sessionOf(c) == nil }) // they have not been let in yet
	for _, s := range g.all() {
		s.rest()
	}
	done := make(chan struct{})
	go func() {
		g.running.Wait()
		close(done)
	}()
	defer g.carrier.close() // nobody is on it any more
	select {
	case <-done:
		return err
	case <-ctx.Done():
	}
	for _, s := range g.all() {
		s.stop(shuttingDown())
	}
	select {
	case <-done:
	case <-time.After(2 * lastCall):
		g.visitors.abort(func(net.Conn) bool { return true })
		<-done
	}
	return err
}

func (g *Gateway) sessionOf(c net.Conn) *session {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sessions[c]
}

func (g *Gateway) all() []*session {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*session, 0, len(g.sessions))
	for _, s := range g.sessions {
		all = append(all, s)
	}
	return all
}

// tooManyFiles reports whether an error of Accept passes when others close
// theirs.
func tooManyFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED)
}
