package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Server is the server's own file (CONTRACT §3), with defaults filled in and
// paths absolute.
type Server struct {
	Listen    string   `yaml:"listen"`     // host:port of API and console; 127.0.0.1:7400
	PublicURL string   `yaml:"public_url"` // without a slash at its end; http(s)://listen; empty when listen has port 0 and it is not given
	TLS       TLS      `yaml:"tls"`
	Data      string   `yaml:"data"`    // folder; ./data
	Store     string   `yaml:"store"`   // sqlite
	Catalog   string   `yaml:"catalog"` // file; empty: the catalog is managed over the API
	Gateways  Gateways `yaml:"gateways"`
	Identity  Identity `yaml:"identity"`
	Limits    Limits   `yaml:"limits"`
	Audit     Audit    `yaml:"audit"`
	Notify    Notify   `yaml:"notify"`
	Authz     *Authz   `yaml:"authz"` // what other proxies may ask; none: they may not
}

// TLS says how a listener is secured: a certificate and a key in PEM files, or
// nothing, which off the loopback needs the word `off`.
type TLS struct {
	Cert string
	Key  string
	Off  bool
}

// Enabled reports whether the listener speaks TLS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// DecodeYAML implements NodeDecoder: {cert: file, key: file}, or off.
func (t *TLS) DecodeYAML(node ast.Node) error {
	if word, ok := plain(node); ok {
		if word != "off" {
			return errors.New("must be {cert: FILE, key: FILE} or the word off")
		}
		t.Off = true
		return nil
	}
	var files struct {
		Cert string `yaml:"cert,required"`
		Key  string `yaml:"key,required"`
	}
	if err := DecodeNode(node, &files); err != nil {
		return err
	}
	if files.Cert == "" || files.Key == "" {
		return errors.New("cert and key must be files")
	}
	t.Cert, t.Key = files.Cert, files.Key
	return nil
}

// Gateways are the listeners that carry the traffic of grants. A gateway that
// the file does not name is not started.
type Gateways struct {
	HTTP     *HTTPGateway     `yaml:"http"`
	Postgres *PostgresGateway `yaml:"postgres"`
	Rest     []Entry          `yaml:",rest"`
}

// PostgresGateway serves all PostgreSQL resources on one port.
type PostgresGateway struct {
	Listen string `yaml:"listen"` // 127.0.0.1:7432
	Host   string `yaml:"host"`   // what clients connect to; the host of listen, or that of public_url where that is a wildcard
	// TLS: without certificate and key the gateway makes its own authority and
	// certificate in the data folder; off only on loopback.
	TLS TLS `yaml:"tls"`
}

// HTTPGateway serves each resource as Host <resource>.<domain>.
type HTTPGateway struct {
	Listen string `yaml:"listen"` // 127.0.0.1:7480
	Domain string `yaml:"domain"` // localhost
	TLS    TLS    `yaml:"tls"`
}

// Identity says how callers prove who they are.
type Identity struct {
	Tokens    bool       `yaml:"tokens"`    // API tokens; true
	Workloads []Workload `yaml:"workloads"` // jobs, by the tokens of their platforms; none
	OIDC      []OIDC     `yaml:"oidc"`      // people, by the providers that know them; none
	Logins    Logins     `yaml:"logins"`
}

// Limits bound what may wait, and how stale an answer may be.
type Limits struct {
	RequestTTL      time.Duration `yaml:"request_ttl"`      // how long a request waits for reviews where no rule says; 24h
	MaxSkew         time.Duration `yaml:"max_skew"`         // how far clocks may differ; 5s
	RevocationBound time.Duration `yaml:"revocation_bound"` // how late a revocation may act (R of the invariants); 5s
	Pending         Pending       `yaml:"pending"`
}

// Pending bounds the undecided requests of one requester.
type Pending struct {
	PerResource  int `yaml:"per_resource"`  // on one resource; 20
	PerRequester int `yaml:"per_requester"` // on all; 100
}

// Audit says how entries are written.
type Audit struct {
	Access string `yaml:"access"` // batched, or strict: each entry is durable before the answer
}

// Strict reports whether each access entry is durable before the answer.
func (a Audit) Strict() bool { return a.Access == "strict" }

// Notify says where news of requests goes.
type Notify struct {
	Webhook *Webhook `yaml:"webhook"`
	SMTP    *SMTP    `yaml:"smtp"`
}

// Names are those of the notifiers that are configured.
func (n Notify) Names() []string {
	var out []string
	if n.Webhook != nil {
		out = append(out, "webhook")
	}
	if n.SMTP != nil {
		out = append(out, "smtp")
	}
	return out
}

// Webhook is an endpoint for signed messages (Standard Webhooks).
type Webhook struct {
	URL    string `yaml:"url,required"`
	Secret Secret `yaml:"secret,required"`
}

// SMTP is a mail server.
type SMTP struct {
	Addr     string `yaml:"addr,required"` // host:port
	From     string `yaml:"from,required"` // a mail address
	Username string `yaml:"username"`
	Password Secret `yaml:"password"`
	TLS      word   `yaml:"tls"` // starttls (default), implicit, or off
}

// word is one of a few words, off among them: it needs no quotes, as it needs
// none where a listener's TLS is off.
type word string

// DecodeYAML implements NodeDecoder.
func (w *word) DecodeYAML(node ast.Node) error {
	if text, ok := plain(node); ok && text == "off" {
		*w = "off"
		return nil
	}
	return DecodeNode(node, (*string)(w))
}

// defaults is a server that nobody configured.
func defaults() *Server {
	return &Server{
		Listen:   "127.0.0.1:7400",
		Data:     "data",
		Store:    "sqlite",
		Identity: Identity{Tokens: true, Logins: defaultLogins()},
		Limits: Limits{
			RequestTTL: 24 * time.Hour, MaxSkew: 5 * time.Second, RevocationBound: 5 * time.Second,
			Pending: Pending{PerResource: 20, PerRequester: 100},
		},
		Audit: Audit{Access: "batched"},
	}
}

// DecodeYAML implements NodeDecoder: the gateway's defaults, then what is given.
func (g *HTTPGateway) DecodeYAML(node ast.Node) error {
	type plainGateway HTTPGateway
	*g = HTTPGateway{Listen: "127.0.0.1:7480", Domain: "localhost"}
	return DecodeNode(node, (*plainGateway)(g))
}

// DecodeYAML implements NodeDecoder: the gateway's defaults, then what is given.
func (g *PostgresGateway) DecodeYAML(node ast.Node) error {
	type plainGateway PostgresGateway
	*g = PostgresGateway{Listen: "127.0.0.1:7432"}
	return DecodeNode(node, (*plainGateway)(g))
}

// Load reads and checks the server's file, here and with the checks that are
// given. Relative paths in it are relative to its folder. Its error is an
// Errors unless the file cannot be read.
func Load(path string, checks ...Check) (*Server, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the server's configuration: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	src, err := io.ReadAll(io.LimitReader(f, MaxServerSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the server's configuration: %w", err)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the server's configuration: %w", err)
	}
	s, root, err := decodeServer(path, src, filepath.Dir(absolute))
	if err != nil {
		return nil, err
	}
	errs := s.checkFiles(root)
	for _, check := range checks {
		errs = append(errs, check(s, root)...)
	}
	if len(errs) > 0 {
		return nil, errs.Sorted().in(path)
	}
	return s, nil
}

// decodeServer is Load without a look at any file.
func decodeServer(name string, src []byte, dir string) (*Server, ast.Node, error) {
	root, err := Parse(name, src, MaxServerSize)
	if err != nil {
		return nil, nil, err
	}
	s := defaults()
	if err := DecodeNode(root, s); err != nil {
		return nil, nil, nameErrors(name, err)
	}
	if errs := s.check(root); len(errs) > 0 {
		return nil, nil, errs.Sorted().in(name)
	}
	s.resolve(dir)
	return s, root, nil
}

// resolve makes the paths absolute.
func (s *Server) resolve(dir string) {
	paths := []*string{&s.TLS.Cert, &s.TLS.Key, &s.Data, &s.Catalog}
	if g := s.Gateways.HTTP; g != nil {
		paths = append(paths, &g.TLS.Cert, &g.TLS.Key)
	}
	if g := s.Gateways.Postgres; g != nil {
		paths = append(paths, &g.TLS.Cert, &g.TLS.Key)
	}
	if a := s.Authz; a != nil {
		for i := range a.Proxies {
			for n := range a.Proxies[i].Certificates {
				paths = append(paths, &a.Proxies[i].Certificates[n])
			}
		}
	}
	for _, secret := range s.secrets() {
		paths = append(paths, &secret.File)
	}
	for i := range s.Identity.Workloads {
		paths = append(paths, &s.Identity.Workloads[i].JWKS.File)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

func (s *Server) secrets() []*Secret {
	var out []*Secret
	if s.Notify.Webhook != nil {
		out = append(out, &s.Notify.Webhook.Secret)
	}
	if s.Notify.SMTP != nil {
		out = append(out, &s.Notify.SMTP.Password)
	}
	for i := range s.Identity.OIDC {
		out = append(out, &s.Identity.OIDC[i].ClientSecret)
	}
	if a := s.Authz; a != nil {
		for i := range a.Proxies {
			for n := range a.Proxies[i].Secrets {
				out = append(out, &a.Proxies[i].Secrets[n])
			}
		}
	}
	return out
}
