package pgkind

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
)

const (
	channel    = "gateway:postgres"
	maxMessage = 64 << 10 // of a client that logs in
)

// named is what a user name stands for. The zero value is a user who does not
// exist.
type named struct {
	resource *policy.Resource
	config   *Config
	grant    *live.Grant // nil: none
}

// resolve looks up a user name: the ID of a grant, or name@resource for the
// newest grant that gives access, where ana stands for user:ana. It compares
// exactly, and nothing in a name is taken apart beyond that (PG-05).
func (g *Gateway) resolve(user string) named {
	var n named
	if strings.HasPrefix(user, "grt_") {
		grant := g.deps.Grant(user)
		if grant == nil {
			return n
		}
		if n.resource, n.config = g.find(grant.Resource); n.resource != nil {
			n.grant = grant
		}
		return n
	}
	at := strings.LastIndexByte(user, '@')
	if at < 1 {
		return n
	}
	principal := user[:at]
	if !strings.Contains(principal, ":") {
		principal = "user:" + principal
	}
	if n.resource, n.config = g.find(user[at+1:]); n.resource != nil {
		n.grant = g.deps.Held(principal, n.resource.ID)
	}
	return n
}

// login lets a client in that proves a token of a live grant, and takes it to
// the database as the role of that grant. The error is a *wire.Error where the
// client is to be told something.
func (v *visit) login() (*session, error) {
	g := v.g
	if g.tls != nil && !v.secure {
		return nil, fatal(wire.CodeAuthorization, "this gateway takes connections over TLS alone", "Set sslmode=verify-full, or at least sslmode=require.")
	}
	asked, err := v.first.Session()
	if err != nil {
		return nil, err
	}
	v.asked = asked
	if asked.Negotiates(v.first) {
		if _, err := v.conn.Write(wire.AppendNegotiate(nil, asked.Version, asked.Unsupported)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), v.until)
	defer cancel()
	n := g.resolve(asked.User)
	attempt := v.attempt(n)
	if n.config != nil && n.config.cleartext && v.secure {
		attempt.Secret, err = v.password()
	} else {
		attempt.Proven, err = v.prove(ctx, n)
	}
	if err != nil {
		return nil, err
	}
	if n.grant == nil {
		// Only a password can come this far: there was nothing to prove.
		g.deps.Guard.CountDenied(attempt.IP, channel, gateway.WhyUnknown)
		return nil, wrongPassword(asked.User)
	}
	guarded, err := g.deps.Guard.Open(ctx, attempt)
	if err != nil {
		return nil, g.denied(n, asked.User, err)
	}
	return v.connect(n, guarded)
}

// attempt is what the guard is asked.
func (v *visit) attempt(n named) gateway.Attempt {
	a := gateway.Attempt{
		Gateway: "postgres", Prefix: credential.GrantToken, IP: host(v.raw.RemoteAddr()),
		Doing: "connect to " + v.asked.Database, Details: map[string]any{"user": v.asked.User, "tls": v.secure},
	}
	if name := v.asked.Params["application_name"]; name != "" {
		a.Details["application"] = name
	}
	if n.resource == nil || n.grant == nil {
		return a
	}
	a.Resource, a.Incarnation = n.resource.ID, v.g.deps.Incarnation(n.resource.ID)
	a.Allow = func(grant *live.Grant) error {
		s, err := parseScope(grant.Scope)
		if err != nil {
			return errors.New("its scope is not understood by this version")
		}
		if grant.ID != n.grant.ID {
			return errors.New("the token is of another grant than the user name")
		}
		if of := databaseOf(n.config, s); v.asked.Database != of && v.asked.Database != v.asked.User {
			return fmt.Errorf("it is for the database %s", of)
		}
		return nil
	}
	return a
}

// databaseOf is the database of a grant.
func databaseOf(c *Config, s *Scope) string {
	if s.fields.Database != "" {
		return s.fields.Database
	}
	return c.upstream.database
}

// prove has the client prove that it holds a token (RFC 5802). Who has none and
// who does not exist cannot be told apart.
func (v *visit) prove(ctx context.Context, n named) (*live.Hash, error) {
	// The salt of a grant follows from its ID, which whoever names it knows.
	salt, of := wire.MockSalt(v.g.mock, v.asked.User), v.asked.User
	switch {
	case n.grant != nil:
		salt, of = credential.SaltOf(n.grant.ID), n.grant.ID
	case strings.HasPrefix(of, "grt_"):
		salt = credential.SaltOf(of)
	}
	verifiers, err := v.g.deps.Verifiers(ctx, of)
	if err != nil {
		v.g.log.Error("postgres gateway: the verifiers of a grant could not be read", "err", err)
		return nil, unavailable()
	}
	if n.grant == nil {
		verifiers = nil
	}
	scram := wire.NewScram(salt, verifiers, v.binding)
	if _, err := v.conn.Write(wire.AppendSASL(nil, scram.Mechanisms())); err != nil {
		return nil, err
	}
	body, err := v.message()
	if err != nil {
		return nil, err
	}
	mechanism, data, err := wire.ReadSASL(body)
	if err != nil {
		return nil, err
	}
	answer, err := scram.First(mechanism, data)
	if err != nil {
		return nil, err
	}
	if _, err := v.conn.Write(wire.AppendSASLContinue(nil, answer)); err != nil {
		return nil, err
	}
	if body, err = v.message(); err != nil {
		return nil, err
	}
	answer, proven, err := scram.Final(body)
	if errors.Is(err, wire.ErrProof) {
		v.g.deps.Guard.CountDenied(host(v.raw.RemoteAddr()), channel, gateway.WhyUnknown)
		return nil, wrongPassword(v.asked.User)
	}
	if err != nil {
		return nil, err
	}
	if _, err := v.conn.Write(wire.AppendSASLFinal(nil, answer)); err != nil {
		return nil, err
	}
	hash := live.Hash(proven.Token)
	return &hash, nil
}

// password asks for the token itself, within TLS.
func (v *visit) password() (string, error) {
	if _, err := v.conn.Write(wire.AppendAuthCleartext(nil)); err != nil {
		return "", err
	}
	body, err := v.message()
	if err != nil {
		return "", err
	}
	return wire.ReadPassword(body)
}

// message reads one answer of a client that logs in, and not a byte beyond it.
func (v *visit) message() ([]byte, error) {
	var header [5]byte
	if _, err := io.ReadFull(v.conn, header[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[1:])
	if header[0] != wire.Password || size < 4 || size > maxMessage {
		return nil, fatal(wire.CodeProtocol, "expected a password message", "")
	}
	body := make([]byte, size-4)
	_, err := io.ReadFull(v.conn, body)
	return body, err
}

func host(a net.Addr) string {
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}

// connect takes a client that was let in to its database.
func (v *visit) connect(n named, guarded *gateway.Session) (*session, error) {
	g := v.g
	scope, err := parseScope(guarded.Grant.Scope)
	if err != nil {
		guarded.Close(gateway.Stats{})
		return nil, unavailable()
	}
	s := newSession(v, n, guarded, scope)
	g.mu.Lock()
	g.sessions[v.raw] = s
	g.mu.Unlock()
	guarded.OnEnd(s.cut) // at once, if it has ended meanwhile
	if err := s.reach(v); err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

// begins puts the session on record. One that counts what it reads is on disk
// before it reads anything, so that its end is missed where there is none.
func (s *session) begins(ctx context.Context) error {
	started := s.guard.Started
	if s.budget != nil {
		if err := s.budget.fill(ctx, s.g.deps.Spent); err != nil {
			if e, ok := errors.AsType[*wire.Error](err); ok {
				e.Hint = s.g.askAgain(s.resource, s.grant)
				return e
			}
			s.g.log.Error("postgres gateway: what a grant has read could not be added up", "grant", s.grant.ID, "err", err)
			return unavailable()
		}
		started = s.guard.StartedDurably
	}
	if started(ctx) != nil {
		return unavailable()
	}
	return nil
}

// reach connects s to the database and tells the client that it may begin.
func (s *session) reach(v *visit) error {
	ctx, cancel := context.WithDeadline(s.guard.Context(), v.until.Add(s.g.limits.HeaderTimeout))
	defer cancel()
	_ = v.raw.SetDeadline(time.Time{})
	if err := s.begins(ctx); err != nil {
		return s.why(err)
	}
	found, err := s.g.deps.Found(ctx, s.grant.Request)
	if err != nil {
		s.g.log.Error("postgres gateway: what was found for a grant could not be read", "grant", s.grant.ID, "err", err)
		return s.why(unavailable())
	}
	if err := s.g.target.check(ctx, s.resource, s.scope, found); err != nil {
		s.g.log.Warn("postgres gateway: a session was refused", "grant", s.grant.ID, "err", err)
		if isTrouble(err) {
			return s.why(unreachable(s.resource.ID, err))
		}
		return s.why(fatal(wire.CodeAuthorization, "the Daypass grant "+s.grant.ID+" cannot be used: "+err.Error(), s.g.askAgain(s.resource, s.grant)))
	}
	up, err := s.g.target.dialUpstream(ctx, s.resource, s.grant.ID, v.asked.Params)
	if err != nil {
		s.g.log.Warn("postgres gateway: a database could not be reached", "resource", s.resource.ID, "grant", s.grant.ID, "err", err)
		return s.why(unreachable(s.resource.ID, err))
	}
	if !s.takes(up, v.asked.Version.KeySize()) {
		return s.why(unavailable()) // it has ended meanwhile
	}
	hello, err := s.hello()
	if err != nil {
		return s.why(err)
	}
	if err := s.toClient(hello); err != nil {
		return s.why(err)
	}
	s.warnBefore()
	return nil
}
