package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/live"
)

// recorder keeps entries in memory, and can be made to fail, to block and to
// act in between.
type recorder struct {
	mu      sync.Mutex
	entries []audit.Entry
	durable []bool
	counted map[string]int
	fail    error
	before  func(e *audit.Entry)
}

func (r *recorder) Record(ctx context.Context, e *audit.Entry, principal string, durable bool) error {
	if r.before != nil {
		r.before(e)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	if principal == "" {
		return errors.New("no principal")
	}
	r.entries = append(r.entries, *e)
	r.durable = append(r.durable, durable)
	return nil
}

func (r *recorder) CountDenied(source, channel, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted == nil {
		r.counted = map[string]int{}
	}
	r.counted[source+" "+channel+" "+what]++
}

func (r *recorder) types() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, e := range r.entries {
		all = append(all, e.Type)
	}
	return strings.Join(all, " ")
}

type fixture struct {
	*Guard
	index *live.Index
	rec   *recorder
	token string
	skew  atomic.Int64
}

func (f *fixture) clock() time.Time { return time.Now().Add(time.Duration(f.skew.Load())) }

func newFixture(strict bool) *fixture {
	f := &fixture{rec: &recorder{}}
	f.index = live.New(f.clock)
	f.Guard = New(f.index, f.rec, f.clock, strict)
	f.token = f.put("grt_1", live.KindToken, "", time.Hour)
	return f
}

func (f *fixture) put(id, kind, host string, ttl time.Duration) string {
	f.index.Put(live.Grant{
		ID: id, Request: "req_1", Principal: "agent:bot", OnBehalfOf: "user:ana", Resource: "orders-api", Incarnation: "inc-1",
		Kind: "http", Scope: []byte(`{"a":1}`), StartsAt: f.clock().Add(-time.Minute),
	}, f.clock().Add(ttl))
	prefix := credential.GrantToken
	if kind == live.KindCookie {
		prefix = credential.GrantCookie
	}
	secret, hash := credential.NewToken(prefix)
	f.index.PutCredential(live.Credential{Hash: live.Hash(hash), ID: "jti", Grant: id, Kind: kind, Host: host})
	return secret.Reveal()
}

func (f *fixture) attempt() Attempt {
	return Attempt{
		Gateway: "http", Secret: f.token, Prefix: credential.GrantToken, Host: "orders-api.gw", Resource: "orders-api", Incarnation: "inc-1",
		IP: "192.0.2.7", Doing: "GET /v1", Details: map[string]any{"method": "GET"}, Allow: func(*live.Grant) error { return nil },
	}
}

func denial(t *testing.T, err error) *Denial {
	t.Helper()
	var d *Denial
	if !errors.As(err, &d) {
		t.Fatalf("error %v is no Denial", err)
	}
	return d
}

func TestOpenRecordsBeforeItAnswers(t *testing.T) {
	f := newFixture(false)
	s, err := f.Open(context.Background(), f.attempt())
	if err != nil {
		t.Fatal(err)
	}
	e := f.rec.entries[0]
	if e.Type != "access.allowed" || e.Actor != "agent:bot" || e.OnBehalfOf != "user:ana" || e.Request != "req_1" || e.Grant != "grt_1" || e.Session != s.ID ||
		e.Resource != "orders-api" || string(e.Scope) != `{"a":1}` || e.Outcome != audit.Allowed || e.Source != (audit.Source{IP: "192.0.2.7", Channel: "gateway:http"}) ||
		e.Details["doing"] != "GET /v1" || e.Details["method"] != "GET" {
		t.Errorf("entry %+v", e)
	}
	if !credential.ValidID("ses", s.ID) {
		t.Errorf("ID %q", s.ID)
	}
	if all := f.Sessions(); len(all) != 1 || all[0].ID != s.ID || all[0].Principal != "agent:bot" || all[0].Source != "192.0.2.7" || all[0].Gateway != "http" {
		t.Errorf("sessions %+v", all)
	}
	s.Close(Stats{})
	s.Close(Stats{})
	if f.rec.types() != "access.allowed" { // short and not cut: no entries of its own
		t.Errorf("entries %s", f.rec.types())
	}
	if c := f.Counts(); c.Sessions != 0 || c.Allowed != 1 {
		t.Errorf("counts %+v", c)
	}
	if s.EndReason() != "" {
		t.Errorf("end reason %q", s.EndReason())
	}
}

func TestTheFirstUseIsDurable(t *testing.T) {
	for _, strict := range []bool{false, true} {
		f := newFixture(strict)
		f.rec.fail = errors.New("disk")
		if _, err := f.Open(context.Background(), f.attempt()); denial(t, err).Status != Unavailable {
			t.Errorf("%v", err)
		}
		f.rec.fail = nil
		for range 3 {
			s, err := f.Open(context.Background(), f.attempt())
			if err != nil {
				t.Fatal(err)
			}
			s.Close(Stats{})
		}
		// The failed attempt does not count as the first use.
		if got, want := fmt.Sprint(f.rec.durable), fmt.Sprint([]bool{true, strict, strict}); got != want {
			t.Errorf("strict %v: durable %s, want %s", strict, got, want)
		}
	}
}

// Invariant: A22, A28
// Attack: TOK-02, TOK-03
func TestDenials(t *testing.T) {
	f := newFixture(false)
	cookie := f.put("grt_2", live.KindCookie, "orders-api.gw", time.Hour)
	expired := f.put("grt_3", live.KindToken, "", -time.Second)
	f.index.Put(live.Grant{ID: "grt_4", Principal: "user:x", Resource: "orders-api", Incarnation: "inc-1", StartsAt: f.clock().Add(time.Hour)}, f.clock().Add(2*time.Hour))
	early, hash := credential.NewToken(credential.GrantToken)
	f.index.PutCredential(live.Credential{Hash: live.Hash(hash), Grant: "grt_4", Kind: live.KindToken})
	unknown, _ := credential.NewToken(credential.GrantToken)
	for name, c := range map[string]struct {
		change  func(*Attempt)
		status  Status
		why     string
		counted bool // and not an entry
	}{
		"no token":            {func(a *Attempt) { a.Secret = "" }, Unauthenticated, WhyNoToken, true},
		"malformed":           {func(a *Attempt) { a.Secret += "x" }, Unauthenticated, WhyMalformed, true},
		"unknown":             {func(a *Attempt) { a.Secret = unknown.Reveal() }, Unauthenticated, WhyUnknown, true},
		"cookie as token":     {func(a *Attempt) { a.Secret = cookie }, Unauthenticated, WhyMalformed, true},
		"cookie elsewhere":    {func(a *Attempt) { a.Secret, a.Prefix, a.Host = cookie, credential.GrantCookie, "x.gw" }, Unauthenticated, WhyWrongHost, true},
		"another resource":    {func(a *Attempt) { a.Resource = "billing" }, Unauthenticated, WhyWrongResource, false},
		"another incarnation": {func(a *Attempt) { a.Incarnation = "inc-2" }, Unauthenticated, WhyWrongResource, false},
		"no incarnation":      {func(a *Attempt) { a.Incarnation = "" }, Unauthenticated, WhyWrongResource, false},
		"expired":             {func(a *Attempt) { a.Secret = expired }, Unauthenticated, WhyEnded, false},
		"too early":           {func(a *Attempt) { a.Secret = early.Reveal() }, Unauthenticated, WhyNotYet, false},
		"outside the scope":   {func(a *Attempt) { a.Allow = func(*live.Grant) error { return errors.New("only reading") } }, Forbidden, WhyScope, false},
		"no rule":             {func(a *Attempt) { a.Allow = nil }, Forbidden, WhyScope, false},
		"a rule that panics":  {func(a *Attempt) { a.Allow = func(*live.Grant) error { panic("x") } }, Unavailable, WhyFailed, false},
	} {
		t.Run(name, func(t *testing.T) {
			f.rec.entries, f.rec.counted = nil, nil
			a := f.attempt()
			c.change(&a)
			_, err := f.Open(context.Background(), a)
			d := denial(t, err)
			if d.Status != c.status || d.Why != c.why {
				t.Errorf("denial %+v", d)
			}
			if strings.Contains(err.Error(), "dpg") {
				t.Errorf("the error tells the token: %v", err)
			}
			if d.Why == WhyWrongResource && d.Grant != nil {
				t.Error("tells of another resource's grant")
			}
			if c.counted {
				if f.rec.counted["192.0.2.7 gateway:http "+c.why] != 1 || len(f.rec.entries) != 0 {
					t.Errorf("counted %v, entries %v", f.rec.counted, f.rec.entries)
				}
				return
			}
			if d.Why == WhyFailed {
				return
			}
			if f.rec.types() != "access.denied" {
				t.Fatalf("entries %s", f.rec.types())
			}
			e := f.rec.entries[0]
			if e.Outcome != audit.Denied || e.Resource != a.Resource || e.Details["why"] != c.why || e.Actor == "" {
				t.Errorf("entry %+v", e)
			}
		})
	}
	if f.Counts().Sessions != 0 || f.Counts().Panics != 1 {
		t.Errorf("counts %+v", f.Counts())
	}
}

// Invariant: A37
// Attack: RES-06
func TestEndedTokensCannotFloodTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(false)
		defer f.index.Close()
		f.index.End("grt_1", f.clock(), live.ReasonRevoked)
		for range 100 {
			_, err := f.Open(context.Background(), f.attempt())
			if d := denial(t, err); d.Why != WhyEnded || d.Reason != live.ReasonRevoked || d.EndedAt.IsZero() || d.Grant.ID != "grt_1" {
				t.Fatalf("%+v", d)
			}
		}
		if len(f.rec.entries) != 1 || f.rec.counted["192.0.2.7 gateway:http ended"] != 99 {
			t.Errorf("%d entries, counted %v", len(f.rec.entries), f.rec.counted)
		}
		time.Sleep(time.Minute)
		_, _ = f.Open(context.Background(), f.attempt())
		if len(f.rec.entries) != 2 {
			t.Errorf("%d entries a minute later", len(f.rec.entries))
		}
	})
}

// Invariant: A20
// Attack: INT-08
func TestNothingPassesUnrecorded(t *testing.T) {
	f := newFixture(false)
	f.rec.fail = errors.New("disk")
	a := f.attempt()
	_, err := f.Open(context.Background(), a)
	if d := denial(t, err); d.Status != Unavailable || d.Why != WhyNotRecorded || !errors.Is(err, f.rec.fail) {
		t.Errorf("%+v", d)
	}
	a.Allow = nil
	_, err = f.Open(context.Background(), a)
	if d := denial(t, err); d.Status != Unavailable {
		t.Errorf("an unrecorded denial: %+v", d)
	}
	f.rec.fail = nil
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Open(ctx, f.attempt()); denial(t, err).Status != Unavailable {
		t.Errorf("%v", err)
	}
	if c := f.Counts(); c.Sessions != 0 || c.Unavailable != 3 {
		t.Errorf("counts %+v", c)
	}
}

// An end that comes while the access is being recorded is not missed.
//
// Invariant: A1, A5
func TestOpenLooksAgainAfterRecording(t *testing.T) {
	for name, end := range map[string]func(*fixture){
		"revoked": func(f *fixture) { f.index.End("grt_1", f.clock(), live.ReasonRevoked) },
		"expired": func(f *fixture) { f.skew.Store(int64(2 * time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(false)
			defer f.index.Close()
			f.rec.before = func(e *audit.Entry) {
				if e.Type == "access.allowed" {
					end(f)
				}
			}
			_, err := f.Open(context.Background(), f.attempt())
			if d := denial(t, err); d.Why != WhyEnded || d.Reason != name {
				t.Errorf("%+v", d)
			}
			if f.rec.types() != "access.allowed access.denied" || f.rec.entries[0].Session != f.rec.entries[1].Session {
				t.Errorf("entries %+v", f.rec.entries)
			}
			if f.Counts().Sessions != 0 {
				t.Error("a session was left")
			}
		})
	}
}

// Invariant: A4, A5
func TestSessionsEndWithTheirGrant(t *testing.T) {
	for _, how := range []string{live.ReasonExpired, live.ReasonRevoked, live.ReasonReturned, live.ReasonPolicy, EndKilled, EndShutdown, live.ReasonCredentialExpired} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(false)
				defer f.index.Close()
				a := f.attempt()
				if how == live.ReasonCredentialExpired {
					secret, hash := credential.NewToken(credential.GrantCookie)
					f.index.PutCredential(live.Credential{Hash: live.Hash(hash), Grant: "grt_1", Kind: live.KindCookie, ExpiresAt: f.clock().Add(time.Minute)})
					a.Secret, a.Prefix = secret.Reveal(), credential.GrantCookie
				}
				start := time.Now()
				s, err := f.Open(context.Background(), a)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Started(context.Background()); err != nil {
					t.Fatal(err)
				}
				var hooks atomic.Int64
				var at time.Duration
				s.OnEnd(func() { panic("isolated") })
				s.OnEnd(func() { hooks.Add(1); at = time.Since(start) })
				want := time.Second
				time.AfterFunc(want, func() {
					switch how {
					case live.ReasonRevoked, live.ReasonReturned, live.ReasonPolicy:
						f.index.End("grt_1", f.clock(), how)
					case EndKilled:
						if !f.Kill(s.ID) || f.Kill("ses_x") {
							t.Error("Kill")
						}
					case EndShutdown:
						f.Shutdown()
					}
				})
				switch how {
				case live.ReasonExpired:
					want = time.Hour
				case live.ReasonCredentialExpired:
					want = time.Minute
				}
				<-s.Done()
				synctest.Wait()
				if hooks.Load() != 1 || at != want || f.Counts().Panics != 1 {
					t.Errorf("%d hooks after %v, want one after %v", hooks.Load(), at, want)
				}
				var cause *Ended
				if !errors.As(context.Cause(s.Context()), &cause) || cause.Reason != how || s.EndReason() != how {
					t.Errorf("cause %v, reason %q", context.Cause(s.Context()), s.EndReason())
				}
				late := false
				s.OnEnd(func() { late = true })
				if !late {
					t.Error("a hook set after the end did not run")
				}
				s.Close(Stats{BytesIn: 1, BytesOut: 2, Details: map[string]any{"status": 200}})
				if f.rec.types() != "access.allowed session.started session.ended" {
					t.Errorf("entries %s", f.rec.types())
				}
				e := f.rec.entries[2]
				if e.Session != s.ID || e.Details["ended_by"] != how || e.Details["bytes_in"] != int64(1) || e.Details["bytes_out"] != int64(2) || e.Details["status"] != 200 {
					t.Errorf("entry %+v", e)
				}
				if f.Counts().Sessions != 0 {
					t.Error("a session was left")
				}
			})
		})
	}
}

func TestHooksDoNotRunAfterClose(t *testing.T) {
	f := newFixture(false)
	s, err := f.Open(context.Background(), f.attempt())
	if err != nil {
		t.Fatal(err)
	}
	s.OnEnd(func() { t.Error("ran") })
	s.Close(Stats{})
	s.OnEnd(func() { t.Error("ran") })
	f.index.End("grt_1", f.clock(), live.ReasonRevoked)
	s.end(live.ReasonRevoked)
	if s.EndReason() != "" {
		t.Error("a closed session was cut")
	}
}

// Extending keeps sessions.
func TestAnExtensionKeepsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(false)
		defer f.index.Close()
		s, err := f.Open(context.Background(), f.attempt())
		if err != nil {
			t.Fatal(err)
		}
		f.index.Extend("grt_1", f.clock().Add(2*time.Hour))
		time.Sleep(90 * time.Minute)
		synctest.Wait()
		if s.EndReason() != "" {
			t.Error("cut at the old end")
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if s.EndReason() != live.ReasonExpired {
			t.Error("not cut at the new end")
		}
		s.Close(Stats{})
	})
}

// Invariant: A5
// Attack: RES-04
func TestManySessionsAtOnce(t *testing.T) {
	f := newFixture(false)
	defer f.index.Close()
	var wg, waiting sync.WaitGroup
	var opened, cut atomic.Int64
	for range 4 {
		waiting.Add(1)
		wg.Go(func() {
			s, err := f.Open(context.Background(), f.attempt())
			waiting.Done()
			if err != nil {
				t.Error(err)
				return
			}
			opened.Add(1)
			<-s.Done()
			cut.Add(1)
			s.Close(Stats{})
		})
	}
	waiting.Wait()
	for range 4 {
		wg.Go(func() {
			for range 250 {
				s, err := f.Open(context.Background(), f.attempt())
				if err != nil {
					if denial(t, err).Why != WhyEnded {
						t.Error(err)
					}
					continue
				}
				opened.Add(1)
				s.Close(Stats{})
			}
			f.index.End("grt_1", f.clock(), live.ReasonRevoked)
		})
	}
	wg.Wait()
	if cut.Load() != 4 || f.Counts().Sessions != 0 {
		t.Errorf("%d opened, %d cut, %d left", opened.Load(), cut.Load(), f.Counts().Sessions)
	}
	if got := uint64(opened.Load()); f.Counts().Allowed != got {
		t.Errorf("%d allowed, %d opened", f.Counts().Allowed, got)
	}
}
