// Package smtp sends messages as e-mail through one relay (RFC 5321), one
// recipient per mail, so that nobody learns who else was told.
//
// It refuses to send without TLS, or to talk to a relay that does not offer
// STARTTLS, unless the relay is a literal loopback address and the config says
// so by name; and to put anything into a header that could end it.
package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/dial"
	"github.com/daypass/daypass/internal/notify"
)

// TLS is how a connection to the relay is protected.
type TLS string

// The ways, as the config spells them.
const (
	StartTLS TLS = "starttls" // the default: STARTTLS (RFC 3207), required
	Implicit TLS = "implicit" // TLS from the first byte (RFC 8314); the default on port 465
	Off      TLS = "off"      // none; to a literal loopback address alone
)

// The ports of mail submission.
const (
	submissionPort  = 587
	submissionsPort = 465
)

// timeout is how long one Send may take, however many recipients.
const timeout = 60 * time.Second

// Config is one relay.
type Config struct {
	Name     string // in logs and metrics; "smtp" when empty
	Host     string // name or literal address
	Port     int    // 0: 587, or 465 with Implicit
	TLS      TLS    // "": StartTLS, or Implicit on port 465
	Username string // "": no authentication
	Password credential.Secret
	From     string         // an address, with or without a name
	RootCAs  *x509.CertPool // nil: the system's
	Hello    string         // what to call ourselves; "localhost" when empty
}

// Sender is a notify.Notifier.
type Sender struct {
	name, host, addr, hello string
	tls                     TLS
	roots                   *x509.CertPool
	auth                    smtp.Auth
	from                    mail.Address
	dial                    func(ctx context.Context, network, addr string) (net.Conn, error)
}

var _ notify.Notifier = (*Sender)(nil)

// New checks c and returns its sender. It does not connect.
func New(c Config) (*Sender, error) {
	if c.Port == 0 {
		c.Port = submissionPort
		if c.TLS == Implicit {
			c.Port = submissionsPort
		}
	}
	if c.TLS == "" {
		c.TLS = StartTLS
		if c.Port == submissionsPort {
			c.TLS = Implicit
		}
	}
	from, err := mail.ParseAddress(c.From)
	switch {
	case err != nil || !clean(from.Address):
		return nil, errors.New("smtp: from is not a mail address")
	case c.Port < 1 || c.Port > 65535:
		return nil, errors.New("smtp: port is not between 1 and 65535")
	case c.TLS != StartTLS && c.TLS != Implicit && c.TLS != Off:
		return nil, fmt.Errorf("smtp: tls is %q, not starttls, implicit or off", string(c.TLS))
	case c.TLS == Off && !loopback(c.Host):
		return nil, errors.New("smtp: tls can be off towards a literal loopback address alone")
	case (c.Username == "") != c.Password.IsZero():
		return nil, errors.New("smtp: username and password go together")
	case c.Hello != "" && !clean(c.Hello):
		return nil, errors.New("smtp: hello is not a host name")
	}
	if err := dial.CheckHost(c.Host); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	host := strings.Trim(c.Host, "[]")
	s := &Sender{
		name: c.Name, host: host, addr: net.JoinHostPort(host, strconv.Itoa(c.Port)), hello: c.Hello,
		tls: c.TLS, roots: c.RootCAs, from: *from, dial: dial.New(host).DialContext,
	}
	if s.name == "" {
		s.name = "smtp"
	}
	if s.hello == "" {
		s.hello = "localhost"
	}
	if c.Username != "" {
		s.auth = smtp.PlainAuth("", c.Username, c.Password.Reveal(), host)
	}
	return s, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.IsLoopback()
}

// clean reports whether s can stand in a command line of SMTP as it is. Local
// parts that would have to be quoted are not worth their traps.
func clean(s string) bool {
	for _, r := range s {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`<>"(),;:\`, r) {
			return false
		}
	}
	return s != "" && len(s) <= 254
}

// Name returns the name from the config.
func (s *Sender) Name() string { return s.name }

// Send mails m to each recipient that has an address. When it fails for some
// and is tried again, the others may get it twice, with the same Message-ID.
// It is permanent when each failure is the relay's final no (5yz) to that mail.
func (s *Sender) Send(ctx context.Context, m notify.Message) error {
	var to []string
	var failed []error
	for _, r := range m.To {
		if r.Email == "" {
			continue
		}
		if a, err := mail.ParseAddress(r.Email); err != nil || !clean(a.Address) {
			failed = append(failed, notify.Permanent(fmt.Errorf("smtp %s: the address of %s is malformed", s.name, notify.Plain(r.Principal, 80))))
		} else {
			to = append(to, a.Address)
		}
	}
	if len(to) > 0 {
		if err := s.deliver(ctx, m, to); err != nil {
			failed = append(failed, err...)
		}
	}
	return judge(failed)
}

// judge joins errors; the whole is permanent when each of them is.
func judge(failed []error) error {
	if len(failed) == 0 {
		return nil
	}
	all := true
	for i, err := range failed {
		if !notify.IsPermanent(err) {
			all = false
			continue
		}
		if unmarked := errors.Unwrap(err); unmarked != nil {
			failed[i] = unmarked // else the mark of one would speak for the whole
		}
	}
	if err := errors.Join(failed...); !all {
		return err
	}
	return notify.Permanent(errors.Join(failed...))
}

// deliver speaks to the relay: one connection, one mail per address.
func (s *Sender) deliver(ctx context.Context, m notify.Message, to []string) []error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := s.connect(ctx)
	if err != nil {
		return []error{fmt.Errorf("smtp %s: %w", s.name, err)}
	}
	defer func() { _ = client.Close() }()
	var failed []error
	for i, address := range to {
		if i > 0 {
			if err := client.Reset(); err != nil {
				return append(failed, fmt.Errorf("smtp %s: starting the next mail: %w", s.name, tame(err)))
			}
		}
		if err := s.mail(client, m, address); err != nil {
			failed = append(failed, fmt.Errorf("smtp %s: %w", s.name, err))
			if final(err) {
				failed[len(failed)-1] = notify.Permanent(failed[len(failed)-1])
				continue
			}
			var reply *textproto.Error
			if !errors.As(err, &reply) {
				return failed // the connection is gone
			}
		}
	}
	_ = client.Quit() // every mail is accepted or refused already
	return failed
}

// connect dials, secures and authenticates.
func (s *Sender) connect(ctx context.Context) (*smtp.Client, error) {
	conn, err := s.dial(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	// A cancelled or overdue context unblocks whatever the connection is doing.
	// It closes rather than sets a deadline, which TLS would have to share.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	client, err := s.greet(ctx, conn)
	if err != nil {
		stop()
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("giving up: %w", context.Cause(ctx))
		}
		return nil, err
	}
	return client, nil
}

func (s *Sender) greet(ctx context.Context, conn net.Conn) (*smtp.Client, error) {
	with := &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12, RootCAs: s.roots}
	if s.tls == Implicit {
		secured := tls.Client(conn, with)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secured
	}
	client, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return nil, fmt.Errorf("greeting: %w", tame(err))
	}
	if err := client.Hello(s.hello); err != nil {
		return nil, fmt.Errorf("EHLO: %w", tame(err))
	}
	if s.tls == StartTLS {
		if ok, _ := client.Extension("STARTTLS"); !ok {
			return nil, errors.New("the relay does not offer STARTTLS: nothing was sent")
		}
		if err := client.StartTLS(with); err != nil {
			return nil, fmt.Errorf("STARTTLS: %w", tame(err))
		}
	}
	if s.auth != nil {
		if ok, _ := client.Extension("AUTH"); !ok {
			return nil, errors.New("the relay offers no authentication")
		}
		if err := client.Auth(s.auth); err != nil {
			return nil, fmt.Errorf("AUTH: %w", tame(err))
		}
	}
	return client, nil
}

// mail is one mail transaction (RFC 5321 §3.3).
func (s *Sender) mail(client *smtp.Client, m notify.Message, to string) error {
	content, err := compose(s.from, to, m)
	if err != nil {
		return err
	}
	if err := client.Mail(s.from.Address); err != nil {
		return fmt.Errorf("MAIL: %w", tame(err))
	}
	if err := client.Rcpt(to); err != nil {
		return fmt.Errorf("RCPT: %w", tame(err))
	}
	w, err := client.Data()
	if err != nil {
		return fmt.Errorf("DATA: %w", tame(err))
	}
	if _, err := w.Write(content); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("the mail: %w", tame(err))
	}
	return nil
}

// final reports a permanent negative reply (RFC 5321 §4.2.1).
func final(err error) bool {
	var reply *textproto.Error
	return errors.As(err, &reply) && reply.Code >= 500 && reply.Code <= 599
}

// tame makes what a relay said fit for a log.
func tame(err error) error {
	var reply *textproto.Error
	if !errors.As(err, &reply) {
		return err
	}
	return &textproto.Error{Code: reply.Code, Msg: notify.Plain(reply.Msg, 200)}
}
