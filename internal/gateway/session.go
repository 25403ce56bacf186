package gateway

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/live"
)

// Why a session ends, besides the reasons for which a grant ends.
const (
	EndKilled   = "killed"   // by somebody who may
	EndShutdown = "shutdown" // of this process
)

// lastWords bounds how long the last entry of a session may wait for the
// record, so that a dead store does not keep dead sessions.
const lastWords = 10 * time.Second

// Ended is the cause of a session's context when it was cut.
type Ended struct{ Reason string }

func (e *Ended) Error() string { return "the session was ended: " + e.Reason }

// Session is one live connection, or one HTTP request, under a grant.
type Session struct {
	ID         string // ses_…
	Grant      *live.Grant
	Credential *live.Credential
	StartedAt  time.Time

	guard   *Guard
	attempt Attempt
	unwatch func()
	timer   *time.Timer // of a credential that ends before its grant

	work work // what it does and has done, for who looks at it now

	words sync.Mutex // held while an entry of the session is recorded: its start comes before its end

	mu      sync.Mutex
	reason  string   // why it was cut; "" while it runs or when it ended by itself
	hooks   []func() // run when it is cut
	started bool     // session.started is on record
	closed  bool
	ctx     context.Context // made when it is asked for: most requests need none
	cancel  context.CancelCauseFunc
}

func newSession(g *Guard, a Attempt, c use) *Session {
	a.Secret, a.Proven, a.Allow = "", nil, nil // needed no more
	return &Session{
		ID: credential.NewID("ses"), Grant: c.Grant, Credential: c.Credential,
		StartedAt: g.now(), guard: g, attempt: a,
	}
}

// register makes s visible, and has it end with its grant.
func (g *Guard) register(s *Session) {
	g.mu.Lock()
	g.sessions[s.ID] = s
	g.mu.Unlock()
	s.unwatch = g.index.Watch(s.Grant.ID, s.end)
	if at := s.Credential.ExpiresAt; !at.IsZero() && at.Before(s.Grant.ExpiresAt()) {
		s.timer = time.AfterFunc(at.Sub(g.now()), func() { s.end(live.ReasonCredentialExpired) })
	}
}

// Context is cancelled, with an *Ended as its cause, when the session is cut,
// and when it is closed. It knows nothing of the context given to Open.
func (s *Session) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
		switch {
		case s.reason != "":
			s.cancel(&Ended{Reason: s.reason})
		case s.closed:
			s.cancel(nil)
		}
	}
	return s.ctx
}

// Done is closed when the session is cut or closed.
func (s *Session) Done() <-chan struct{} { return s.Context().Done() }

// Over reports whether the session was cut or, at this instant, has lost what it
// rests on; it is cut then. A gateway asks before each piece that it passes on:
// what hangs up comes from a timer, which is late on a machine that gives this
// process no time, and the piece that has just come must not pass all the same
// (A4). It does not allocate.
func (s *Session) Over() bool {
	s.mu.Lock()
	over := s.reason != ""
	s.mu.Unlock()
	if over {
		return true
	}
	now := s.guard.index.Check(s.Credential.Hash)
	if now.State == live.Live {
		return false
	}
	s.end(now.Reason)
	return true
}

// EndReason says why the session was cut: expired, returned, revoked, policy,
// credential_expired, killed or shutdown; "" when it was not.
func (s *Session) EndReason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// OnEnd has f run once when the session is cut, at once if it has been. It
// never runs after Close. f must not block: it is where a gateway closes
// connections and unblocks writes.
func (s *Session) OnEnd(f func()) {
	s.mu.Lock()
	if s.reason == "" {
		if !s.closed {
			s.hooks = append(s.hooks, f)
		}
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.guard.run(f)
}

// end cuts the session.
func (s *Session) end(reason string) {
	if reason == "" {
		reason = live.ReasonUnknown
	}
	s.mu.Lock()
	if s.reason != "" || s.closed {
		s.mu.Unlock()
		return
	}
	s.reason = reason
	hooks, cancel := s.hooks, s.cancel
	s.hooks = nil
	s.mu.Unlock()
	s.guard.cut.Add(1)
	failpoint.Hit("gateway.session.cut")
	if cancel != nil {
		cancel(&Ended{Reason: reason})
	}
	for _, f := range hooks {
		s.guard.run(f)
	}
}

// run calls f; a panic in it is counted and goes no further.
func (g *Guard) run(f func()) {
	defer func() {
		if recover() != nil {
			g.panics.Add(1)
		}
	}()
	f()
}

// Does shows doing as what s does now. It records nothing.
func (s *Session) Does(doing string) { s.work.does(doing) }

// Note records a statement that s has run, or, where it has an Intent, is about
// to run. It returns once the entry is committed when durable is set, and
// blocks rather than drops. What cannot be recorded must not happen: on an error
// the session is cut.
func (s *Session) Note(ctx context.Context, outcome string, st audit.Statement, durable bool) error {
	n := &struct { // one piece of memory for both
		entry     audit.Entry
		statement audit.Statement
	}{s.entry(audit.SessionQuery, outcome), st}
	n.entry.Scope = nil // it stands in the session's own entries
	n.entry.Statement = &n.statement
	if err := s.guard.rec.Record(ctx, &n.entry, s.Grant.Principal, durable || s.guard.strict); err != nil {
		s.end(WhyNotRecorded)
		return err
	}
	if st.Intent == "" {
		s.work.did(&n.statement, s.guard.now())
	}
	return nil
}

// Started records that s turned out to be long-lived, once. When that cannot
// be recorded the session is cut.
func (s *Session) Started(ctx context.Context) error { return s.begin(ctx, false) }

// StartedDurably is Started, and returns once the entry is committed.
func (s *Session) StartedDurably(ctx context.Context) error { return s.begin(ctx, true) }

func (s *Session) begin(ctx context.Context, durable bool) error {
	s.words.Lock()
	defer s.words.Unlock()
	s.mu.Lock()
	again := s.started || s.closed
	s.started = true
	s.mu.Unlock()
	if again {
		return nil
	}
	failpoint.Hit("gateway.session.started")
	e := s.entry("session.started", audit.Allowed)
	e.Details = withDoing(s.attempt)
	if err := s.guard.rec.Record(ctx, &e, s.Grant.Principal, durable || s.guard.strict); err != nil {
		s.end(WhyNotRecorded)
		return err
	}
	return nil
}

// Close ends the session from the gateway's side, once. It records
// session.ended if the session was long-lived or was cut.
func (s *Session) Close(stats Stats) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.hooks = nil
	tell, reason := s.started || s.reason != "", s.reason
	s.mu.Unlock()
	s.drop()
	if !tell {
		return
	}
	failpoint.Hit("gateway.session.ended")
	e := s.entry("session.ended", audit.Allowed)
	e.Details = withDoing(s.attempt)
	for k, v := range stats.Details {
		e.Details[k] = v
	}
	e.Details["bytes_in"], e.Details["bytes_out"] = stats.BytesIn, stats.BytesOut
	e.Details["started_at"] = api.TimeOf(s.StartedAt).String()
	if reason == "" {
		reason = "closed"
	}
	e.Details["ended_by"] = reason
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	s.words.Lock()
	defer s.words.Unlock()
	// An end needs no record to take effect; the recorder reports its own
	// troubles.
	_ = s.guard.rec.Record(ctx, &e, s.Grant.Principal, s.guard.strict)
}

// drop forgets s and frees what it holds.
func (s *Session) drop() {
	if s.unwatch != nil {
		s.unwatch()
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Lock()
	cancel := s.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel(nil)
	}
	s.guard.mu.Lock()
	delete(s.guard.sessions, s.ID)
	s.guard.mu.Unlock()
}

func (s *Session) entry(typ, outcome string) audit.Entry {
	e := entryOf(&s.attempt, s.Grant, typ, outcome)
	e.Session = s.ID
	return e
}

// shown is s as the API lists it.
func (s *Session) shown() api.Session {
	doing, did := s.work.now()
	return api.Session{
		ID: s.ID, Grant: s.Grant.ID, Request: s.Grant.Request, Principal: s.Grant.Principal,
		Resource: s.Grant.Resource, Gateway: s.attempt.Gateway, Source: s.attempt.IP, Doing: cmp.Or(doing, s.attempt.Doing),
		StartedAt: api.TimeOf(s.StartedAt), ExpiresAt: api.TimeOf(s.Grant.ExpiresAt()),
		Statements: did.statements, Rows: did.rows, Bytes: did.bytes,
	}
}

// Sessions returns what runs now, newest first.
func (g *Guard) Sessions() []api.Session {
	g.mu.Lock()
	all := make([]api.Session, 0, len(g.sessions))
	for _, s := range g.sessions {
		all = append(all, s.shown())
	}
	g.mu.Unlock()
	slices.SortFunc(all, func(a, b api.Session) int {
		if c := b.StartedAt.Compare(a.StartedAt.Time); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// Session returns one running session.
func (g *Guard) Session(id string) (*Session, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.sessions[id]
	return s, ok
}

// Watch returns what a running session does, with its last statements.
func (g *Guard) Watch(id string) (api.Session, bool) {
	s, ok := g.Session(id)
	if !ok {
		return api.Session{}, false
	}
	shown := s.shown()
	shown.Recent = s.work.recent()
	return shown, true
}

// Kill cuts one session and reports whether there was one. Whether the caller
// may is the broker's question.
func (g *Guard) Kill(id string) bool {
	s, ok := g.Session(id)
	if ok {
		s.end(EndKilled)
	}
	return ok
}

// Shutdown cuts all sessions.
func (g *Guard) Shutdown() {
	g.mu.Lock()
	all := make([]*Session, 0, len(g.sessions))
	for _, s := range g.sessions {
		all = append(all, s)
	}
	g.mu.Unlock()
	for _, s := range all {
		s.end(EndShutdown)
	}
}

// Counts returns what the guard has seen.
func (g *Guard) Counts() Counts {
	g.mu.Lock()
	n := len(g.sessions)
	g.mu.Unlock()
	return Counts{
		Sessions: n, Allowed: g.allowed.Load(), Denied: g.denied.Load(),
		Unavailable: g.unavailable.Load(), Cut: g.cut.Load(), Panics: g.panics.Load(),
	}
}
