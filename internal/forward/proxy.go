package forward

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/daypass/daypass/internal/credential"
)

// Proxy is one proxy that may ask.
type Proxy struct {
	Name string
	// Header says that the proxy names the resource itself, in Daypass-Resource.
	// Otherwise it is found by the host.
	Header bool
	// Resources are those that it may ask about; nil: all.
	Resources []string

	secrets      [][sha256.Size]byte
	certificates []*x509.Certificate
	details      map[string]any // of its entries; never changed
}

// MinSecret is how long a secret of a proxy is at least, in bytes.
const MinSecret = 32

// NewProxy returns a proxy that proves itself by one of secrets or one of
// certificates. Several serve to change one while another is in use.
func NewProxy(name string, secrets []credential.Secret, certificates []*x509.Certificate) (Proxy, error) {
	p := Proxy{Name: name, certificates: certificates, details: map[string]any{"proxy": name}}
	for _, s := range secrets {
		if len(s.Reveal()) < MinSecret {
			return Proxy{}, fmt.Errorf("a secret of %s has less than %d characters: make one with openssl rand -hex 32", name, MinSecret)
		}
		p.secrets = append(p.secrets, sha256.Sum256([]byte(s.Reveal())))
	}
	if len(p.secrets)+len(certificates) == 0 {
		return Proxy{}, errors.New(name + " has neither a secret nor a certificate")
	}
	return p, nil
}

func (p *Proxy) fronts(resource string) bool {
	return p.Resources == nil || slices.Contains(p.Resources, resource)
}

// proxy returns who asks, nil when they have not proven to be any proxy. All
// secrets are compared each time, by their hashes.
func (s *server) proxy(r *http.Request) *Proxy {
	var found *Proxy
	if sent := r.Header[secretHeader]; len(sent) == 1 {
		hash := sha256.Sum256([]byte(sent[0]))
		for i := range s.Proxies {
			for _, known := range s.Proxies[i].secrets {
				if subtle.ConstantTimeCompare(hash[:], known[:]) == 1 {
					found = &s.Proxies[i]
				}
			}
		}
	}
	if found != nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return found
	}
	shown := r.TLS.PeerCertificates[0] // the handshake proved that its key is theirs
	now := s.Now()
	if now.Before(shown.NotBefore) || now.After(shown.NotAfter) {
		return nil
	}
	for i := range s.Proxies {
		if slices.ContainsFunc(s.Proxies[i].certificates, shown.Equal) {
			return &s.Proxies[i]
		}
	}
	return nil
}
