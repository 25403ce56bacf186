package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/authzen"
	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/keepalive"
	"github.com/daypass/daypass/internal/oauth"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	"github.com/daypass/daypass/internal/rest"
)

// bound are the listeners of a server. They are bound before anything else
// starts: a port that is taken is found at once.
type bound struct {
	api   net.Listener
	gates map[string]net.Listener // by kind
}

func (b bound) close() {
	if b.api != nil {
		_ = b.api.Close()
	}
	for _, l := range b.gates {
		_ = l.Close()
	}
}

// listen binds what the configuration names.
func (d *Daemon) listen(ctx context.Context) (bound, error) {
	b := bound{gates: map[string]net.Listener{}}
	var err error
	if b.api, err = keepalive.Listen(ctx, "tcp", d.cfg.Listen); err != nil {
		return b, fmt.Errorf("listening for the API: %w", err)
	}
	d.apiAddr = b.api.Addr()
	if d.cfg.PublicURL == "" {
		d.cfg.PublicURL = "http://" + d.apiAddr.String()
		if d.cfg.TLS.Enabled() {
			d.cfg.PublicURL = "https://" + d.apiAddr.String()
		}
	}
	if g := d.cfg.Gateways.HTTP; g != nil {
		l, err := keepalive.Listen(ctx, "tcp", g.Listen)
		if err != nil {
			b.close()
			return b, fmt.Errorf("listening for the HTTP gateway: %w", err)
		}
		b.gates["http"] = l
	}
	if g := d.cfg.Gateways.Postgres; g != nil {
		l, err := keepalive.Listen(ctx, "tcp", g.Listen)
		if err != nil {
			b.close()
			return b, fmt.Errorf("listening for the PostgreSQL gateway: %w", err)
		}
		b.gates["postgres"] = l
	}
	return b, nil
}

// serve starts serving on what was bound.
func (d *Daemon) serve(ctx context.Context, b bound) error {
	closing, cancel := context.WithCancel(ctx)
	d.closing = cancel
	for _, k := range Kinds() {
		l, ok := b.gates[k.Name()]
		if !ok {
			continue
		}
		if err := d.serveGate(k, l); err != nil {
			return err
		}
	}
	bearer := rest.NewBearer(d.broker).WithLogins(d.cfg.PublicURL)
	people, err := d.people(bearer)
	if err != nil {
		return err
	}
	authz, err := d.authz()
	if err != nil {
		return err
	}
	handler := rest.New(rest.Deps{
		Broker: d.broker, Bearer: bearer,
		OAuth: oauth.New(oauth.Deps{
			Broker: d.broker, Caller: bearer.Caller, Challenge: rest.Challenge, PeerIP: rest.PeerIP, Issuer: d.cfg.PublicURL, Types: detailTypes(), Log: d.log,
			Exchange: len(d.cfg.Identity.Workloads) > 0, SignIn: people.signIn, Failure: bearer.Failure,
		}),
		Web:       people.web,
		Forward:   authz,
		AuthZEN:   authzen.New(authzen.Deps{Broker: d.broker, Caller: bearer.Caller, Challenge: rest.Challenge, PublicURL: d.cfg.PublicURL, Log: d.log}),
		PublicURL: d.cfg.PublicURL, Listen: []string{d.apiAddr.String()}, RevocationBound: d.cfg.Limits.RevocationBound,
		Warnings: d.cfg.Warnings(), Stats: d.stats, Log: d.log, Closing: closing, GatewayCA: d.gatewayCA,
	})
	d.api = rest.Server(handler)
	room := roomFor(descriptors())
	l := rest.Cap(b.api, room.api)
	if d.cfg.TLS.Enabled() {
		config, err := serverTLS(d.cfg.TLS)
		if err != nil {
			return err
		}
		if asksForCertificates(d.cfg.Authz) {
			config = withClientCertificates(config)
		}
		d.api.TLSConfig = config
		l = tls.NewListener(l, config)
	}
	d.group.Go(func() {
		if err := d.api.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.fail(fmt.Errorf("serving the API: %w", err))
		}
	})
	return nil
}

func (d *Daemon) serveGate(k resource.Kind, l net.Listener) error {
	deps := resource.Deps{
		Guard: d.guard, Catalog: d.broker.CatalogInForce, Incarnation: d.broker.Incarnation, Assertion: d.broker.Assertion,
		Cookie: d.broker.Cookie, Logout: d.broker.Logout, PublicURL: d.cfg.PublicURL, Site: d.site(k.Name(), l.Addr()), Log: d.log, Now: d.clock.Now,
		Limits: roomFor(descriptors()).gate, Connector: d.connectors[k.Name()], Held: d.broker.Held, Verifiers: d.broker.Verifiers,
		Grant: d.grant, Found: d.found, Spent: d.broker.Spent,
	}
	switch settings := d.gateTLS(k.Name()); {
	case settings.Enabled():
		config, err := serverTLS(settings)
		if err != nil {
			return err
		}
		deps.TLS = config
	case k.Name() == "postgres" && !settings.Off:
		config, err := d.ownTLS(deps.Site)
		if err != nil {
			return err
		}
		deps.TLS = config
	}
	g, err := k.Gateway(deps)
	if err != nil {
		return fmt.Errorf("the %s gateway: %w", k.Name(), err)
	}
	d.gates = append(d.gates, gate{kind: k.Name(), addr: l.Addr(), gateway: g})
	d.group.Go(func() {
		if err := g.Serve(l); err != nil {
			d.fail(fmt.Errorf("serving the %s gateway: %w", k.Name(), err))
		}
	})
	return nil
}

// site says where the gateway of a kind is reached.
func (d *Daemon) site(kind string, addr net.Addr) resource.Site {
	s := resource.Site{TLS: d.gateTLS(kind).Enabled()}
	if addr != nil {
		s.Addr = addr.String()
	}
	if g := d.cfg.Gateways.Postgres; kind == "postgres" && g != nil {
		s.TLS = !g.TLS.Off
		s.Addr = d.reached(g.Host, s.Addr)
		if s.TLS && !g.TLS.Enabled() {
			s.Authority = filepath.Join(d.cfg.Data, authorityFile)
		}
	}
	if g := d.cfg.Gateways.HTTP; kind == "http" && g != nil {
		s.Domain = g.Domain
	}
	return s
}

func (d *Daemon) gateTLS(kind string) config.TLS {
	if g := d.cfg.Gateways.HTTP; kind == "http" && g != nil {
		return g.TLS
	}
	if g := d.cfg.Gateways.Postgres; kind == "postgres" && g != nil {
		return g.TLS
	}
	return config.TLS{}
}

// howTo tells how to use a grant of a resource.
func (d *Daemon) howTo(r *policy.Resource, grant api.Grant) api.Connect {
	for _, g := range d.gates {
		if g.kind == r.Kind.Name() {
			for _, k := range Kinds() {
				if k.Name() == g.kind {
					return k.Connect(r, grant, d.site(g.kind, g.addr))
				}
			}
		}
	}
	return api.Connect{}
}

// serverTLS is TLS for a listener. The certificate is read again when its file
// changes, so that a renewal needs no restart.
func serverTLS(c config.TLS) (*tls.Config, error) {
	source := &certificate{files: c}
	if _, err := source.get(nil); err != nil {
		return nil, fmt.Errorf("loading the certificate: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: source.get}, nil
}

// detailTypes are the authorization_details types of all kinds (RFC 9396).
func detailTypes() []string {
	types := []string{}
	for _, k := range Kinds() {
		types = append(types, "urn:daypass:"+k.Name())
	}
	return types
}

// URL is the base of the API.
func (d *Daemon) URL() string { return d.cfg.PublicURL }

// GatewayAddr is where the gateway of a kind listens; "" when it does not.
func (d *Daemon) GatewayAddr(kind string) string {
	for _, g := range d.gates {
		if g.kind == kind {
			return g.addr.String()
		}
	}
	return ""
}

func (d *Daemon) stats() rest.Stats {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s := rest.Stats{Sessions: d.guard.Counts().Sessions, Denied: int64(d.guard.Counts().Denied)}
	s.PendingRequests, s.LiveGrants, s.PendingCleanups, s.AuditHead, s.StoreOK = d.broker.Figures(ctx)
	return s
}
