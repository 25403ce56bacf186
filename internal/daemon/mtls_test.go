package daemon_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/daemon"
)

// selfSigned makes a certificate, and writes it and its key beside the server's
// files.
func (s *server) selfSigned(name string) tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	s.write(name+".pem", string(certificate))
	s.write(name+".key", string(secret))
	pair, err := tls.X509KeyPair(certificate, secret)
	if err != nil {
		s.t.Fatal(err)
	}
	return pair
}

// A proxy proves itself by its client certificate, over a real handshake; who
// shows another or none is served all else, and may not ask.
//
// Attack: FWD-10
func TestAProxyShowsItsCertificate(t *testing.T) {
	s := files(t)
	serving, mine, other := s.selfSigned("daypass"), s.selfSigned("proxy"), s.selfSigned("other")
	s.configure("tls: {cert: daypass.pem, key: daypass.key}\nauthz: {domain: localhost, proxies: [{name: mesh, certificates: [proxy.pem]}]}\n")
	cfg, err := config.Load(s.path("daypass.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Start(context.Background(), daemon.Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Shutdown(context.Background()) }()
	roots := x509.NewCertPool()
	roots.AddCert(serving.Leaf)
	ask := func(path string, shown ...tls.Certificate) int {
		t.Helper()
		c := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: shown}}}
		defer c.CloseIdleConnections()
		r, err := http.NewRequest("GET", d.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/v1/orders/7", "X-Forwarded-Host": "orders-api.localhost"} {
			r.Header.Set(name, value)
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if !strings.HasPrefix(d.URL(), "https://") {
		t.Fatal(d.URL())
	}
	if got := ask("/authz/forward", mine); got != 401 { // it may ask; the person has no token
		t.Errorf("the proxy: %d", got)
	}
	if a, b := ask("/authz/forward", other), ask("/authz/forward"); a != 403 || b != 403 {
		t.Errorf("another certificate: %d, none: %d", a, b)
	}
	if a, b := ask("/healthz", other), ask("/healthz"); a != 200 || b != 200 {
		t.Errorf("all else: %d, %d", a, b)
	}
}
