package daemon

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/resource"
)

// The authority that a server makes for itself, so that a gateway without a
// certificate of its own is not served in clear.
const (
	authorityFile    = "gateway-ca.pem" // its certificate: public, for clients
	authorityKeyFile = "gateway-ca.key" // key and certificate, among the keys
	authorityLife    = 10 * 365 * 24 * time.Hour
	leafLife         = 30 * 24 * time.Hour
)

// authority signs certificates for this server's gateways.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// openAuthority loads the authority of a data folder, which it makes where
// there is none, and writes its public half beside the store.
func openAuthority(data string, now time.Time) (*authority, error) {
	both, err := credential.LoadOrCreateFile(filepath.Join(data, keysFolder), authorityKeyFile, func() ([]byte, error) { return newAuthority(now) })
	if err != nil {
		return nil, fmt.Errorf("the gateways' authority: %w", err)
	}
	keyBlock, rest := pem.Decode(both)
	certBlock, _ := pem.Decode(rest)
	if keyBlock == nil || certBlock == nil {
		return nil, errors.New("the gateways' authority: its file holds no key and certificate")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the gateways' authority: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the gateways' authority: its key is of another kind")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the gateways' authority: %w", err)
	}
	public := pem.EncodeToMemory(certBlock)
	file := filepath.Join(data, authorityFile)
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, public) {
		if err := writeFile(file, public); err != nil {
			return nil, err
		}
	}
	return &authority{cert: cert, key: key}, nil
}

func newAuthority(now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// A name of its own: clients that trust several must not take one for
	// another. An empty one is refused by Java.
	name := pkix.Name{Organization: []string{"Daypass"}, CommonName: "Daypass gateways " + credential.NewID("ca")}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: name, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...), nil
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[0] &= 0x7f           // positive (RFC 5280 §4.1.2.2)
	return new(big.Int).SetBytes(b[:])
}

// leaf makes a certificate for host, and for this machine's own names.
func (a *authority) leaf(host string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"Daypass"}, CommonName: host}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = append(template.IPAddresses, ip)
	} else if host != "localhost" && host != "" {
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: template}, nil
}

// ownTLS is TLS with a certificate that the server makes for a gateway at
// site, anew before it ends.
func (d *Daemon) ownTLS(site resource.Site) (*tls.Config, error) {
	a, err := openAuthority(d.cfg.Data, time.Now())
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(site.Addr)
	if err != nil {
		return nil, fmt.Errorf("the gateway's address: %w", err)
	}
	var mu sync.Mutex
	var now *tls.Certificate
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if now == nil || time.Until(now.Leaf.NotAfter) < leafLife/3 {
			next, err := a.leaf(host, time.Now())
			if err != nil {
				return nil, err
			}
			now = next
		}
		return now, nil
	}
	if _, err := get(nil); err != nil {
		return nil, fmt.Errorf("making the gateway's certificate: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: get}, nil
}

// gatewayCA is the authority that clients of the gateways are to trust; nil
// when the server has made none.
func (d *Daemon) gatewayCA() []byte {
	if d.site("postgres", nil).Authority == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(d.cfg.Data, authorityFile))
	if err != nil {
		return nil // as good as none
	}
	return b
}

// reached is what clients connect to: host where it was given, else that of
// the listener, or of the public URL where it listens everywhere.
func (d *Daemon) reached(host, addr string) string {
	bound, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if host == "" {
		host = bound
		if ip := net.ParseIP(bound); ip != nil && ip.IsUnspecified() {
			if u, err := url.Parse(d.cfg.PublicURL); err == nil && u.Hostname() != "" {
				host = u.Hostname()
			}
		}
	}
	return net.JoinHostPort(host, port)
}
