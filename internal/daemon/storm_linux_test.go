package daemon_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// limited has a server started with so many file descriptors and no more.
func (s *server) limited(descriptors int) {
	s.t.Helper()
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", descriptors, s.program)
	s.write("limited", script)
	if err := os.Chmod(s.path("limited"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.program = s.path("limited")
}

// overTLS gives both listeners a certificate.
func (s *server) overTLS() {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost", "*.localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	s.write("cert.pem", certificate)
	s.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	s.write("daypass.yaml", "listen: 127.0.0.1:0\ndata: "+s.data+"\ncatalog: ./catalog.yaml\ntls: {cert: cert.pem, key: key.pem}\ngateways:\n  http: {listen: 127.0.0.1:0, domain: localhost, tls: {cert: cert.pem, key: key.pem}}\n")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(certificate))
	s.scheme = "https"
	s.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// status reads a figure of the process, such as VmHWM in kB.
func (s *server) status(name string) int {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	s.t.Fatalf("there is no %s", name)
	return 0
}

// TestStorm: thousands of connections in some seconds to each listener, many
// that never finish a header or a TLS handshake. An administrator still
// revokes, whoever holds a grant still gets through, and what the process takes
// is bounded.
//
// Invariant: A37, A38
// Attack: RES-01, RES-08
func TestStorm(t *testing.T) {
	each, stalled := 600, 100
	if long() {
		each, stalled = 5000, 500
	}
	raiseTo(t, uint64(2*(each+2*stalled)+2000))
	s := files(t)
	s.overTLS()
	s.limited(20_000)
	s.start()
	var grants []string
	for range 10 {
		r, _ := s.pass(time.Hour)
		grants = append(grants, r.Grant.ID)
	}
	_, token := s.pass(time.Hour)

	var mu sync.Mutex
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	began := time.Now()
	var storm sync.WaitGroup
	for worker := range 16 {
		storm.Go(func() {
			for i := worker; i < each+2*stalled; i += 16 {
				for _, addr := range []string{s.api, s.gate} {
					c, err := dialFrom(i, addr)
					if err != nil {
						continue // refused is refused
					}
					mu.Lock()
					open = append(open, c)
					mu.Unlock()
					switch {
					case i < each: // nothing at all
					case i < each+stalled: // the beginning of a handshake, and no more
						_, _ = c.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01})
					default: // a handshake, and a header without an end
						storm.Go(func() {
							conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // an attacker does not care
							_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
							if conn.Handshake() == nil {
								_, _ = fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: open-api.localhost\r\nX-A: ")
							}
						})
					}
				}
			}
		})
	}
	stormed := make(chan struct{})
	go func() { storm.Wait(); close(stormed) }()
	var ends, calls []time.Duration
	for i := 0; ; i++ {
		s.http.CloseIdleConnections() // each by a connection of its own
		at := time.Now()
		s.through(token, "GET", "open-api", "/x").is(200)
		calls = append(calls, time.Since(at))
		if i < len(grants) {
			at = time.Now()
			s.call("user:ada", "POST", "/v1/grants/"+grants[i]+"/revoke", m{"reason": "storm"}).is(200)
			ends = append(ends, time.Since(at))
		}
		if i < len(grants) {
			continue
		}
		select {
		case <-stormed:
		default:
			continue
		}
		break
	}
	t.Logf("%d connections in %v: revocations %s; calls through the gateway %s; at most %d MB and %.0f descriptors", len(open), time.Since(began).Round(time.Millisecond),
		spread(ends), spread(calls), s.status("VmHWM")>>10, s.gauge("process_open_fds"))
	if slowest := quantile(ends, 100); slowest > 2*time.Second {
		t.Errorf("a revocation took %v", slowest)
	}
	if peak := s.status("VmHWM"); peak > 512<<10 {
		t.Errorf("it took %d MB", peak>>10)
	}
	if s.exitedNow() {
		t.Error("it did not live through it")
	}
	s.verify()
}

// TestFewDescriptors: with 256 descriptors and many more peers than that, the
// store stays usable, whoever may gets through or is refused, nobody is let in
// by mistake, and the process does not spin.
//
// Invariant: A37, A38
// Attack: RES-01
func TestFewDescriptors(t *testing.T) {
	s := files(t)
	s.limited(256)
	s.start()
	r, token := s.pass(time.Hour)
	over, _ := s.pass(time.Hour)
	s.call("user:ada", "POST", "/v1/grants/"+over.Grant.ID+"/revoke", nil).is(200)
	wrong := mint("dpgt_")
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	flood := func() {
		for i := range 600 {
			for _, addr := range []string{s.api, s.gate} {
				c, err := dialFrom(i, addr)
				if err != nil {
					continue
				}
				open = append(open, c)
				if i%3 == 0 { // asks, and never reads the answer to its end
					_, _ = fmt.Fprintf(c, "GET /flood HTTP/1.1\r\nHost: open-api.localhost\r\nAuthorization: Bearer %s\r\n\r\n", token)
				}
			}
		}
	}
	flood()
	if s.exitedNow() {
		t.Fatalf("it ended with %d", s.code)
	}
	before := s.cpu()
	time.Sleep(time.Second)
	if spent := s.cpu() - before; spent > 900*time.Millisecond {
		t.Errorf("it spins: %v of processor time in a second", spent)
	}
	for range 20 {
		s.http.CloseIdleConnections()
		if a, err := s.tryThrough(wrong, "GET", "open-api", "/x"); err == nil && a.status < 400 {
			t.Fatalf("a wrong token gets %d", a.status)
		}
		if a, err := s.tryThrough(token, "GET", "open-api", "/x"); err == nil && a.status != 200 && a.status < 500 {
			t.Errorf("a good token gets %d %s", a.status, a.body)
		}
		s.call("user:cy", "GET", "/v1/grants", nil).is(200)
	}
	began := time.Now()
	s.call("user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil).is(200)
	t.Logf("a revocation took %v; %.0f descriptors are open", time.Since(began), s.gauge("process_open_fds"))
	for _, c := range open {
		_ = c.Close()
	}
	open = nil
	soon(t, "it serves all again", func() bool {
		_, fresh := s.pass(time.Minute)
		a, err := s.tryThrough(fresh, "GET", "open-api", "/x")
		return err == nil && a.status == 200
	})
	s.through(token, "GET", "open-api", "/x").is(401)
	if strings.Contains(s.log.String(), "stopped:") {
		t.Error("the store failed")
	}
	s.verify()
}

// cpu is the processor time that the process has used.
func (s *server) cpu() time.Duration {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		s.t.Fatalf("%s", b)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
