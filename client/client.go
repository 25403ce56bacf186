// Package client is the Go SDK of the Daypass API: one method per call of /v1.
// It speaks the wire types of package api, repeats what may safely be repeated,
// and follows requests and events without losing any.
//
// It refuses to send a token where others could read it: not over plain HTTP
// to another machine, not to wherever a redirect points, and never over TLS
// whose certificate does not verify. There is no option to switch verification
// off; name your own authority with WithRootCAs or SSL_CERT_FILE.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Client calls one Daypass server as one principal. It is safe for concurrent
// use and keeps connections open between calls.
type Client struct {
	base     *url.URL
	err      error // why the arguments of New cannot be used
	token    atomic.Pointer[string]
	http     *http.Client
	name     string // cli, sdk …
	version  string
	attempts int
	plain    bool
	roots    *x509.CertPool
	offset   atomic.Int64 // nanoseconds, see ClockOffset

	renew    func(context.Context) (string, error) // nil: the token is what it is
	renewing sync.Mutex
	refused  time.Time // when a renewal failed last

	sleep func(context.Context, time.Duration) error // replaced in tests
	idle  time.Duration                              // how long a stream may stay silent
}

// Option changes how a Client works.
type Option func(*Client)

// WithName says which program is calling. The server writes the name into its
// audit record as the channel, and both into its logs. The default is "sdk".
func WithName(name, version string) Option {
	return func(c *Client) { c.name, c.version = name, version }
}

// WithRootCAs sets the authorities that may vouch for the server, instead of
// those of the system.
func WithRootCAs(pool *x509.CertPool) Option { return func(c *Client) { c.roots = pool } }

// WithPlainHTTP lets the token travel unencrypted to a server on another
// machine. Without it an http:// URL must name this machine.
func WithPlainHTTP() Option { return func(c *Client) { c.plain = true } }

// WithAttempts sets how often a call is tried in all when the network or the
// server fails (default 4; 1 never repeats).
func WithAttempts(n int) Option { return func(c *Client) { c.attempts = max(n, 1) } }

const (
	maxResponse   = 16 << 20 // bytes of one answer
	maxLine       = 1 << 20  // bytes of one line of a stream
	maxWait       = 30 * time.Second
	callTimeout   = 75 * time.Second // longer than any wait that the server offers
	streamSilence = 90 * time.Second // the server sends something more often than that
)

// New returns a client of the server at rawURL, such as
// "https://daypass.example.com", for the principal whose API token this is. It
// never calls the server; a URL that cannot be used makes every call fail.
func New(rawURL, token string, opts ...Option) *Client {
	c := &Client{
		name: "sdk", version: "devel", attempts: 4,
		sleep: sleep, idle: streamSilence,
	}
	c.token.Store(&token)
	for _, o := range opts {
		o(c)
	}
	c.base, c.err = parseBase(rawURL, c.plain)
	if c.err == nil && strings.ContainsFunc(token, unprintable) {
		c.err = errors.New("the token has characters that no token has: copy it again, without spaces or line ends")
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.roots},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: maxWait + 30*time.Second,
		IdleConnTimeout:       60 * time.Second,
		MaxIdleConnsPerHost:   8,
		ForceAttemptHTTP2:     true,
	}
	c.http = &http.Client{
		Transport: transport,
		// A redirect is an answer like any other, and not one we expect: the
		// token goes nowhere but to the server that was named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// URL returns the base URL of the server, empty when New was given a bad one.
func (c *Client) URL() string {
	if c.base == nil {
		return ""
	}
	return c.base.String()
}

// ClockOffset is how far the server's clock was ahead of this machine's in its
// latest answer. HTTP dates are whole seconds: what is smaller than two
// seconds is noise and returned as zero.
func (c *Client) ClockOffset() time.Duration { return time.Duration(c.offset.Load()) }

func (c *Client) observeDate(header string, now time.Time) {
	date, err := http.ParseTime(header)
	if err != nil {
		return
	}
	// The date was cut to a second, so the middle of that second is the best guess.
	offset := date.Add(500 * time.Millisecond).Sub(now)
	if offset.Abs() < 2*time.Second {
		offset = 0
	}
	c.offset.Store(int64(offset))
}

// CheckURL reports why rawURL cannot be the URL of a server: not http or
// https, no host, user information, a query, or http to another machine.
func CheckURL(rawURL string) error {
	_, err := parseBase(rawURL, false)
	return err
}

func parseBase(rawURL string, plain bool) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return nil, errors.New("the server URL is not a URL: write it like https://daypass.example.com")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the server URL must begin with https:// (or http:// on this machine)")
	case u.User != nil:
		return nil, errors.New("the server URL must not contain a name or password: the token says who you are")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the server URL must not have a query or fragment")
	case u.Scheme == "http" && !plain && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("refusing to send a token to %s without encryption: use https://", u.Host)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
