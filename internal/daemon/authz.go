package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/forward"
	"github.com/daypass/daypass/internal/rest"
)

// authz is what answers other proxies; nil without a configuration of them. A
// secret or certificate that cannot be read keeps the server from starting.
func (d *Daemon) authz() (http.Handler, error) {
	c := d.cfg.Authz
	if c == nil {
		return nil, nil
	}
	deps := forward.Deps{
		Check: d.guard.Check, CountDenied: d.guard.CountDenied, Catalog: d.broker.CatalogInForce, Incarnation: d.broker.Incarnation,
		Assertion: d.broker.Assertion, Now: d.clock.Now, PeerIP: rest.PeerIP, Domain: c.Domain, PublicURL: d.cfg.PublicURL, Log: d.log,
	}
	for _, p := range c.Proxies {
		var secrets []credential.Secret
		for _, ref := range p.Secrets {
			secret, err := ref.Value()
			if err != nil {
				return nil, fmt.Errorf("authz: the proxy %s: %w", p.Name, err)
			}
			secrets = append(secrets, credential.NewSecret(secret))
		}
		var certificates []*x509.Certificate
		for _, file := range p.Certificates {
			cert, err := config.ReadCertificate(file)
			if err != nil {
				return nil, fmt.Errorf("authz: the proxy %s: %w", p.Name, err)
			}
			certificates = append(certificates, cert)
		}
		proxy, err := forward.NewProxy(p.Name, secrets, certificates)
		if err != nil {
			return nil, fmt.Errorf("authz: %w", err)
		}
		proxy.Header, proxy.Resources = p.Resource == "header", p.Resources
		deps.Proxies = append(deps.Proxies, proxy)
	}
	return forward.New(deps), nil
}

// asksForCertificates reports whether some proxy proves itself by a client
// certificate. They are asked for then, of everybody; who shows none is served
// as before.
func asksForCertificates(c *config.Authz) bool {
	if c == nil {
		return false
	}
	for _, p := range c.Proxies {
		if len(p.Certificates) > 0 {
			return true
		}
	}
	return false
}

func withClientCertificates(c *tls.Config) *tls.Config {
	c.ClientAuth = tls.RequestClientCert // compared with those of the file, whoever signed them
	return c
}
