package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// Authz lets other proxies ask, at /authz/…, whether they may pass a request
// on. Without it those paths do not exist.
type Authz struct {
	Domain  string  `yaml:"domain"` // a resource is <resource>.<domain>; that of the HTTP gateway
	Proxies []Proxy `yaml:"proxies,required"`
}

// Proxy is one proxy, and how it proves to be it.
type Proxy struct {
	Name         string   `yaml:"name,required"`
	Secrets      []Secret `yaml:"secrets"`      // one that it sends as Daypass-Proxy-Secret; several to change it
	Certificates []string `yaml:"certificates"` // PEM files of client certificates, each for itself
	Resource     string   `yaml:"resource"`     // host (default), or header: Daypass-Resource, which the proxy sets
	Resources    []string `yaml:"resources"`    // those that it may ask about; all
}

var proxyName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// check refuses what cannot work. tls says whether the API's listener speaks
// TLS, without which there are no client certificates.
func (a *Authz) check(domain string, tls bool, fault func([]string, string, ...any)) {
	at := func(i int, more ...string) []string {
		return append([]string{"authz", "proxies", strconv.Itoa(i)}, more...)
	}
	if a.Domain == "" {
		a.Domain = domain
	}
	if a.Domain != "" && (len(a.Domain) > 189 || !domainName.MatchString(a.Domain)) {
		fault([]string{"authz", "domain"}, "must be a DNS name in lower case, such as apps.example.com")
	}
	if len(a.Proxies) == 0 {
		fault([]string{"authz", "proxies"}, "must name a proxy; without authz there is no /authz")
	}
	names := map[string]bool{}
	for i := range a.Proxies {
		p := &a.Proxies[i]
		switch {
		case !proxyName.MatchString(p.Name):
			fault(at(i, "name"), "must be a-z, 0-9 and -, such as edge")
		case names[p.Name]:
			fault(at(i, "name"), "%s is there twice", p.Name)
		}
		names[p.Name] = true
		if len(p.Secrets)+len(p.Certificates) == 0 {
			fault(at(i), "needs secrets or certificates: nobody else may ask")
		}
		if len(p.Certificates) > 0 && !tls {
			fault(at(i, "certificates"), "a client certificate needs tls on the API's listener")
		}
		switch p.Resource {
		case "":
			p.Resource = "host"
		case "host", "header":
		default:
			fault(at(i, "resource"), "must be host or header")
		}
		if p.Resource == "host" && a.Domain == "" {
			fault(at(i), "finds its resources by host: give authz a domain, or the proxy resource: header")
		}
	}
}

// checkFiles refuses secrets that cannot be read, or that others may, and
// certificates that are none: a proxy that cannot prove itself is denied
// everything, and that is found here.
func (a *Authz) checkFiles(root ast.Node) Errors {
	var errs Errors
	for i, p := range a.Proxies {
		node := func(key string, n int) ast.Node {
			return Find(root, "authz", "proxies", strconv.Itoa(i), key, strconv.Itoa(n))
		}
		for n, s := range p.Secrets {
			if s.File == "" {
				continue
			}
			if err := CheckPrivate(s.File); err != nil {
				errs = append(errs, Errorf(node("secrets", n), "%s", err))
			}
		}
		for n, file := range p.Certificates {
			if _, err := ReadCertificate(file); err != nil {
				errs = append(errs, Errorf(node("certificates", n), "%s", err))
			}
		}
	}
	return errs
}

// ReadCertificate reads the first certificate of a PEM file.
func ReadCertificate(file string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: %w", file, errors.New("does not begin with a certificate in PEM"))
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cert, nil
}
