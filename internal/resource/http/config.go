package httpkind

import (
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/dial"
	"github.com/daypass/daypass/internal/policy"
	"github.com/goccy/go-yaml/ast"
)

// Config is the http block of a resource:
//
//	http:
//	  upstream: https://orders.internal:8443/api
//	  inject: {Authorization: {env: ORDERS_AUTHORIZATION}}
//	  timeout: 30s       # until the upstream's response begins; default none but the grant's end
//	  max_body: 10485760 # bytes of one request's body; default none
type Config struct {
	scheme  string // http or https
	host    string // host:port, the port always given
	base    string // canonical path in front of the request's; "" or such as /api
	inject  []injection
	timeout time.Duration
	maxBody int64
}

// injection is one header that the upstream gets from us.
type injection struct {
	name  string // canonical
	value config.Secret
}

// Upstream implements policy.Config. Injected values are no part of it: a
// rotated key does not end grants.
func (c *Config) Upstream() string { return c.scheme + "://" + c.host + c.base }

// ParseConfig implements policy.Kind.
func (Kind) ParseConfig(node ast.Node) (policy.Config, error) {
	if node == nil {
		return nil, errors.New("an http resource needs an http block: http: {upstream: http://127.0.0.1:9000}")
	}
	var given struct {
		Upstream config.Located[string]   `yaml:"upstream,required"`
		Inject   map[string]config.Secret `yaml:"inject"`
		Timeout  time.Duration            `yaml:"timeout"`
		MaxBody  config.Located[int64]    `yaml:"max_body"`
	}
	if err := config.DecodeNode(node, &given); err != nil {
		return nil, err
	}
	c := &Config{timeout: given.Timeout, maxBody: given.MaxBody.Value}
	if given.MaxBody.Given() && c.maxBody <= 0 {
		return nil, config.At(given.MaxBody.Node, errors.New("max_body must be a number of bytes above 0"))
	}
	if err := c.setUpstream(given.Upstream.Value); err != nil {
		return nil, config.At(given.Upstream.Node, err)
	}
	for name, value := range given.Inject {
		canonical, err := injectable(name)
		if err != nil {
			return nil, config.At(node, err)
		}
		if slices.ContainsFunc(c.inject, func(i injection) bool { return i.name == canonical }) {
			return nil, config.At(node, fmt.Errorf("inject: %s is given twice", canonical))
		}
		if value.File != "" && !filepath.IsAbs(value.File) {
			// A catalog may come over the API: there is no folder to start from.
			return nil, config.At(node, fmt.Errorf("inject: %s: the path of its file must be absolute", canonical))
		}
		c.inject = append(c.inject, injection{canonical, value})
	}
	slices.SortFunc(c.inject, func(a, b injection) int { return strings.Compare(a.name, b.name) })
	return c, nil
}

func (c *Config) setUpstream(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("upstream is not a URL: write http://host:port or https://host:port/base")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("upstream must begin with http:// or https://")
	case u.User != nil:
		return errors.New("upstream must not hold a user or a password: inject a header")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return errors.New("upstream must not have a query or a fragment")
	case u.Hostname() == "":
		return errors.New("upstream has no host")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return errors.New("upstream has a port that is none")
	}
	if err := dial.CheckHost(u.Hostname()); err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	c.scheme, c.host = u.Scheme, net.JoinHostPort(strings.ToLower(u.Hostname()), port)
	if path := strings.TrimSuffix(u.EscapedPath(), "/"); path != "" {
		if _, c.base, err = canonicalPath(path); err != nil {
			return fmt.Errorf("upstream: %w", err)
		}
	}
	return nil
}

// hostHeader is what the upstream sees as Host: without a default port, as
// clients send it.
func (c *Config) hostHeader() string {
	host, port, err := net.SplitHostPort(c.host)
	if err != nil || c.scheme == "http" && port != "80" || c.scheme == "https" && port != "443" {
		return c.host
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// injectable returns the canonical name of a header that may be injected.
func injectable(name string) (string, error) {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	for i := range len(name) {
		if !tokenByte(name[i]) {
			return "", errors.New("inject: that is not the name of a header")
		}
	}
	switch {
	case name == "":
		return "", errors.New("inject: the name of a header is empty")
	case ours(name) || forwarding(name):
		return "", fmt.Errorf("inject: %s is set by Daypass", canonical)
	case hopByHop[canonical] || canonical == "Host" || canonical == "Content-Length" || canonical == "Cookie" || canonical == "Expect":
		return "", fmt.Errorf("inject: %s belongs to the connection or the client", canonical)
	}
	return canonical, nil
}

// injects reports whether a client's header of this name gives way to an
// injected one, as an upstream reads names.
func (c *Config) injects(name string) bool {
	d := dashed(name)
	return slices.ContainsFunc(c.inject, func(i injection) bool { return dashed(i.name) == d })
}

// tokenByte is RFC 9110 §5.6.2.
func tokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
