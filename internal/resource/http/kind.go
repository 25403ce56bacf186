// Package httpkind is the kind "http": HTTP services behind a reverse proxy
// that checks every request against the scope of a live grant, and cuts what
// runs in the instant the grant is over.
//
// It refuses what two servers could read differently (ambiguous paths, tokens
// in URLs, unknown upgrades), to follow redirects, to show a client's
// credential to an upstream or an upstream's credential to a client, and to
// forward a byte before gateway.Guard has decided and recorded.
package httpkind

import (
	"fmt"
	"net"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

// Kind implements resource.Kind.
type Kind struct{}

var (
	_ resource.Kind  = Kind{}
	_ policy.Actions = Kind{}
)

// Name implements policy.Kind.
func (Kind) Name() string { return "http" }

// Connect implements resource.Kind.
func (Kind) Connect(r *policy.Resource, _ api.Grant, site resource.Site) api.Connect {
	base := baseURL(r.ID, site)
	return api.Connect{
		URL: base,
		Instructions: []string{
			fmt.Sprintf(`curl -H "Authorization: Bearer <secret>" %s/`, base),
			"or open " + base + "/ in a browser and paste the token",
		},
	}
}

// baseURL is where a resource is reached, without a slash at its end.
func baseURL(id string, site resource.Site) string {
	scheme, standard := "http", "80"
	if site.TLS {
		scheme, standard = "https", "443"
	}
	host := id + "." + resource.CanonicalHost(site.Domain)
	if _, port, err := net.SplitHostPort(site.Addr); err == nil && port != standard && port != "" {
		host += ":" + port
	}
	return scheme + "://" + host
}
