package wire

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daypass/daypass/internal/credential"
)

// login is what a peer did.
type login struct {
	session    Session
	mechanism  string
	token      credential.Hash
	statements []string
	err        error
}

// peers is a server that logs peers in and answers each Query with a notice and
// an error. It is what a gateway does before it has an upstream.
type peers struct {
	listener  net.Listener
	tls       *tls.Config
	binding   []byte
	verifiers []credential.Verifier

	mu     sync.Mutex
	logins []login
}

func newPeers(t *testing.T) *peers {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	p := &peers{
		tls:       &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}},
		binding:   Binding(leaf),
		verifiers: []credential.Verifier{verifier(t, "first"), verifier(t, "second")},
	}
	if p.listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				var l login
				l.err = p.serve(conn, &l)
				_ = conn.Close()
				p.mu.Lock()
				p.logins = append(p.logins, l)
				p.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = p.listener.Close()
		served.Wait()
	})
	return p
}

// last is what the last peer did, once it has hung up.
func (p *peers) last(t *testing.T) login {
	t.Helper()
	for range 500 {
		p.mu.Lock()
		if n := len(p.logins); n > 0 {
			l := p.logins[n-1]
			p.logins = nil
			p.mu.Unlock()
			return l
		}
		p.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody came")
	return login{}
}

func (p *peers) serve(conn net.Conn, l *login) error {
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	first, err := ReadFirst(conn)
	if err != nil {
		return err
	}
	var binding []byte
	if first.Request == AskTLS {
		if _, err := conn.Write([]byte("S")); err != nil {
			return err
		}
		conn, binding = tls.Server(conn, p.tls), p.binding
		if first, err = ReadFirst(conn); err != nil {
			return err
		}
	}
	if err := p.logIn(conn, first, binding, l); err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Severity: SeverityFatal, Code: CodePassword, Message: fmt.Sprintf("password authentication failed for user %q", l.session.User), Hint: "Ask again."}
		}
		_, _ = conn.Write(e.AppendError(nil))
		return err
	}
	return p.answer(conn, l)
}

func (p *peers) logIn(conn net.Conn, first First, binding []byte, l *login) error {
	var err error
	if l.session, err = first.Session(); err != nil {
		return err
	}
	salt, verifiers := MockSalt([]byte("key"), l.session.User), []credential.Verifier(nil)
	if l.session.User == grant {
		salt, verifiers = credential.SaltOf(grant), p.verifiers
	}
	var out []byte
	if l.session.Negotiates(first) {
		out = AppendNegotiate(out, l.session.Version, l.session.Unsupported)
	}
	x := NewScram(salt, verifiers, binding)
	if _, err := conn.Write(AppendSASL(out, x.Mechanisms())); err != nil {
		return err
	}
	body, err := ReadAnswer(conn)
	if err != nil {
		return err
	}
	mechanism, data, err := ReadSASL(body)
	if err != nil {
		return err
	}
	l.mechanism = mechanism
	challenge, err := x.First(mechanism, data)
	if err != nil {
		return err
	}
	if _, err := conn.Write(AppendSASLContinue(nil, challenge)); err != nil {
		return err
	}
	if body, err = ReadAnswer(conn); err != nil {
		return err
	}
	last, v, err := x.Final(body)
	if err != nil {
		return err
	}
	l.token = v.Token
	out = AppendAuthOK(AppendSASLFinal(nil, last))
	for name, value := range map[string]string{"server_version": "15.0", "client_encoding": "UTF8", "standard_conforming_strings": "on"} {
		out = AppendParameterStatus(out, name, value)
	}
	_, err = conn.Write(AppendReady(AppendKeyData(out, 7, make([]byte, l.session.Version.KeySize())), 'I'))
	return err
}

func (p *peers) answer(conn net.Conn, l *login) error {
	s, buffer := Clients(), make([]byte, 100)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		for rest := buffer[:n]; len(rest) > 0; {
			part, after, err := s.Next(rest)
			if err != nil {
				return err
			}
			rest = after
			switch part.Type {
			case Query:
				sql, err := ReadQuery(part.Body)
				if err != nil {
					return err
				}
				l.statements = append(l.statements, string(sql))
				out := (&Error{Severity: SeverityWarning, Code: "01000", Message: "the grant expires in 60 s"}).AppendNotice(nil)
				out = (&Error{Severity: SeverityError, Code: CodePrivilege, Message: "LISTEN is not allowed", Detail: "By the grant.", Hint: "Ask for more."}).AppendError(out)
				if _, err := conn.Write(AppendReady(out, 'I')); err != nil {
					return err
				}
			case Terminate:
				return nil
			}
		}
	}
}

func (p *peers) dsn(options string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=orders %s", p.listener.Addr().(*net.TCPAddr).Port, grant, options)
}

// psql is what psql prints when it sends a long statement.
func (p *peers) psql(t *testing.T, token, options string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "psql", "-X", p.dsn(options), "-c", "listen "+strings.Repeat("x", 5000))
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PG") }), "PGPASSWORD="+token, "LC_ALL=C", "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("psql ended well: %s", out)
	}
	return string(out)
}

// Attack: PG-02
func TestPsqlProvesATokenAndShowsWhatIsSaid(t *testing.T) {
	p := newPeers(t)
	for _, c := range []struct {
		token, options, mechanism string
	}{
		{"first", "sslmode=require channel_binding=require", ScramPlus},
		{"second", "sslmode=require channel_binding=prefer", ScramPlus},
		{"second", "sslmode=require channel_binding=disable", ScramPlain},
		{"first", "sslmode=disable", ScramPlain},
	} {
		out := p.psql(t, c.token, c.options)
		l := p.last(t)
		want := verifier(t, c.token).Token
		if l.err != nil || l.mechanism != c.mechanism || l.token != want || l.session.Database != "orders" || len(l.statements) != 1 || len(l.statements[0]) != 5007 {
			t.Errorf("%s: %v %s %+v\n%s", c.options, l.err, l.mechanism, l.session, out)
		}
		for _, said := range []string{"WARNING:  the grant expires in 60 s", "ERROR:  LISTEN is not allowed", "DETAIL:  By the grant.", "HINT:  Ask for more."} {
			if !strings.Contains(out, said) {
				t.Errorf("%s: psql does not show %q:\n%s", c.options, said, out)
			}
		}
	}
	for token, options := range map[string]string{"third": "sslmode=require", "first": "sslmode=disable user=nobody"} {
		out := p.psql(t, token, options)
		if l := p.last(t); !errors.Is(l.err, ErrProof) || !strings.Contains(out, "password authentication failed for user") || !strings.Contains(out, "Ask again.") {
			t.Errorf("%s: %v\n%s", options, l.err, out)
		}
	}
	if out := p.psql(t, "first", "sslmode=require options='-c role=x'"); !strings.Contains(out, "PGOPTIONS") {
		t.Errorf("psql does not show why options are refused:\n%s", out)
	}
}

func TestPgxSpeaksBothVersions(t *testing.T) {
	p := newPeers(t)
	for _, c := range []struct {
		options string
		version Version
		key     int
	}{
		{"sslmode=require channel_binding=require", Version30, 4},
		{"sslmode=require channel_binding=require min_protocol_version=3.2 max_protocol_version=3.2", Version32, 32},
		{"sslmode=disable max_protocol_version=latest", Version32, 32},
	} {
		conn, err := pgconn.Connect(t.Context(), p.dsn(c.options+" password=first"))
		if err != nil {
			t.Errorf("%s: %v", c.options, err)
			continue
		}
		if len(conn.SecretKey()) != c.key {
			t.Errorf("%s: a key of %d bytes", c.options, len(conn.SecretKey()))
		}
		var said *pgconn.PgError
		if _, err := conn.Exec(t.Context(), "listen x").ReadAll(); !errors.As(err, &said) || said.Code != CodePrivilege || said.Hint != "Ask for more." {
			t.Errorf("%s: %v", c.options, err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if l := p.last(t); l.err != nil || l.session.Version != c.version {
			t.Errorf("%s: %+v", c.options, l)
		}
	}
}

// A client of a later version, and one with an extension, are told what they get.
func TestLaterVersionsAreNegotiated(t *testing.T) {
	first, err := ReadFirst(bytes.NewReader(packet(3<<16|9999, params("user", "ana", "_pq_.x", "1"))))
	if err != nil {
		t.Fatal(err)
	}
	s, err := first.Session()
	if err != nil || !s.Negotiates(first) {
		t.Fatal(s, err)
	}
	want := frame('v', []byte("\x00\x03\x00\x02\x00\x00\x00\x01_pq_.x\x00"))
	if got := AppendNegotiate(nil, s.Version, s.Unsupported); !bytes.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
