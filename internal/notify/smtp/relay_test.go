package smtp

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// relay is a small mail relay that speaks the real protocol (RFC 5321, STARTTLS
// of RFC 3207, AUTH PLAIN of RFC 4954).
type relay struct {
	noTLS    bool              // STARTTLS is not offered
	implicit bool              // TLS from the first byte
	user     string            // asks for "user"/"pass" when set
	answers  map[string]string // by verb, or by "RCPT <address>": a reply instead of the usual one
	silent   bool              // accepts and never greets

	roots *x509.CertPool
	cert  tls.Certificate
	addr  string
	port  int

	mu       sync.Mutex
	mails    []mailSeen
	commands []string
	plain    int // commands after EHLO that came without TLS
}

type mailSeen struct {
	from, to, data string
	tls, auth      bool
}

// start listens on loopback and ends with the test.
func (r *relay) start(t *testing.T) *relay {
	t.Helper()
	r.certify(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr, r.port = l.Addr().String(), l.Addr().(*net.TCPAddr).Port
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			all.Go(func() { defer func() { _ = conn.Close() }(); r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return r
}

func (r *relay) certify(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	r.roots = x509.NewCertPool()
	r.roots.AddCert(parsed)
	r.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (r *relay) serve(conn net.Conn) {
	secured := false
	if r.silent {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	if r.implicit {
		conn, secured = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{r.cert}}), true
	}
	in := textproto.NewReader(bufio.NewReader(conn))
	say := func(line string) { _, _ = fmt.Fprintf(conn, "%s\r\n", line) }
	say("220 relay ESMTP")
	var m mailSeen
	authed := false
	for {
		line, err := in.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		r.note(line, verb, secured)
		if reply, ok := r.answers[verb]; ok {
			say(reply)
			continue
		}
		switch verb {
		case "EHLO":
			out := []string{"250-relay", "250-8BITMIME"}
			if !r.noTLS && !secured {
				out = append(out, "250-STARTTLS")
			}
			if r.user != "" && (secured || r.noTLS) {
				out = append(out, "250-AUTH PLAIN")
			}
			say(strings.Join(append(out, "250 SIZE 1000000"), "\r\n"))
		case "STARTTLS":
			say("220 go ahead")
			with := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{r.cert}})
			if with.Handshake() != nil {
				return
			}
			conn, secured = with, true
			in = textproto.NewReader(bufio.NewReader(conn))
		case "AUTH":
			want := "PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+r.user+"\x00pass"))
			if authed = rest == want; authed {
				say("235 welcome")
			} else {
				say("535 5.7.8 no\x1b[31m")
			}
		case "MAIL":
			m = mailSeen{from: between(rest), tls: secured, auth: authed}
			say("250 ok")
		case "RCPT":
			m.to = between(rest)
			if reply, ok := r.answers["RCPT "+m.to]; ok {
				say(reply)
				continue
			}
			say("250 ok")
		case "DATA":
			say("354 go on")
			b, err := in.ReadDotBytes()
			if err != nil {
				return
			}
			if reply, ok := r.answers["."]; ok {
				say(reply)
				continue
			}
			m.data = string(b)
			r.mu.Lock()
			r.mails = append(r.mails, m)
			r.mu.Unlock()
			say("250 queued")
		case "RSET":
			m = mailSeen{}
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 unknown")
		}
	}
}

func (r *relay) note(line, verb string, secured bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = append(r.commands, line)
	if !secured && verb != "EHLO" && verb != "STARTTLS" && verb != "QUIT" {
		r.plain++
	}
}

func (r *relay) seen() (mails []mailSeen, commands []string, plain int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]mailSeen(nil), r.mails...), append([]string(nil), r.commands...), r.plain
}

func between(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}
