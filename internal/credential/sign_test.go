package credential

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPrepareRefuses(t *testing.T) {
	deep := &Actor{Subject: "a"}
	for range maxActors {
		deep = &Actor{Subject: "a", Act: deep}
	}
	for name, change := range map[string]func(c *Claims, l *Limits){
		"no iss": func(c *Claims, _ *Limits) { c.Issuer = "" }, "no sub": func(c *Claims, _ *Limits) { c.Subject = "" },
		"no aud": func(c *Claims, _ *Limits) { c.Audience = "" }, "no client_id": func(c *Claims, _ *Limits) { c.ClientID = "" },
		"no jti": func(c *Claims, _ *Limits) { c.ID = "" }, "no txn": func(c *Claims, _ *Limits) { c.Txn = "" }, "no grant_id": func(c *Claims, _ *Limits) { c.GrantID = "" },
		"no exp": func(c *Claims, _ *Limits) { c.ExpiresAt = time.Time{} }, "no iat": func(c *Claims, _ *Limits) { c.IssuedAt = time.Time{} },
		"no clock": func(_ *Claims, l *Limits) { l.Now = time.Time{} }, "no end of the grant": func(_ *Claims, l *Limits) { l.GrantExpires = time.Time{} },
		"exp past the grant":    func(_ *Claims, l *Limits) { l.GrantExpires = l.Now.Add(3 * time.Minute) },
		"exp past five minutes": func(c *Claims, _ *Limits) { c.ExpiresAt = c.IssuedAt.Add(5*time.Minute + time.Second) },
		"exp past MaxLife":      func(_ *Claims, l *Limits) { l.MaxLife = time.Minute },
		"longer MaxLife":        func(_ *Claims, l *Limits) { l.MaxLife = MaxLife + 1 },
		"negative MaxLife":      func(_ *Claims, l *Limits) { l.MaxLife = -1 },
		"exp is now":            func(c *Claims, l *Limits) { c.ExpiresAt = l.Now },
		"exp is past":           func(c *Claims, l *Limits) { c.ExpiresAt = l.Now.Add(-time.Second) },
		"iat in the future":     func(c *Claims, l *Limits) { c.IssuedAt = l.Now.Add(time.Millisecond) },
		"nbf in the future":     func(c *Claims, l *Limits) { c.NotBefore = l.Now.Add(time.Second) },
		"nbf before iat":        func(c *Claims, l *Limits) { c.NotBefore = l.Now.Add(-time.Minute) },
		"old iat":               func(c *Claims, l *Limits) { c.IssuedAt = l.Now.Add(-2 * time.Minute) },
		"grant_exp":             func(c *Claims, l *Limits) { c.GrantExpiresAt = l.GrantExpires },
		"details without type":  func(c *Claims, _ *Limits) { c.AuthorizationDetails = []json.RawMessage{json.RawMessage(`{}`)} },
		"details as a list":     func(c *Claims, _ *Limits) { c.AuthorizationDetails = []json.RawMessage{json.RawMessage(`[]`)} },
		"details of null":       func(c *Claims, _ *Limits) { c.AuthorizationDetails = []json.RawMessage{json.RawMessage(`null`)} },
		"details broken":        func(c *Claims, _ *Limits) { c.AuthorizationDetails = []json.RawMessage{json.RawMessage(`{"type":"x"`)} },
		"details huge": func(c *Claims, _ *Limits) {
			c.AuthorizationDetails = []json.RawMessage{json.RawMessage(`{"type":"` + strings.Repeat("x", maxPayload) + `"}`)}
		},
		"act without sub": func(c *Claims, _ *Limits) { c.Act = &Actor{} }, "act too deep": func(c *Claims, _ *Limits) { c.Act = deep },
	} {
		c, l := credentialClaims(t0), limitsAt(t0)
		change(&c, &l)
		if got, err := Prepare(c, l); !errors.Is(err, ErrLint) || got.payload != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Prepare(credentialClaims(t0), limitsAt(t0)); err != nil {
		t.Errorf("what the others were made from: %v", err)
	}
	for name, change := range map[string]func(c *Claims){
		"client_id": func(c *Claims) { c.ClientID = "x" }, "act": func(c *Claims) { c.Act = &Actor{Subject: "x"} },
		"details":       func(c *Claims) { c.AuthorizationDetails = []json.RawMessage{json.RawMessage(`{"type":"x"}`)} },
		"over a minute": func(c *Claims) { c.ExpiresAt = t0.Add(AssertionLife + time.Second) },
	} {
		c := assertionClaims(t0)
		change(&c)
		if _, err := PrepareAssertion(c, limitsAt(t0)); !errors.Is(err, ErrLint) {
			t.Errorf("assertion with %s: %v", name, err)
		}
	}
	k := newRing(t)
	if s, err := k.Sign(Linted{}, ES256); !errors.Is(err, ErrLint) || !s.IsZero() {
		t.Errorf("the zero Linted was signed: %v", err)
	}
}

func assertionClaims(now time.Time) Claims {
	return Claims{Issuer: "https://daypass.example.com", Subject: "user:ana", Audience: "orders-api", ID: "j", IssuedAt: now, Txn: "req_x", GrantID: "grt_x"}
}

func TestLessThanASecondIsTooLate(t *testing.T) {
	for _, now := range []time.Time{t0.Truncate(time.Second), t0.Truncate(time.Second).Add(100 * time.Millisecond)} {
		l := Limits{GrantExpires: now.Add(800 * time.Millisecond), Now: now}
		c := credentialClaims(now)
		c.ExpiresAt = l.Latest()
		if _, err := Prepare(c, l); !errors.Is(err, ErrTooLate) || !errors.Is(err, ErrLint) {
			t.Errorf("at %s: %v", now, err)
		}
	}
}

// What Prepare lets through is never valid at the end of the grant or later,
// never longer than five minutes, and what is signed is accepted until exp.
//
// Invariant: A3
// Attack: TOK-06, TOK-11
func TestNoTokenOutlivesItsGrant(t *testing.T) {
	k := newRing(t)
	signed := 0
	around := rapid.SampledFrom([]time.Duration{-time.Second, 0, time.Second, 2 * time.Second, 45 * time.Second, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute})
	millis := func(t *rapid.T, name string, from, to int) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Millisecond
	}
	rapid.Check(t, func(t *rapid.T) {
		now := t0.Add(millis(t, "now", 0, 60_000))
		l := Limits{
			Now: now, GrantExpires: now.Add(around.Draw(t, "grant") + millis(t, "more", 0, 999)),
			MaxLife: rapid.SampledFrom([]time.Duration{0, 0, time.Second, 30 * time.Second, 1500 * time.Millisecond, AssertionLife, MaxLife}).Draw(t, "life"),
		}
		assertion := rapid.Bool().Draw(t, "assertion")
		c, typ, prepare, most := credentialClaims(now), TypeAccessToken, Prepare, MaxLife
		if assertion {
			c, typ, prepare, most = assertionClaims(now), TypeAssertion, PrepareAssertion, AssertionLife
		}
		switch rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "exp") {
		case 0:
			c.ExpiresAt = l.latest(typ)
		case 1:
			c.ExpiresAt = l.GrantExpires
		case 2:
			c.ExpiresAt = now.Add(around.Draw(t, "free") + millis(t, "more free", 0, 999))
		}
		linted, err := prepare(c, l)
		if err != nil {
			return
		}
		exp := linted.ExpiresAt()
		if exp.After(l.GrantExpires) || exp.After(now.Add(most)) || (l.MaxLife > 0 && exp.After(now.Add(l.MaxLife))) || !exp.After(now) || exp.After(c.ExpiresAt) || exp.Nanosecond() != 0 {
			t.Fatalf("exp %s, now %s, grant until %s, asked %s", exp, now, l.GrantExpires, c.ExpiresAt)
		}
		token, err := k.Sign(linted, ES256)
		if err != nil {
			t.Fatal(err)
		}
		signed++
		o := optionsAt(now)
		o.Type = typ
		got, err := k.Verify(token.Reveal(), o)
		if err != nil || !got.ExpiresAt.Equal(exp) {
			t.Fatalf("%+v, %v", got, err)
		}
		if assertion && (got.GrantExpiresAt.After(l.GrantExpires) || got.GrantExpiresAt.Before(exp)) {
			t.Fatalf("grant_exp %s", got.GrantExpiresAt)
		}
		o.Now = exp.Add(-time.Nanosecond)
		if _, err := k.Verify(token.Reveal(), o); err != nil {
			t.Fatalf("just before exp: %v", err)
		}
		for _, after := range []time.Time{exp, l.GrantExpires, exp.Add(time.Second)} {
			o.Now = after
			if _, err := k.Verify(token.Reveal(), o); !errors.Is(err, ErrInvalid) {
				t.Fatalf("at %s: %v", after, err)
			}
		}
	})
	if signed < 10 {
		t.Errorf("only %d tokens were signed", signed)
	}
}

// The largest claims that are signed make a token that is accepted, with either
// algorithm: no size is refused only after it was issued.
//
// Attack: TOK-11
func TestLargestTokenIsAccepted(t *testing.T) {
	k := newRing(t)
	c := credentialClaims(t0)
	size := 0
	for n := maxPayload; n > 0 && size == 0; n-- {
		c.AuthorizationDetails = []json.RawMessage{json.RawMessage(`{"type":"` + strings.Repeat("x", n) + `"}`)}
		l, err := Prepare(c, limitsAt(t0))
		if err != nil {
			continue
		}
		size = len(l.payload)
		for _, alg := range []Algorithm{ES256, RS256} {
			s, err := k.Sign(l, alg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.Verify(s.Reveal(), optionsAt(t0)); err != nil {
				t.Errorf("%s of %d bytes: %v", alg, len(s.Reveal()), err)
			}
		}
	}
	if size != maxPayload {
		t.Errorf("the largest payload has %d bytes", size)
	}
}
