package pgkind

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/dial"
	"github.com/daypass/daypass/internal/policy"
	"github.com/goccy/go-yaml/ast"
)

// Config is the postgres block of a resource:
//
//	postgres:
//	  upstream: host=orders-db.internal port=5432 dbname=orders sslmode=verify-full sslrootcert=/etc/daypass/orders-ca.pem
//	  user: daypass                        # makes and drops the roles of grants
//	  password: {env: ORDERS_DB_PASSWORD}
//	  standby: host=…                      # sessions go there; it follows upstream
//	  max_sessions: 10                     # of one grant at once
//	  effective: {relations: 3, owner_functions: 0} # refuse what would really reach further
//	  record: bounded                      # or strict: a statement is on record before it runs
//	  cleartext: false                     # also take the token itself as password, over TLS
//	  rows:                                # row filters that may be asked for
//	    by-region: {table: public.orders, where: "region = :region", literals: {region: text}}
type Config struct {
	upstream endpoint
	standby  *endpoint // nil: none
	user     string
	password config.Secret

	maxSessions int
	relations   *int // the most that a grant may really reach; nil: any number
	functions   *int // of those that run with their owner's rights
	strict      bool
	cleartext   bool
	rows        map[string]template // by name
}

// endpoint is where a server is and how it is reached.
type endpoint struct {
	host     string // as written: a name or a literal address
	port     string
	database string
	sslmode  string // disable, require, verify-ca or verify-full
	rootCert string // absolute path; "" for the system's authorities
}

func (e endpoint) addr() string { return net.JoinHostPort(e.host, e.port) }

// defaultSessions is what one person with a client and a script needs.
const defaultSessions = 10

// Upstream implements policy.Config. The login is no part of it: a rotated
// password does not end grants.
func (c *Config) Upstream() string { return c.upstream.addr() + "/" + c.upstream.database }

// ParseConfig implements policy.Kind.
func (Kind) ParseConfig(node ast.Node) (policy.Config, error) {
	if node == nil {
		return nil, errors.New("a postgres resource needs a postgres block: postgres: {upstream: \"host=… port=5432 dbname=…\", user: …, password: {env: …}}")
	}
	var given struct {
		Upstream    config.Located[string]        `yaml:"upstream,required"`
		Standby     config.Located[string]        `yaml:"standby"`
		User        config.Located[string]        `yaml:"user,required"`
		Password    config.Located[config.Secret] `yaml:"password,required"`
		MaxSessions config.Located[int]           `yaml:"max_sessions"`
		Effective   struct {
			Relations      config.Located[int] `yaml:"relations"`
			OwnerFunctions config.Located[int] `yaml:"owner_functions"`
		} `yaml:"effective"`
		Record    config.Located[string] `yaml:"record"`
		Cleartext bool                   `yaml:"cleartext"`
		Rows      ast.Node               `yaml:"rows"`
	}
	if err := config.DecodeNode(node, &given); err != nil {
		return nil, err
	}
	c := &Config{user: given.User.Value, password: given.Password.Value, maxSessions: defaultSessions, cleartext: given.Cleartext}
	var err error
	if c.upstream, err = parseEndpoint(given.Upstream.Value); err != nil {
		return nil, config.At(given.Upstream.Node, fmt.Errorf("upstream: %w", err))
	}
	if given.Standby.Given() {
		standby, err := parseEndpoint(given.Standby.Value)
		if err == nil && standby.database != c.upstream.database {
			err = errors.New("dbname must be that of upstream")
		}
		if err != nil {
			return nil, config.At(given.Standby.Node, fmt.Errorf("standby: %w", err))
		}
		c.standby = &standby
	}
	switch {
	case !nameForm.MatchString(c.user):
		return nil, config.At(given.User.Node, errors.New("user must be the name of a role: letters, digits, _ $ and -"))
	case strings.HasPrefix(c.user, rolePrefix):
		return nil, config.At(given.User.Node, fmt.Errorf("user: names that begin with %s are those of grants", rolePrefix))
	case given.Password.Value.File != "" && !filepath.IsAbs(given.Password.Value.File):
		// A catalog may come over the API: there is no folder to start from.
		return nil, config.At(given.Password.Node, errors.New("password: the path of its file must be absolute"))
	}
	if given.Rows != nil {
		if c.rows, err = templatesOf(given.Rows); err != nil {
			return nil, err
		}
	}
	if n := given.MaxSessions; n.Given() {
		if n.Value < 1 || n.Value > 1000 {
			return nil, config.At(n.Node, errors.New("max_sessions must be from 1 to 1000"))
		}
		c.maxSessions = n.Value
	}
	for _, limit := range []struct {
		name  string
		given config.Located[int]
		to    **int
	}{{"relations", given.Effective.Relations, &c.relations}, {"owner_functions", given.Effective.OwnerFunctions, &c.functions}} {
		if limit.given.Given() {
			if limit.given.Value < 0 {
				return nil, config.At(limit.given.Node, fmt.Errorf("effective.%s must not be below 0", limit.name))
			}
			*limit.to = &limit.given.Value
		}
	}
	switch given.Record.Value {
	case "", "bounded":
	case "strict":
		c.strict = true
	default:
		return nil, config.At(given.Record.Node, errors.New("record must be bounded or strict"))
	}
	return c, nil
}

// parseEndpoint reads the keyword form of libpq's connection strings, and of
// its keywords those alone that say where a server is: nothing that is written
// here can name a login, a file of logins, or settings of a session.
func parseEndpoint(text string) (endpoint, error) {
	e := endpoint{port: "5432", sslmode: "verify-full"}
	fields := map[string]*string{"host": &e.host, "port": &e.port, "dbname": &e.database, "sslmode": &e.sslmode, "sslrootcert": &e.rootCert}
	seen := map[string]bool{}
	for _, word := range strings.Fields(text) {
		key, value, ok := strings.Cut(word, "=")
		to := fields[key]
		switch {
		case !ok || value == "" || strings.ContainsAny(value, `'"\,`):
			return e, fmt.Errorf("%q is not key=value, without quotes and with one value: host=… port=… dbname=… sslmode=… sslrootcert=…", clip(word))
		case to == nil:
			return e, fmt.Errorf("%s is not known here: host, port, dbname, sslmode and sslrootcert are", clip(key))
		case seen[key]:
			return e, fmt.Errorf("%s is given twice", key)
		}
		seen[key], *to = true, value
	}
	return e, e.check()
}

func (e endpoint) check() error {
	switch {
	case e.host == "":
		return errors.New("host is missing")
	case strings.ContainsAny(e.host, "/[]"):
		return errors.New("host must be a name or an address: no folder of sockets, no brackets")
	case e.database == "":
		return errors.New("dbname is missing")
	case !nameForm.MatchString(e.database):
		return errors.New("dbname is not a name that can be given here")
	}
	if err := dial.CheckHost(e.host); err != nil {
		return fmt.Errorf("host: %w", err)
	}
	if n, err := strconv.Atoi(e.port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != e.port {
		return errors.New("port is none")
	}
	switch e.sslmode {
	case "require", "verify-ca", "verify-full":
	case "disable":
		if e.rootCert != "" {
			return errors.New("sslrootcert is of no use with sslmode=disable")
		}
	case "allow", "prefer":
		return fmt.Errorf("sslmode=%s gives way to whoever breaks TLS: write verify-full, or disable where that is meant", e.sslmode)
	default:
		return errors.New("sslmode must be verify-full, verify-ca, require or disable")
	}
	if e.rootCert != "" && !filepath.IsAbs(e.rootCert) {
		return errors.New("sslrootcert must be an absolute path")
	}
	return nil
}
