package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// check refuses what cannot work or is not safe, and completes public_url. It
// looks at no file.
func (s *Server) check(root ast.Node) Errors {
	var errs Errors
	fault := func(path []string, format string, args ...any) {
		node := Find(root, path...)
		if node == nil {
			errs = append(errs, Error{Line: 1, Column: 1, Message: fmt.Sprintf(format, args...)})
			return
		}
		errs = append(errs, Errorf(node, format, args...))
	}
	at := func(path ...string) []string { return path }

	listener := func(address string, tls TLS, path ...string) {
		if err := checkAddress(address, true); err != nil {
			fault(append(path, "listen"), "%s", err)
			return
		}
		if !loopback(address) && !tls.Enabled() && !tls.Off {
			fault(append(path, "listen"), "%s is not loopback, and TLS is not configured: give tls: {cert: FILE, key: FILE}, or write tls: off to serve in clear", address)
		}
	}
	listener(s.Listen, s.TLS)
	if g := s.Gateways.HTTP; g != nil {
		listener(g.Listen, g.TLS, "gateways", "http")
		if len(g.Domain) > 189 || !domainName.MatchString(g.Domain) {
			fault(at("gateways", "http", "domain"), "must be a DNS name in lower case, such as access.example.com")
		}
	}
	if g := s.Gateways.Postgres; g != nil {
		if err := checkAddress(g.Listen, true); err != nil {
			fault(at("gateways", "postgres", "listen"), "%s", err)
		} else if g.TLS.Off && !loopback(g.Listen) {
			fault(at("gateways", "postgres", "tls"), "%s is not loopback: leave tls out, and the gateway makes its own certificate, or give {cert: FILE, key: FILE}", g.Listen)
		}
		if g.Host != "" && net.ParseIP(g.Host) == nil && (len(g.Host) > 253 || !domainName.MatchString(g.Host)) {
			fault(at("gateways", "postgres", "host"), "must be the name or address that clients connect to, without a port")
		}
	}
	for _, e := range s.Gateways.Rest {
		errs = append(errs, Errorf(e.KeyNode, "unknown key %q: this build has no such gateway; it has http and postgres", clip(e.Key)))
	}
	if err := s.completeURL(); err != nil {
		fault(at("public_url"), "%s", err)
	}
	if s.Data == "" {
		fault(at("data"), "must be a folder")
	}
	switch {
	case s.Store == "sqlite":
	case strings.HasPrefix(s.Store, "postgres:"), strings.HasPrefix(s.Store, "postgresql:"):
		fault(at("store"), "PostgreSQL is not in this build: write sqlite")
	default:
		fault(at("store"), "unknown store: write sqlite")
	}
	if !s.Identity.Tokens {
		fault(at("identity", "tokens"), "API tokens cannot be switched off in this build: services have no other way")
	}
	s.checkWorkloads(fault)
	s.checkLogins(fault)
	s.Limits.check(fault)
	if a := s.Audit.Access; a != "batched" && a != "strict" {
		fault(at("audit", "access"), "must be batched or strict")
	}
	if w := s.Notify.Webhook; w != nil {
		if err := checkURL(w.URL); err != nil {
			fault(at("notify", "webhook", "url"), "%s", err)
		}
	}
	if m := s.Notify.SMTP; m != nil {
		m.check(fault)
	}
	if a := s.Authz; a != nil {
		domain := ""
		if g := s.Gateways.HTTP; g != nil {
			domain = g.Domain
		}
		a.check(domain, s.TLS.Enabled(), fault)
	}
	return errs
}

func (l *Limits) check(fault func([]string, string, ...any)) {
	for _, bound := range []struct {
		key      string
		value    time.Duration
		longest  time.Duration
		sentence string
	}{
		{"request_ttl", l.RequestTTL, 720 * time.Hour, "at most 720h"},
		{"max_skew", l.MaxSkew, time.Minute, "at most 1m"},
		{"revocation_bound", l.RevocationBound, time.Minute, "at most 1m"},
	} {
		if bound.value <= 0 || bound.value > bound.longest {
			fault([]string{"limits", bound.key}, "must be more than 0 and %s", bound.sentence)
		}
	}
	if n := l.Pending.PerResource; n < 1 || n > 1_000_000 {
		fault([]string{"limits", "pending", "per_resource"}, "must be between 1 and 1000000")
	}
	if n := l.Pending.PerRequester; n < 1 || n > 1_000_000 {
		fault([]string{"limits", "pending", "per_requester"}, "must be between 1 and 1000000")
	}
}

func (m *SMTP) check(fault func([]string, string, ...any)) {
	if m.TLS == "" {
		m.TLS = "starttls"
	}
	if err := checkAddress(m.Addr, false); err != nil {
		fault([]string{"notify", "smtp", "addr"}, "%s", err)
	}
	if a, err := mail.ParseAddress(m.From); err != nil || strings.ContainsAny(a.Address, "\r\n") {
		fault([]string{"notify", "smtp", "from"}, "must be a mail address, such as daypass@example.com")
	}
	switch {
	case m.TLS != "starttls" && m.TLS != "implicit" && m.TLS != "off":
		fault([]string{"notify", "smtp", "tls"}, "must be starttls, implicit or off")
	case m.TLS == "off" && !loopback(m.Addr):
		fault([]string{"notify", "smtp", "tls"}, "off is for a relay on a loopback address alone: use starttls or implicit")
	}
	if (m.Username == "") != m.Password.IsZero() {
		fault([]string{"notify", "smtp"}, "username and password are given together, or neither")
	}
}

// completeURL fills public_url in, and checks it.
func (s *Server) completeURL() error {
	if s.PublicURL != "" {
		s.PublicURL = strings.TrimSuffix(s.PublicURL, "/")
		if err := checkURL(s.PublicURL); err != nil {
			return err
		}
		if u, _ := url.Parse(s.PublicURL); u.Path != "" || strings.ContainsAny(s.PublicURL, "?#") {
			return fmt.Errorf("must have no path and no query")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(s.Listen)
	if known := err == nil && port != "0"; !known {
		return nil // a fault of listen, which is reported there, or known only when it listens
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		return fmt.Errorf("public_url is needed when listen is not one address: it is what callers use")
	}
	scheme := "http"
	if s.TLS.Enabled() {
		scheme = "https"
	}
	s.PublicURL = scheme + "://" + s.Listen
	return nil
}

func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("must be an absolute URL, such as https://daypass.example.com, without a user and a fragment")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("must be an absolute URL with a port between 1 and 65535")
		}
	}
	return nil
}

func checkAddress(address string, zero bool) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("must be host:port, such as 127.0.0.1:7400")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 && !zero {
		return fmt.Errorf("must be host:port with a port between 1 and 65535")
	}
	return nil
}

// loopback reports whether an address is reached from this machine alone. A
// name other than localhost could resolve to anything.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// checkFiles refuses certificates that do not load and secrets that others may
// read. A secret that is not there yet is a matter of its use.
func (s *Server) checkFiles(root ast.Node) Errors {
	var errs Errors
	pair := func(t TLS, path ...string) {
		if !t.Enabled() {
			return
		}
		if err := CheckPrivate(t.Key); err != nil {
			errs = append(errs, Errorf(Find(root, append(path, "key")...), "%s", err))
			return
		}
		if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
			errs = append(errs, Errorf(Find(root, path...), "loading the certificate and its key: %s", err))
		}
	}
	pair(s.TLS, "tls")
	if g := s.Gateways.HTTP; g != nil {
		pair(g.TLS, "gateways", "http", "tls")
	}
	if g := s.Gateways.Postgres; g != nil {
		pair(g.TLS, "gateways", "postgres", "tls")
	}
	secret := func(ref Secret, path ...string) {
		if ref.File == "" {
			return
		}
		if err := CheckPrivate(ref.File); err != nil {
			errs = append(errs, Errorf(Find(root, path...), "%s", err))
		}
	}
	if w := s.Notify.Webhook; w != nil {
		secret(w.Secret, "notify", "webhook", "secret")
	}
	if m := s.Notify.SMTP; m != nil {
		secret(m.Password, "notify", "smtp", "password")
	}
	s.checkLoginFiles(secret)
	if s.Authz != nil {
		errs = append(errs, s.Authz.checkFiles(root)...)
	}
	return errs
}

// Warnings names each protection that the file switches off, for the log at
// start and the audit.
func (s *Server) Warnings() []string {
	var out []string
	if s.TLS.Off && !loopback(s.Listen) {
		out = append(out, fmt.Sprintf("tls: off: the API on %s is served in clear; tokens and grants can be read on the way", s.Listen))
	}
	if g := s.Gateways.HTTP; g != nil && g.TLS.Off && !loopback(g.Listen) {
		out = append(out, fmt.Sprintf("gateways.http.tls: off: the HTTP gateway on %s is served in clear; grant tokens can be read on the way", g.Listen))
	}
	if w := s.Notify.Webhook; w != nil {
		if u, err := url.Parse(w.URL); err == nil && u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "80")) {
			out = append(out, fmt.Sprintf("notify.webhook.url: messages to %s are signed, but sent in clear", u.Host))
		}
	}
	return out
}
