// Package pgkind is the kind "postgres": PostgreSQL databases in which each
// grant is a login role of its own, made for it and dropped after it, behind a
// gateway that only the holder of a token of that grant passes. What may be
// read and written is kept by PostgreSQL itself.
//
// It refuses scopes whose names are not in the database, names that stand for
// another object than the one that was approved, to share a login or a
// connection between grants, to hold the password of a role anywhere, and to
// change what is none of its own roles.
package pgkind

import (
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strconv"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

// Kind implements resource.Kind.
type Kind struct{}

var (
	_ resource.Connecting = Kind{}
	_ policy.Proven       = Kind{}
	_ policy.Previewing   = Kind{}
)

// Name implements policy.Kind.
func (Kind) Name() string { return "postgres" }

// Proven implements policy.Proven: clients prove a token by SCRAM-SHA-256.
func (Kind) Proven() {}

// EffectiveType implements policy.Previewing.
func (Kind) EffectiveType() reflect.Type { return reflect.TypeFor[effective]() }

// Connector implements resource.Connecting.
func (Kind) Connector(deps resource.ConnectorDeps) (resource.Connector, error) {
	return newConnector(deps), nil
}

// Connect implements resource.Kind. The user name is the ID of the grant.
func (Kind) Connect(r *policy.Resource, g api.Grant, site resource.Site) api.Connect {
	c := api.Connect{User: g.ID}
	if config, ok := r.Config.(*Config); ok {
		c.Database = config.upstream.database
	}
	host, port, err := net.SplitHostPort(site.Addr)
	if err != nil {
		return c
	}
	c.Host = host
	c.Port, _ = strconv.Atoi(port) // 0 where it is none, which no listener has
	query := url.Values{}
	switch {
	case !site.TLS:
		query.Set("sslmode", "disable")
	case site.Authority != "":
		query.Set("sslmode", "verify-full")
		query.Set("sslrootcert", site.Authority)
	default:
		// libpq before 16 cannot check against the system's authorities. The
		// token does not cross the connection, whoever is at its other end.
		query.Set("sslmode", "require")
	}
	dsn := url.URL{Scheme: "postgres", User: url.User(g.ID), Host: site.Addr, Path: "/" + c.Database, RawQuery: query.Encode()}
	c.DSN = dsn.String()
	c.Instructions = []string{
		fmt.Sprintf("PGPASSWORD=<secret> psql %q", c.DSN),
		"or any PostgreSQL client: the user is " + g.ID + ", the password is the credential",
	}
	return c
}
