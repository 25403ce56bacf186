// Package oidc asks the identity providers of the configuration who somebody
// is: OpenID Connect with a code, PKCE, a state, a nonce and, where the
// provider says that it sends it, the issuer of the answer (RFC 9207).
//
// It refuses to take anything but issuer and subject for an identity, a token
// for another client, one that is signed with a secret, the answer to another
// browser's question, and groups in any form but a list of names. It holds no
// question that waits: what a browser needs to come back it carries itself,
// sealed, and it is good once.
package oidc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/dial"
)

// Person is whom a provider has vouched for.
type Person struct {
	Issuer, Subject string
	Provision       string   // user:… for one whom the catalog does not know; "" for nobody
	Groups          []string // typed
}

// Errors of this package. What exactly was wrong is for the log.
var (
	ErrAway    = errors.New("the identity provider does not answer")
	ErrRefused = errors.New("the login was not accepted")
	ErrUnknown = errors.New("there is no such identity provider")
)

// Options are what New needs beside the providers.
type Options struct {
	PublicURL string
	Now       func() time.Time
	Log       *slog.Logger // nil: discarded
	// Transport replaces what calls providers, in tests of a provider that is
	// away.
	Transport http.RoundTripper
}

// Providers are those of the configuration.
type Providers struct {
	all  []*provider
	opts Options
	seal *sealer
	busy chan struct{} // exchanges that run: nobody can make us ask without end
}

const atOnce = 32

type provider struct {
	config.OIDC
	secret string
	client *http.Client
	public string

	now func() time.Time

	mu    sync.Mutex
	found *discovered
	away  time.Time // until when it is not asked again after it did not answer
}

// awayFor is how long a provider that did not answer is left alone: those who
// come meanwhile are told at once, and do not wait in line.
const awayFor = 5 * time.Second

// discovered is what a provider says of itself.
type discovered struct {
	*oidc.Provider
	oauth     oauth2.Config
	algs      []string
	saysIssue bool
}

// New reads the secrets of the providers. It asks none of them yet: a provider
// that is away does not keep the server from starting.
func New(list []config.OIDC, o Options) (*Providers, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Providers{opts: o, busy: make(chan struct{}, atOnce)}
	var err error
	if p.seal, err = newSealer(o.Now); err != nil {
		return nil, err
	}
	for _, c := range list {
		one := &provider{OIDC: c, public: o.PublicURL, now: o.Now}
		if !c.ClientSecret.IsZero() {
			if one.secret, err = c.ClientSecret.Value(); err != nil {
				return nil, fmt.Errorf("the secret of %s: %w", c.Name, err)
			}
		}
		u, err := url.Parse(c.Issuer)
		if err != nil {
			return nil, fmt.Errorf("the issuer of %s: %w", c.Name, err)
		}
		transport := o.Transport
		if transport == nil {
			transport = newTransport(u)
		}
		one.client = &http.Client{
			Timeout: 15 * time.Second, Transport: small{transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		p.all = append(p.all, one)
	}
	return p, nil
}

func newTransport(issuer *url.URL) *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // a proxy would resolve the name anew, unchecked
		DialContext:            dial.New(issuer.Host, issuer.Hostname()).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxConnsPerHost:        atOnce,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // an answer that unpacks to gigabytes
	}
}

// small bounds answers, and refuses to speak in clear to anybody but loopback.
type small struct{ http.RoundTripper }

const maxAnswer = 1 << 20

// RoundTrip implements http.RoundTripper.
func (s small) RoundTrip(r *http.Request) (*http.Response, error) {
	if ip := net.ParseIP(r.URL.Hostname()); r.URL.Scheme != "https" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s is not https", r.URL.Redacted())
	}
	res, err := s.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

// Choice is one provider as people choose it.
type Choice struct{ Name, Title string }

// Choices are the providers, in the order of the configuration.
func (p *Providers) Choices() []Choice {
	out := make([]Choice, 0, len(p.all))
	for _, one := range p.all {
		out = append(out, Choice{one.Name, one.Title})
	}
	return out
}

// Issuers are those of the providers, and which of them bring people whom the
// catalog does not know.
func Issuers(list []config.OIDC) (issuers, provisions []string) {
	for _, c := range list {
		issuers = append(issuers, c.Issuer)
		if c.Provision != nil {
			provisions = append(provisions, c.Issuer)
		}
	}
	return issuers, provisions
}

func (p *Providers) named(name string) *provider {
	if i := slices.IndexFunc(p.all, func(one *provider) bool { return one.Name == name }); i >= 0 {
		return p.all[i]
	}
	return nil
}

// discover asks a provider about itself, until it has answered once.
func (p *provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	if p.now().Before(p.away) {
		return nil, fmt.Errorf("%s did not answer a moment ago", p.Name)
	}
	p.away = p.now().Add(awayFor) // until it has answered
	// Keys are fetched with this client long after this call: its context must
	// not end with it.
	with := oidc.ClientContext(context.WithoutCancel(ctx), p.client)
	found, err := oidc.NewProvider(with, p.Issuer)
	if err != nil {
		return nil, fmt.Errorf("asking %s about itself: %w", p.Name, err)
	}
	var says struct {
		Auth      []string `json:"token_endpoint_auth_methods_supported"`
		Algs      []string `json:"id_token_signing_alg_values_supported"`
		SaysIssue bool     `json:"authorization_response_iss_parameter_supported"`
		Challenge []string `json:"code_challenge_methods_supported"`
	}
	if err := found.Claims(&says); err != nil {
		return nil, fmt.Errorf("reading what %s says of itself: %w", p.Name, err)
	}
	d := &discovered{Provider: found, saysIssue: says.SaysIssue}
	for _, alg := range says.Algs {
		if slices.Contains(asymmetric, alg) {
			d.algs = append(d.algs, alg)
		}
	}
	if len(d.algs) == 0 {
		d.algs = []string{oidc.RS256} // OpenID Connect Core section 15.1: everybody has it
	}
	endpoint := found.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader // RFC 8414: the default
	if p.secret == "" || len(says.Auth) > 0 && !slices.Contains(says.Auth, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	for _, u := range []string{endpoint.AuthURL, endpoint.TokenURL} {
		if err := config.CheckEncrypted(u); err != nil {
			return nil, fmt.Errorf("an endpoint of %s: %w", p.Name, err)
		}
	}
	d.oauth = oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.secret, Endpoint: endpoint,
		RedirectURL: strings.TrimRight(p.public, "/") + "/login/callback/" + p.Name,
		Scopes:      append([]string{oidc.ScopeOpenID}, slices.DeleteFunc(slices.Clone(p.Scopes), func(s string) bool { return s == oidc.ScopeOpenID })...),
	}
	p.found = d
	return d, nil
}

// asymmetric are the algorithms that can be checked with a public key alone.
var asymmetric = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}
