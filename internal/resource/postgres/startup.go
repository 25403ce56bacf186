package pgkind

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"time"

	"github.com/daypass/daypass/internal/resource/postgres/wire"
)

// alpn is the protocol's name within TLS, which a client that begins with TLS
// must name (PostgreSQL 17).
const alpn = "postgresql"

// visit is a connection that is not a session yet.
type visit struct {
	g       *Gateway
	raw     net.Conn // below TLS
	conn    net.Conn
	secure  bool
	binding []byte // of the certificate that the client saw
	until   time.Time
	first   wire.First
	asked   wire.Session
}

// shown is a connection that knows which certificate was shown on it.
type shown struct {
	net.Conn
	cert  *tls.Certificate
	early []byte // that was read of it already
}

// Read implements net.Conn.
func (s *shown) Read(p []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(p, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	return s.Conn.Read(p)
}

// serverConfig has connections note their certificates.
func serverConfig(given *tls.Config) *tls.Config {
	c := given.Clone()
	c.NextProtos = []string{alpn}
	c.SessionTicketsDisabled = true // sessions are long: tickets cost more than they save
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := certificateFor(given, hello)
		if s, ok := hello.Conn.(*shown); ok && err == nil {
			s.cert = cert
		}
		return cert, err
	}
	c.Certificates = nil
	return c
}

func certificateFor(c *tls.Config, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.GetCertificate != nil {
		if cert, err := c.GetCertificate(hello); cert != nil || err != nil {
			return cert, err
		}
	}
	if len(c.Certificates) == 0 {
		return nil, errors.New("there is no certificate")
	}
	for i := range c.Certificates {
		if hello.SupportsCertificate(&c.Certificates[i]) == nil {
			return &c.Certificates[i], nil
		}
	}
	return &c.Certificates[0], nil
}

// greet takes a connection to its session; nil when there is none.
func (g *Gateway) greet(raw net.Conn) *session {
	v := &visit{g: g, raw: raw, conn: raw, until: time.Now().Add(g.limits.HeaderTimeout)}
	_ = raw.SetDeadline(v.until)
	ok, err := v.open()
	if err == nil && ok {
		var s *session
		if s, err = v.login(); s != nil {
			return s
		}
	}
	if fatal, ok := errors.AsType[*wire.Error](err); ok {
		v.refuse(fatal)
	}
	_ = v.conn.Close()
	return nil
}

// open reads first packets until one asks for a session, and starts TLS on the
// way. It reports false when there is nothing more to do.
func (v *visit) open() (bool, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(v.raw, first); err != nil {
		return false, err // a probe, or nobody
	}
	from := io.MultiReader(bytes.NewReader(first), v.raw)
	if wire.IsTLS(first[0]) {
		if v.g.tls == nil {
			return false, nil
		}
		if err := v.encrypt(first, true); err != nil {
			return false, err
		}
		from = v.conn
	}
	asked := map[wire.Request]bool{}
	for {
		f, err := wire.ReadFirst(from)
		if err != nil {
			return false, err
		}
		from = v.conn
		switch f.Request {
		case wire.AskSession:
			v.first = f
			return true, nil
		case wire.AskCancel:
			v.g.cancel(f, v.raw.RemoteAddr())
			return false, nil
		case wire.AskTLS, wire.AskEncryption:
			if v.secure || asked[f.Request] {
				return false, &wire.Error{Severity: wire.SeverityFatal, Code: wire.CodeProtocol, Message: "encryption was asked for twice"}
			}
			asked[f.Request] = true
			if f.Request == wire.AskEncryption || v.g.tls == nil {
				if _, err := v.conn.Write([]byte{'N'}); err != nil {
					return false, err
				}
				continue
			}
			if _, err := v.conn.Write([]byte{'S'}); err != nil {
				return false, err
			}
			if err := v.encrypt(nil, false); err != nil {
				return false, err
			}
			from = v.conn
		}
	}
}

// encrypt starts TLS. What came after an SSLRequest, and before the answer to
// it, is taken for the beginning of the handshake, and for nothing else.
func (v *visit) encrypt(early []byte, direct bool) error {
	below := &shown{Conn: v.raw, early: early}
	t := tls.Server(below, v.g.tls)
	ctx, cancel := context.WithDeadline(context.Background(), v.until)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	v.conn, v.secure = t, true
	if direct && t.ConnectionState().NegotiatedProtocol != alpn {
		return &wire.Error{
			Severity: wire.SeverityFatal, Code: wire.CodeProtocol,
			Message: "received direct SSL connection without ALPN protocol negotiation extension",
		}
	}
	if below.cert != nil && len(below.cert.Certificate) > 0 {
		if leaf, err := x509.ParseCertificate(below.cert.Certificate[0]); err == nil {
			v.binding = wire.Binding(leaf)
		}
	}
	return nil
}

// refuse says why there is no session.
func (v *visit) refuse(fatal *wire.Error) {
	_, _ = v.conn.Write(fatal.AppendError(nil))
	_ = v.conn.SetReadDeadline(time.Now().Add(farewell))
	closeWrite(v.conn)
	_, _ = io.CopyN(io.Discard, v.conn, smallInput) // closing on unread bytes would take the message back
}

const smallInput = 64 << 10

func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}
