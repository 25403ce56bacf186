package pgkind

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	"github.com/jackc/pgx/v5/pgconn"
)

// connector makes a role for each grant and removes it again.
type connector struct {
	deps resource.ConnectorDeps

	mu      sync.Mutex
	servers map[place]*server
	asks    map[endpoint]*pgconn.Config // with which requests to cancel are sent
	made    map[string]*madeGrant       // by role: what this process has made, until its grant is over
}

// madeGrant is a grant whose role is there.
type madeGrant struct {
	target resource.Target
	on     *server
	needs  privileges
	role   madeRole

	mu   sync.Mutex  // held by who makes the role again
	over atomic.Bool // it must not be made again
}

// place tells servers apart.
type place struct {
	at   endpoint
	user string
}

var (
	_ resource.Inspector  = (*connector)(nil)
	_ resource.Reconciler = (*connector)(nil)
)

func newConnector(deps resource.ConnectorDeps) *connector {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &connector{deps: deps, servers: map[place]*server{}, asks: map[endpoint]*pgconn.Config{}, made: map[string]*madeGrant{}}
}

// primary is the server on which the roles of a resource are made.
func (c *connector) primary(r *policy.Resource) (*server, *Config, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, nil, err
	}
	return c.server(config.upstream, config), config, nil
}

// standby is the server to which sessions go instead; nil when there is none.
func (c *connector) standby(config *Config) *server {
	if config.standby == nil {
		return nil
	}
	return c.server(*config.standby, config)
}

func (c *connector) server(at endpoint, config *Config) *server {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := place{at, config.user}
	s := c.servers[key]
	if s == nil {
		s = newServer(c, at, config.user)
		c.servers[key] = s
	}
	s.mu.Lock()
	s.password = config.password // a catalog may name another place of it
	s.mu.Unlock()
	return s
}

// finish says that a grant is over: nothing makes its role again. It returns
// when nothing is about to.
func (c *connector) finish(role string, wait bool) {
	c.mu.Lock()
	g := c.made[role]
	delete(c.made, role)
	c.mu.Unlock()
	if g == nil {
		return
	}
	g.over.Store(true)
	if wait {
		g.mu.Lock()
		defer g.mu.Unlock()
	}
}

// Close implements resource.Connector.
func (c *connector) Close() {
	c.mu.Lock()
	all := c.servers
	c.servers = map[place]*server{}
	c.mu.Unlock()
	for _, s := range all {
		s.close()
	}
}

// patiently runs f again when somebody else changed the same thing at the same
// time, which PostgreSQL reports instead of waiting.
func patiently(ctx context.Context, f func() error) error {
	pause := 2 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || !contended(err) || attempt == 8 {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		pause *= 2
	}
}
