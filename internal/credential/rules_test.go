package credential

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// ruled fails unless the error names the rule that was broken, and no other:
// whoever reads the log would look for the fault in the wrong place.
func ruled(t *testing.T, name string, err error, rule string) {
	t.Helper()
	if rule == "" {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	if err == nil || !strings.HasSuffix(err.Error(), rule) {
		t.Errorf("%s: %v, want %q", name, err, rule)
	}
}

func accessWire() wire {
	return wire{
		Issuer: "https://daypass.example.com", Subject: "user:ana", Audience: "orders-api", ClientID: "user:ana", ID: "j",
		IssuedAt: 1000, NotBefore: 1000, ExpiresAt: 1300, Txn: "req_x", GrantID: "grt_x",
	}
}

func assertionWire() wire {
	w := accessWire()
	w.ClientID, w.ExpiresAt, w.GrantExp = "", 1060, 1060
	return w
}

// chain is an actor with so many behind it, itself counted.
func chain(n int) *Actor {
	var a *Actor
	for range n {
		a = &Actor{Subject: "agent:triage-bot", Act: a}
	}
	return a
}

// Each rule holds to the second, by itself, and says so.
//
// Invariant: A3
// Attack: TOK-05, TOK-06
func TestEachRuleOfClaimsHoldsAlone(t *testing.T) {
	const order, nbf, long = "exp is not after iat", "nbf is not between iat and exp", "exp is too long after iat"
	for _, c := range []struct {
		name   string
		change func(w *wire)
		rule   string
	}{
		{"five minutes", func(*wire) {}, ""},
		{"five minutes and a second", func(w *wire) { w.ExpiresAt++ }, long},
		{"a second", func(w *wire) { w.ExpiresAt = w.IssuedAt + 1 }, ""},
		{"no life", func(w *wire) { w.ExpiresAt = w.IssuedAt }, order},
		{"less than no life", func(w *wire) { w.ExpiresAt = w.IssuedAt - 1 }, order},
		{"iat in the first second of 1970", func(w *wire) { w.IssuedAt, w.NotBefore, w.ExpiresAt = 0, 0, 60 }, order},
		{"iat a second later", func(w *wire) { w.IssuedAt, w.NotBefore, w.ExpiresAt = 1, 1, 60 }, ""},
		{"nbf before iat", func(w *wire) { w.NotBefore = w.IssuedAt - 1 }, nbf},
		{"nbf in the last second", func(w *wire) { w.NotBefore = w.ExpiresAt - 1 }, ""},
		{"nbf at exp", func(w *wire) { w.NotBefore = w.ExpiresAt }, nbf},
		{"no client", func(w *wire) { w.ClientID = "" }, "no client_id"},
		{"grant_exp", func(w *wire) { w.GrantExp = w.ExpiresAt }, "grant_exp is not a claim of an access token"},
		{"as many actors as may be", func(w *wire) { w.Act = chain(maxActors) }, ""},
		{"one actor more", func(w *wire) { w.Act = chain(maxActors + 1) }, "act has an empty sub or is too deep"},
		{"a nameless actor", func(w *wire) { w.Act = &Actor{Subject: "agent:x", Act: &Actor{}} }, "act has an empty sub or is too deep"},
		{"the second detail untyped", func(w *wire) {
			w.Details = []json.RawMessage{json.RawMessage(`{"type":"x"}`), json.RawMessage(`{"type":1}`)}
		}, "authorization_details[1] is no object with a type"},
		{"a detail of the empty type", func(w *wire) { w.Details = []json.RawMessage{json.RawMessage(`{"type":""}`)} }, "authorization_details[0] is no object with a type"},
	} {
		w := accessWire()
		c.change(&w)
		ruled(t, c.name, w.check(TypeAccessToken), c.rule)
	}
	const bare = "an assertion carries no client_id, authorization_details or act"
	for _, c := range []struct {
		name   string
		change func(w *wire)
		rule   string
	}{
		{"a minute", func(*wire) {}, ""},
		{"a minute and a second", func(w *wire) { w.ExpiresAt, w.GrantExp = 1061, 1061 }, long},
		{"past the grant", func(w *wire) { w.GrantExp = w.ExpiresAt - 1 }, "exp is after grant_exp"},
		{"client", func(w *wire) { w.ClientID = "user:ana" }, bare},
		{"details", func(w *wire) { w.Details = []json.RawMessage{} }, bare},
		{"actor", func(w *wire) { w.Act = chain(1) }, bare},
	} {
		w := assertionWire()
		c.change(&w)
		ruled(t, "assertion: "+c.name, w.check(TypeAssertion), c.rule)
	}
	w := accessWire()
	ruled(t, "another type", w.check("JWT"), `unknown type "JWT"`)
}

// What Prepare says is the rule that was broken.
func TestPrepareNamesTheRule(t *testing.T) {
	latest := limitsAt(t0).Latest().Format(time.RFC3339)
	for _, c := range []struct {
		name   string
		change func(c *Claims, l *Limits)
		rule   string
	}{
		{"nothing", func(*Claims, *Limits) {}, ""},
		{"no clock", func(_ *Claims, l *Limits) { l.Now = time.Time{} }, "no clock or no end of the grant to check against"},
		{"no end", func(_ *Claims, l *Limits) { l.GrantExpires = time.Time{} }, "no clock or no end of the grant to check against"},
		{"the longest life", func(_ *Claims, l *Limits) { l.MaxLife = MaxLife }, ""},
		{"a longer life", func(_ *Claims, l *Limits) { l.MaxLife = MaxLife + 1 }, "a life of 5m0.000000001s, over 5m0s"},
		{"a life below zero", func(_ *Claims, l *Limits) { l.MaxLife = -1 }, "a life of -1ns, over 5m0s"},
		{"no iat", func(c *Claims, _ *Limits) { c.IssuedAt = time.Time{} }, "iat is missing or in the future"},
		{"iat ahead", func(c *Claims, l *Limits) { c.IssuedAt = l.Now.Add(1) }, "iat is missing or in the future"},
		{"nbf now", func(c *Claims, l *Limits) { c.NotBefore = l.Now }, ""},
		{"nbf ahead", func(c *Claims, l *Limits) { c.NotBefore = l.Now.Add(1) }, "nbf is in the future"},
		{"no exp", func(c *Claims, _ *Limits) { c.ExpiresAt = time.Time{} }, "no exp"},
		{"the last exp", func(c *Claims, l *Limits) { c.ExpiresAt = l.Latest() }, ""},
		{"a later exp", func(c *Claims, l *Limits) { c.ExpiresAt = l.Latest().Add(time.Second) }, "exp is after " + latest},
		{"exp over", func(c *Claims, l *Limits) { c.ExpiresAt = l.Now }, ErrTooLate.Error()},
		{"grant_exp", func(c *Claims, l *Limits) { c.GrantExpiresAt = l.GrantExpires }, "grant_exp is set by assertions alone"},
		{"no txn", func(c *Claims, _ *Limits) { c.Txn = "" }, "no txn"},
		{"a detail too large", func(c *Claims, _ *Limits) {
			c.AuthorizationDetails = []json.RawMessage{json.RawMessage(`{"type":"` + strings.Repeat("x", maxPayload) + `"}`)}
		}, "bytes, over 5120"},
		{"half a detail", func(c *Claims, _ *Limits) { c.AuthorizationDetails = []json.RawMessage{json.RawMessage(`{"type":"x"`)} }, "is no object with a type"},
	} {
		claims, limits := credentialClaims(t0), limitsAt(t0)
		c.change(&claims, &limits)
		_, err := Prepare(claims, limits)
		ruled(t, c.name, err, c.rule)
	}
}

// What Verify says is the rule that was broken, in the order of their cost.
func TestVerifyNamesTheRule(t *testing.T) {
	k := newRing(t)
	for _, c := range []struct {
		name string
		head map[string]any
		rule string
	}{
		{"nothing", nil, ""},
		{"no alg", map[string]any{"alg": nil}, "header without alg"},
		{"empty kid", map[string]any{"kid": ""}, "header without kid"},
		{"no typ", map[string]any{"typ": nil}, "header without typ"},
		{"jku", map[string]any{"jku": "https://evil.example"}, "header with more than alg, kid and typ"},
		{"typ", map[string]any{"typ": TypeAssertion}, "another typ"},
		{"kid", map[string]any{"kid": "unknown"}, "unknown kid"},
		{"alg", map[string]any{"alg": "RS256"}, "alg is not that of the key"},
	} {
		_, err := k.Verify(forge(t, k, ES256, c.head, asJSON(t, goodPayload(t))), optionsAt(t0))
		ruled(t, c.name, err, c.rule)
	}
	_, err := k.Verify(b64.EncodeToString([]byte("[]"))+".e30.AA", optionsAt(t0))
	ruled(t, "header of a list", err, "header is no JSON object")
	for _, token := range []string{"..", ".e30.AA", "e30..AA", "e30.e30."} {
		_, err := k.Verify(token, optionsAt(t0))
		ruled(t, token, err, "not base64url")
	}
	for _, c := range []struct {
		claim string
		value any
		rule  string
	}{
		{"iat", nil, "iat is no time in whole seconds"}, {"nbf", nil, "nbf is no time in whole seconds"}, {"exp", nil, "exp is no time in whole seconds"},
		{"iat", 0, "iat is no time in whole seconds"}, {"nbf", -1, "nbf is no time in whole seconds"}, {"exp", maxSeconds + 1, "exp is no time in whole seconds"},
		{"exp", maxSeconds, "exp is too long after iat"}, {"nbf", 1, "nbf is not between iat and exp"},
		{"grant_exp", 0, "grant_exp is no time in whole seconds"}, {"grant_exp", 1, "grant_exp is not a claim of an access token"},
		{"aud", nil, "no aud"}, {"aud", 1, "aud is no string"}, {"aud", json.RawMessage("null"), "aud is no string"}, {"aud", "x", "another aud"}, {"iss", "x", "another iss"},
		{"act", "x", "act is no object"}, {"act", []any{}, "act is no object"}, {"act", map[string]any{"sub": 1}, "act is no object"},
		{"authorization_details", map[string]any{}, "authorization_details is no list"},
	} {
		p := goodPayload(t)
		if p[c.claim] = c.value; c.value == nil {
			delete(p, c.claim)
		}
		_, err := k.Verify(forge(t, k, ES256, nil, asJSON(t, p)), optionsAt(t0))
		ruled(t, fmt.Sprintf("%s %v", c.claim, c.value), err, c.rule)
	}
	_, err = k.Verify(forge(t, k, ES256, nil, "[]"), optionsAt(t0))
	ruled(t, "claims of a list", err, "claims are no JSON object")
	_, err = k.Verify(issue(t, k, t0, ES256), optionsAt(t0.Add(time.Hour)))
	ruled(t, "late", err, "expired")
	_, err = k.Verify(issue(t, k, t0, ES256), optionsAt(t0.Add(-time.Hour)))
	ruled(t, "early", err, "not valid yet")
	good := issue(t, k, t0, ES256)
	_, err = k.Verify(good[:len(good)-4]+"AAAA", optionsAt(t0))
	ruled(t, "signature", err, "bad signature")
}

// A token of exactly the longest form is read, and one byte more is not.
//
// Attack: TOK-11
func TestLongestTokenThatIsRead(t *testing.T) {
	k := newRing(t)
	lengths := map[int]bool{}
	for n := range 60 {
		p := goodPayload(t)
		p["more"] = strings.Repeat("x", maxToken*3/4-415+n)
		token := forge(t, k, ES256, nil, asJSON(t, p))
		_, err := k.Verify(token, optionsAt(t0))
		if rule := "too long"; len(token) > maxToken {
			ruled(t, fmt.Sprint(len(token)), err, rule)
		} else {
			ruled(t, fmt.Sprint(len(token)), err, "")
		}
		lengths[len(token)] = true
	}
	if !lengths[maxToken] || !lengths[maxToken+1] && !lengths[maxToken+2] {
		t.Errorf("the test looks beside the bound: %v", lengths)
	}
}

// No second is given away: a token of a second more would outlive its grant, or
// the life of its type counted from the second in which it is issued.
//
// Invariant: A3
func TestLatestIsTheLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := t0.Add(time.Duration(rapid.IntRange(0, 10_000).Draw(t, "now")) * time.Millisecond)
		life := time.Duration(rapid.IntRange(1, 300).Draw(t, "life")) * time.Second
		l := Limits{Now: now, MaxLife: life, GrantExpires: now.Add(time.Duration(rapid.IntRange(0, 600_000).Draw(t, "grant")) * time.Millisecond)}
		latest, iat := l.Latest(), time.Unix(now.Unix(), 0)
		if latest.Nanosecond() != 0 || latest.After(l.GrantExpires) || latest.Sub(iat) > life {
			t.Fatalf("%s is too late at %s for %s until %s", latest, now, life, l.GrantExpires)
		}
		if more := latest.Add(time.Second); !more.After(l.GrantExpires) && more.Sub(iat) <= life {
			t.Fatalf("%s at %s for %s until %s, and a second later would do", latest, now, life, l.GrantExpires)
		}
	})
}

// A token is good from the very second that it names, and an assertion says to
// the second when its grant ends.
//
// Invariant: A3
func TestFirstAndLastInstant(t *testing.T) {
	k := newRing(t)
	from := time.Unix(t0.Unix(), 0)
	token := issue(t, k, from, ES256)
	for at, want := range map[time.Time]string{from.Add(-1): "not valid yet", from: "", from.Add(4*time.Minute - 1): "", from.Add(4 * time.Minute): "expired"} {
		_, err := k.Verify(token, optionsAt(at))
		ruled(t, at.String(), err, want)
	}
	l, err := PrepareAssertion(assertionClaims(from), limitsAt(from))
	if err != nil {
		t.Fatal(err)
	}
	s, err := k.Sign(l, ES256)
	if err != nil {
		t.Fatal(err)
	}
	o := optionsAt(from)
	o.Type = TypeAssertion
	c, err := k.Verify(s.Reveal(), o)
	if err != nil || !c.GrantExpiresAt.Equal(from.Add(time.Hour)) || !c.ExpiresAt.Equal(from.Add(AssertionLife)) || !c.IssuedAt.Equal(from) || !c.NotBefore.Equal(from) {
		t.Errorf("%+v, %v", c, err)
	}
}
