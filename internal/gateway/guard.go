package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/live"
)

// Guard decides on attempts and keeps the sessions of all gateways of this
// process. It is safe for concurrent use.
type Guard struct {
	index  *live.Index
	rec    Recorder
	now    func() time.Time
	strict bool

	mu       sync.Mutex
	sessions map[string]*Session
	stale    staleUses

	allowed, denied, unavailable, cut, panics atomic.Uint64
}

// New returns a Guard on the effective clock now. strict makes every entry
// durable before the answer, not only those of a credential's first use.
func New(index *live.Index, rec Recorder, now func() time.Time, strict bool) *Guard {
	return &Guard{index: index, rec: rec, now: now, strict: strict, sessions: make(map[string]*Session)}
}

// Open decides on one attempt. On success the attempt is on record, the
// session is registered and will end with its grant, and the caller must Close
// it. The error is always a *Denial; it too is on record or counted.
func (g *Guard) Open(ctx context.Context, a Attempt) (*Session, error) {
	s, d := g.open(ctx, a)
	if g.count(d); d != nil {
		return nil, d
	}
	return s, nil
}

// count counts an answer: allowed where there is no denial.
func (g *Guard) count(d *Denial) {
	switch {
	case d == nil:
		g.allowed.Add(1)
	case d.Status == Unavailable:
		g.unavailable.Add(1)
	default:
		g.denied.Add(1)
	}
}

func (g *Guard) open(ctx context.Context, a Attempt) (*Session, *Denial) {
	c, d := g.authenticate(ctx, a)
	if d != nil {
		return nil, d
	}
	if err := g.allow(a, c.Grant); err != nil {
		if errors.Is(err, errPanic) {
			return nil, &Denial{Status: Unavailable, Why: WhyFailed, Grant: c.Grant, Err: err}
		}
		return nil, g.deny(ctx, a, c, "", &Denial{Status: Forbidden, Why: WhyScope, Reason: err.Error(), Grant: c.Grant})
	}

	_ = a.channel() // composed once for all its entries
	s := newSession(g, a, c)
	e := s.entry("access.allowed", audit.Allowed)
	e.Details = withDoing(a)
	failpoint.Hit("gateway.record.before")
	durable := g.strict || !c.Credential.Used()
	if err := g.rec.Record(ctx, &e, c.Grant.Principal, durable); err != nil {
		return nil, &Denial{Status: Unavailable, Why: WhyNotRecorded, Grant: c.Grant, Err: fmt.Errorf("recording access: %w", err)}
	}
	if durable {
		c.Credential.MarkUsed()
	}
	failpoint.Hit("gateway.record.after")
	g.register(s)
	failpoint.Hit("gateway.session.registered")
	// Recording took time, and an end may have come between the first check
	// and the registration.
	if again := g.index.Check(c.Credential.Hash); again.State != live.Live {
		s.end(again.Reason)
		s.drop()
		return nil, g.deny(ctx, a, useOf(again), s.ID, ended(useOf(again)))
	}
	return s, nil
}

// use is a check with the views of what was checked, which cost something to
// make.
type use struct {
	live.Check
	Grant      *live.Grant
	Credential *live.Credential
}

// useOf makes the views. What has been forgotten in the meantime is unknown.
func useOf(c live.Check) use {
	u := use{Check: c, Grant: c.Grant(), Credential: c.Credential()}
	if u.Grant == nil || u.Credential == nil {
		return use{}
	}
	return u
}

// authenticate finds the live grant of the attempt's credential, for the
// attempt's resource.
func (g *Guard) authenticate(ctx context.Context, a Attempt) (use, *Denial) {
	anonymous := func(why string) (use, *Denial) {
		g.rec.CountDenied(a.IP, a.channel(), why)
		return use{}, &Denial{Status: Unauthenticated, Why: why}
	}
	var hash live.Hash
	switch {
	case a.Proven != nil:
		hash = *a.Proven
	case a.Secret == "":
		return anonymous(WhyNoToken)
	default:
		shown, err := credential.ParseToken(a.Prefix, a.Secret)
		if err != nil {
			return anonymous(WhyMalformed)
		}
		hash = live.Hash(shown)
	}
	c := useOf(g.index.Check(hash))
	switch {
	case c.State == live.Unknown, c.Credential.Kind != kindOf(a.Prefix):
		return anonymous(WhyUnknown)
	case c.Credential.Host != "" && c.Credential.Host != a.Host:
		return anonymous(WhyWrongHost)
	case c.Grant.Resource != a.Resource, c.Grant.Incarnation != a.Incarnation:
		// Whoever fronts this resource learns nothing of the other one.
		d := &Denial{Status: Unauthenticated, Why: WhyWrongResource}
		if c.State != live.Live {
			return use{}, g.denyStale(ctx, a, c, d)
		}
		return use{}, g.deny(ctx, a, c, "", d)
	case c.State != live.Live:
		return use{}, g.denyStale(ctx, a, c, ended(c))
	}
	return c, nil
}

func ended(c use) *Denial {
	if c.State == live.NotYet {
		return &Denial{Status: Unauthenticated, Why: WhyNotYet, Grant: c.Grant}
	}
	return &Denial{Status: Unauthenticated, Why: WhyEnded, Reason: c.Reason, EndedAt: c.EndedAt, Grant: c.Grant}
}

// deny records a denial of somebody known.
func (g *Guard) deny(ctx context.Context, a Attempt, c use, session string, d *Denial) *Denial {
	if c.Grant == nil { // forgotten in the meantime
		g.rec.CountDenied(a.IP, a.channel(), d.Why)
		return d
	}
	e := entryOf(&a, c.Grant, "access.denied", audit.Denied)
	e.Session = session
	e.Resource = a.Resource // what was tried, not what the token is for
	e.Details = withDoing(a)
	e.Details["why"] = d.Why
	if d.Reason != "" {
		e.Details["reason"] = d.Reason
	}
	if err := g.rec.Record(ctx, &e, c.Grant.Principal, g.strict); err != nil {
		return &Denial{Status: Unavailable, Why: WhyNotRecorded, Err: fmt.Errorf("recording a denial: %w", err)}
	}
	return d
}

// denyStale is deny for a credential that is not good any more, or not yet.
// Whoever holds one is nobody, so the record must not grow at their will: one
// entry a minute for each credential, the rest is counted.
func (g *Guard) denyStale(ctx context.Context, a Attempt, c use, d *Denial) *Denial {
	g.mu.Lock()
	first := g.stale.first(c.Credential.Hash, g.now())
	g.mu.Unlock()
	if !first {
		g.rec.CountDenied(a.IP, a.channel(), d.Why)
		return d
	}
	return g.deny(ctx, a, c, "", d)
}

var errPanic = errors.New("deciding panicked")

// allow asks the gateway's own rule. A panic in it denies.
func (g *Guard) allow(a Attempt, grant *live.Grant) (err error) {
	if a.Allow == nil {
		return errors.New("nothing is allowed here")
	}
	defer func() {
		if v := recover(); v != nil {
			g.panics.Add(1)
			err = fmt.Errorf("%w: %v", errPanic, v)
		}
	}()
	return a.Allow(grant)
}

func (a *Attempt) channel() string {
	if a.via == "" {
		a.via = "gateway:" + a.Gateway
	}
	return a.via
}

func kindOf(prefix string) string {
	if prefix == credential.GrantCookie {
		return live.KindCookie
	}
	return live.KindToken
}

func entryOf(a *Attempt, grant *live.Grant, typ, outcome string) audit.Entry {
	return audit.Entry{
		Type:       typ,
		Actor:      grant.Principal,
		OnBehalfOf: grant.OnBehalfOf,
		Request:    grant.Request,
		Grant:      grant.ID,
		Resource:   grant.Resource,
		Scope:      grant.Scope,
		Outcome:    outcome,
		Source:     audit.Source{IP: a.IP, Channel: a.channel()},
	}
}

func withDoing(a Attempt) map[string]any {
	m := make(map[string]any, len(a.Details)+3)
	maps.Copy(m, a.Details)
	if a.Doing != "" {
		m["doing"] = a.Doing
	}
	return m
}

// staleUses remembers which credentials were noted in this minute.
type staleUses struct {
	minute int64
	seen   map[live.Hash]struct{}
}

const staleMax = 1024 // entries a minute, all credentials together

func (s *staleUses) first(h live.Hash, now time.Time) bool {
	if m := now.Unix() / 60; m != s.minute || s.seen == nil {
		s.minute, s.seen = m, make(map[live.Hash]struct{})
	}
	if _, ok := s.seen[h]; ok || len(s.seen) >= staleMax {
		return false
	}
	s.seen[h] = struct{}{}
	return true
}

// CountDenied counts a denial that never became an attempt, such as a host
// that names no resource.
func (g *Guard) CountDenied(ip, channel, what string) {
	g.denied.Add(1)
	g.rec.CountDenied(ip, channel, what)
}

// CountPanic counts a panic that a gateway isolated.
func (g *Guard) CountPanic() { g.panics.Add(1) }
