package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

var b64 = base64.RawURLEncoding

// forge signs any header and payload with a key of the ring.
func forge(t *testing.T, k *Keyring, alg Algorithm, head map[string]any, payload string) string {
	t.Helper()
	with, err := k.signer(alg, t0)
	if err != nil {
		t.Fatal(err)
	}
	header := map[string]any{"alg": string(alg), "kid": with.kid, "typ": TypeAccessToken}
	for name, value := range head {
		if header[name] = value; value == nil {
			delete(header, name)
		}
	}
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	input := b64.EncodeToString(h) + "." + b64.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(input))
	signature, err := with.private.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if alg == ES256 {
		signature = rawSignature(t, signature)
	}
	return input + "." + b64.EncodeToString(signature)
}

// rawSignature turns ASN.1 into r || s (RFC 7518 §3.4).
func rawSignature(t *testing.T, der []byte) []byte {
	t.Helper()
	n := int(der[3])
	r := new(big.Int).SetBytes(der[4 : 4+n])
	s := new(big.Int).SetBytes(der[4+n+2:])
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func goodPayload(t *testing.T) map[string]any {
	t.Helper()
	l, err := Prepare(credentialClaims(t0), limitsAt(t0))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	dec := json.NewDecoder(strings.NewReader(string(l.payload)))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func refused(t *testing.T, k *Keyring, name, token string) {
	t.Helper()
	c, err := k.Verify(token, optionsAt(t0))
	if !errors.Is(err, ErrInvalid) || c != nil {
		t.Errorf("%s: %v", name, err)
	}
	if err != nil && len(token) > 40 && strings.Contains(err.Error(), token[len(token)-20:]) {
		t.Errorf("%s: the error quotes the token", name)
	}
}

func TestClaimsRoundTrip(t *testing.T) {
	k := newRing(t)
	for _, alg := range []Algorithm{ES256, RS256} {
		c := credentialClaims(t0)
		c.Act = &Actor{Subject: "agent:triage-bot", Act: &Actor{Subject: "service:ci"}}
		l, err := Prepare(c, limitsAt(t0))
		if err != nil {
			t.Fatal(err)
		}
		token, err := k.Sign(l, alg)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Verify(token.Reveal(), optionsAt(t0))
		if err != nil {
			t.Fatal(err)
		}
		want := c
		want.IssuedAt, want.ExpiresAt = c.IssuedAt.Truncate(time.Second), c.ExpiresAt.Truncate(time.Second)
		want.NotBefore = want.IssuedAt
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s: %s", alg, diff)
		}
		// Anybody can check it with the JWKS alone.
		published, err := k.JWKS(t0)
		if err != nil {
			t.Fatal(err)
		}
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(published, &set); err != nil {
			t.Fatal(err)
		}
		signed, err := jose.ParseSignedCompact(token.Reveal(), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := signed.Verify(set)
		if err != nil || !strings.Contains(string(payload), `"txn":"req_x"`) || signed.Signatures[0].Header.ExtraHeaders["typ"] != TypeAccessToken {
			t.Errorf("%s with the JWKS: %s, %v", alg, payload, err)
		}
	}
}

func TestForgedInTheTestIsAcceptedUnchanged(t *testing.T) {
	k := newRing(t)
	for _, alg := range []Algorithm{ES256, RS256} {
		if _, err := k.Verify(forge(t, k, alg, nil, asJSON(t, goodPayload(t))), optionsAt(t0)); err != nil {
			t.Errorf("%s: the refusals below would prove nothing: %v", alg, err)
		}
	}
}

// Attack: TOK-01
func TestAlgorithmAndKeyAreFixed(t *testing.T) {
	k := newRing(t)
	payload := asJSON(t, goodPayload(t))
	es, rs := k.current(ES256), func() *key { one, _ := k.signer(RS256, t0); return one }()
	for name, head := range map[string]map[string]any{
		"alg none": {"alg": "none"}, "alg None": {"alg": "None"}, "alg HS256": {"alg": "HS256"}, "alg ES384": {"alg": "ES384"}, "alg RS256 for an EC key": {"alg": "RS256"},
		"alg in lower case": {"alg": "es256"}, "no alg": {"alg": nil}, "alg a list": {"alg": []string{"ES256"}},
		"no kid": {"kid": nil}, "empty kid": {"kid": ""}, "kid a number": {"kid": 1}, "kid a path": {"kid": "../../dev/null"}, "kid SQL": {"kid": "' OR 1=1 --"}, "kid of the other key": {"kid": rs.kid},
		"jku": {"jku": "https://evil.example/jwks.json"}, "x5u": {"x5u": "https://evil.example/c"}, "jwk": {"jwk": map[string]string{"kty": "EC"}}, "x5c": {"x5c": []string{"x"}},
		"crit": {"crit": []string{"exp"}}, "b64": {"b64": false}, "zip": {"zip": "DEF"}, "ALG besides": {"ALG": "none"}, "cty": {"cty": "JWT"},
	} {
		refused(t, k, name, forge(t, k, ES256, head, payload))
	}
	// HS256 keyed with what everybody can read.
	for _, public := range []crypto.PublicKey{es.public, rs.public} {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		for _, kid := range []string{es.kid, rs.kid} {
			input := b64.EncodeToString([]byte(fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":"at+jwt"}`, kid))) + "." + b64.EncodeToString([]byte(payload))
			h := hmac.New(sha256.New, der)
			h.Write([]byte(input))
			refused(t, k, "HS256 with the public key", input+"."+b64.EncodeToString(h.Sum(nil)))
		}
	}
	good := forge(t, k, ES256, nil, payload)
	parts := strings.Split(good, ".")
	none := b64.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`))
	refused(t, k, "no signature", parts[0]+"."+parts[1]+".")
	refused(t, k, "alg none without a signature", none+"."+parts[1]+".")
	refused(t, k, "alg none with a signature", none+"."+parts[1]+"."+parts[2])
	refused(t, k, "signature of zeroes", parts[0]+"."+parts[1]+"."+b64.EncodeToString(make([]byte, 64))) // CVE-2022-21449
	refused(t, k, "payload changed", parts[0]+"."+b64.EncodeToString([]byte(strings.Replace(payload, "user:ana", "user:eve", 1)))+"."+parts[2])
	refused(t, newRing(t), "of another instance", good)
}

// Attack: TOK-02
func TestAudienceAndIssuer(t *testing.T) {
	k := newRing(t)
	token := issue(t, k, t0, ES256)
	for name, change := range map[string]func(o *VerifyOptions){
		"no audience": func(o *VerifyOptions) { o.Audience = "" }, "no issuer": func(o *VerifyOptions) { o.Issuer = "" }, "no clock": func(o *VerifyOptions) { o.Now = time.Time{} },
		"no type": func(o *VerifyOptions) { o.Type = "" }, "other type": func(o *VerifyOptions) { o.Type = "JWT" }, "two audiences": func(o *VerifyOptions) { o.AcceptAudience = func(string) bool { return true } },
	} {
		o := optionsAt(t0)
		change(&o)
		if c, err := k.Verify(token, o); !errors.Is(err, ErrOptions) || c != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, other := range []string{"orders-db", "orders-ap", "orders-api2", "ORDERS-API", "*", " orders-api"} {
		o := optionsAt(t0)
		o.Audience = other
		if _, err := k.Verify(token, o); !errors.Is(err, ErrInvalid) {
			t.Errorf("audience %q: %v", other, err)
		}
	}
	o := optionsAt(t0)
	o.Issuer = "https://other.example.com"
	if _, err := k.Verify(token, o); !errors.Is(err, ErrInvalid) {
		t.Errorf("another issuer: %v", err)
	}
	for _, accept := range []bool{true, false} {
		o := optionsAt(t0)
		asked := ""
		o.Audience, o.AcceptAudience = "", func(aud string) bool { asked = aud; return accept }
		if _, err := k.Verify(token, o); (err == nil) != accept || asked != "orders-api" {
			t.Errorf("AcceptAudience %v, asked for %q: %v", accept, asked, err)
		}
	}
}

// Invariant: A22
// Attack: TOK-03
func TestTypesAreApart(t *testing.T) {
	k := newRing(t)
	access := issue(t, k, t0, ES256)
	l, err := PrepareAssertion(assertionClaims(t0), limitsAt(t0))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := k.Sign(l, ES256)
	if err != nil {
		t.Fatal(err)
	}
	assertion := secret.Reveal()
	for _, c := range []struct {
		name, token, typ string
		ok               bool
	}{
		{"access token", access, TypeAccessToken, true}, {"access token as assertion", access, TypeAssertion, false},
		{"assertion", assertion, TypeAssertion, true}, {"assertion as access token", assertion, TypeAccessToken, false},
	} {
		o := optionsAt(t0)
		o.Type = c.typ
		if _, err := k.Verify(c.token, o); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, typ := range []any{nil, "", "JWT", "AT+JWT", "application/at+jwt", "at+jwt ", 1, TypeAssertion} {
		refused(t, k, fmt.Sprintf("typ %v", typ), forge(t, k, ES256, map[string]any{"typ": typ}, asJSON(t, goodPayload(t))))
	}
	// The claims of one type under the header of the other.
	refused(t, k, "an assertion's claims as at+jwt", forge(t, k, ES256, nil, string(l.payload)))
	token, _ := NewToken(GrantToken)
	refused(t, k, "an opaque token", token.Reveal())
	// An assertion that says itself that it outlives its grant.
	for grantExp, ok := range map[int64]bool{l.expires.Unix(): true, l.expires.Unix() - 1: false} {
		p := goodPayload(t)
		delete(p, "client_id")
		delete(p, "authorization_details")
		p["exp"], p["grant_exp"] = l.expires.Unix(), grantExp
		o := optionsAt(t0)
		o.Type = TypeAssertion
		if _, err := k.Verify(forge(t, k, ES256, map[string]any{"typ": TypeAssertion}, asJSON(t, p)), o); (err == nil) != ok {
			t.Errorf("grant_exp %d after exp: %v", grantExp-l.expires.Unix(), err)
		}
	}
}

// Attack: TOK-04, TOK-05, TOK-06
func TestTimesAndTypesOfClaims(t *testing.T) {
	k := newRing(t)
	now := t0.Unix()
	for name, change := range map[string]any{
		"exp absent": nil, "exp 0": 0, "exp null": json.RawMessage("null"), "exp string": fmt.Sprint(now + 60), "exp float": json.RawMessage(fmt.Sprintf("%d.5", now+60)), "exp .0": json.RawMessage(fmt.Sprintf("%d.0", now+60)),
		"exp exponent": json.RawMessage("1.795443e9"), "exp negative": -1, "exp huge": json.RawMessage("99999999999999999999999"), "exp year 10000": maxSeconds + 1, "exp list": []int64{now + 60}, "exp true": true,
		"exp now": now, "exp past": now - 1, "exp beyond five minutes": now + 301,
		"iat absent": nil, "iat string": fmt.Sprint(now), "iat future": now + 1, "iat null": json.RawMessage("null"), "iat old": now - 120,
		"nbf absent": nil, "nbf string": fmt.Sprint(now), "nbf future": now + 1, "nbf before iat": now - 1, "nbf float": 1.5,
		"aud absent": nil, "aud list": []string{"orders-api"}, "aud two": []string{"orders-api", "x"}, "aud empty": "", "aud null": json.RawMessage("null"), "aud number": 1,
		"iss absent": nil, "iss null": json.RawMessage("null"), "iss list": []string{"https://daypass.example.com"}, "iss other": "https://evil.example", "iss slash": "https://daypass.example.com/",
		"sub absent": nil, "sub number": 1, "jti absent": nil, "txn absent": nil, "grant_id absent": nil, "grant_id number": 7, "client_id absent": nil,
		"grant_exp here": now + 60, "authorization_details string": "x", "authorization_details null": json.RawMessage("null"), "authorization_details object": map[string]any{"type": "x"}, "authorization_details untyped": []any{map[string]any{}},
		"act null": json.RawMessage("null"), "act string": "x", "act empty": map[string]any{},
	} {
		p := goodPayload(t)
		claim, _, _ := strings.Cut(name, " ")
		if p[claim] = change; change == nil {
			delete(p, claim)
		}
		refused(t, k, name, forge(t, k, ES256, nil, asJSON(t, p)))
	}
	for name, claim := range map[string]string{"Exp for exp": "exp", "AUD for aud": "aud", "Iss for iss": "iss"} {
		p := goodPayload(t)
		other, _, _ := strings.Cut(name, " ")
		p[other] = p[claim]
		delete(p, claim)
		refused(t, k, name, forge(t, k, ES256, nil, asJSON(t, p)))
	}
	for _, payload := range []string{"", "null", "[]", `"x"`, "{", "{}", asJSON(t, goodPayload(t)) + "{}", strings.Repeat("[", 3000)} {
		refused(t, k, payload, forge(t, k, ES256, nil, payload))
	}
	// A token from a moment that has not come yet, and the millisecond of exp.
	later := issue(t, k, t0.Add(time.Minute), ES256)
	refused(t, k, "issued in the future", later)
	exp := credentialClaims(t0).ExpiresAt.Truncate(time.Second)
	token := issue(t, k, t0, ES256)
	for offset, ok := range map[time.Duration]bool{-time.Millisecond: true, 0: false, time.Millisecond: false, 30 * time.Second: false} {
		if _, err := k.Verify(token, optionsAt(exp.Add(offset))); (err == nil) != ok {
			t.Errorf("exp %+v: %v", offset, err)
		}
	}
}

// There is one spelling of a token, but for the second form of an ECDSA
// signature; so nothing may be listed by the bytes of a token. The claims, by
// which a grant is asked for, are the same in both forms.
//
// Attack: TOK-07
func TestOtherSpellings(t *testing.T) {
	k := newRing(t)
	for _, alg := range []Algorithm{ES256, RS256} {
		good := issue(t, k, t0, alg)
		parts := strings.Split(good, ".")
		for i := range parts {
			for name, spell := range map[string]func(string) string{
				"padded": func(s string) string { return s + "=" }, "padded twice": func(s string) string { return s + "==" }, "newline": func(s string) string { return s + "\n" },
				"newline inside": func(s string) string { return s[:4] + "\r\n" + s[4:] }, "space": func(s string) string { return " " + s }, "plus": func(s string) string { return s[:4] + "+/" + s[6:] },
				"trailing bits": func(s string) string { // set a spare bit where there is one
					const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
					if len(s)%4 == 0 {
						return s + "A"
					}
					return s[:len(s)-1] + string(digits[strings.IndexByte(digits, s[len(s)-1])|1])
				},
				"empty": func(string) string { return "" }, "one more": func(s string) string { return s + "A" },
			} {
				other := append([]string(nil), parts...)
				if other[i] = spell(parts[i]); other[i] == parts[i] {
					t.Fatalf("%s of part %d changes nothing", name, i)
				}
				refused(t, k, fmt.Sprintf("%s: %s of part %d", alg, name, i), strings.Join(other, "."))
			}
		}
		refused(t, k, "Bearer in front", "Bearer "+good)
		refused(t, k, "a dot behind", good+".")
		refused(t, k, "quoted", `"`+good+`"`)
	}
	good := issue(t, k, t0, ES256)
	parts := strings.Split(good, ".")
	signature, err := b64.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	twin := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(signature[32:]))
	other := parts[0] + "." + parts[1] + "." + b64.EncodeToString(append(signature[:32:32], twin.FillBytes(make([]byte, 32))...))
	one, err := k.Verify(good, optionsAt(t0))
	if err != nil {
		t.Fatal(err)
	}
	if two, err := k.Verify(other, optionsAt(t0)); err == nil && (two.GrantID != one.GrantID || two.ID != one.ID) {
		t.Errorf("the twin of a token speaks of another grant: %+v", two)
	}
	der, err := ecdsa.SignASN1(nil, k.current(ES256).private.(*ecdsa.PrivateKey), func() []byte { s := sha256.Sum256([]byte(parts[0] + "." + parts[1])); return s[:] }())
	if err != nil {
		t.Fatal(err)
	}
	refused(t, k, "signature in ASN.1", parts[0]+"."+parts[1]+"."+b64.EncodeToString(der))
}

// Attack: TOK-11, TOK-12
func TestSizeAndForm(t *testing.T) {
	k := newRing(t)
	good := issue(t, k, t0, ES256)
	for name, token := range map[string]string{
		"empty": "", "dots": "..", "a million dots": strings.Repeat(".", 1e6), "a megabyte": strings.Repeat("A", 1<<20), "a long tail": good + strings.Repeat("A", maxToken),
		"one dot": "a.b", "JWE": "a.b.c.d.e", "JSON": `{"payload":"","signatures":[]}`,
		"JWE header": b64.EncodeToString([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":1000000000,"p2s":"AA"}`)) + ".AA.AA.AA.AA",
		"nested":     strings.Repeat("e30.", 3), "not UTF-8": "\xff.\xff.\xff", "NUL": good[:5] + "\x00" + good[6:],
		"header list": b64.EncodeToString([]byte(`[]`)) + ".e30.AA", "header null": b64.EncodeToString([]byte(`null`)) + ".e30.AA", "header deep": b64.EncodeToString([]byte(strings.Repeat(`{"a":`, 1000))) + ".e30.AA",
	} {
		refused(t, k, name, token)
	}
	// Signed and in order, but for its length.
	p := goodPayload(t)
	p["more"] = strings.Repeat("x", maxToken)
	refused(t, k, "signed and too long", forge(t, k, ES256, nil, asJSON(t, p)))
	p["more"] = "x"
	if _, err := k.Verify(forge(t, k, ES256, nil, asJSON(t, p)), optionsAt(t0)); err != nil {
		t.Errorf("the same but shorter: %v", err)
	}
	if n := testing.AllocsPerRun(5, func() { _, _ = k.Verify(strings.Repeat(".", 1), optionsAt(t0)) }); n > 20 {
		t.Errorf("%v allocations to refuse a dot", n)
	}
	long := strings.Repeat("A.", 1<<20)
	if n := testing.AllocsPerRun(5, func() { _, _ = k.Verify(long, optionsAt(t0)) }); n > 20 {
		t.Errorf("%v allocations to refuse two megabytes", n)
	}
}

// The keys are those of this server: there is no place to fetch another from.
//
// Attack: TOK-13
func TestUnknownKIDCostsNoLookUp(t *testing.T) {
	k := newRing(t)
	before := len(k.Keys(t0))
	token := forge(t, k, ES256, map[string]any{"kid": "unknown"}, asJSON(t, goodPayload(t)))
	for range 100 {
		refused(t, k, "unknown kid", token)
	}
	if len(k.Keys(t0)) != before {
		t.Error("an unknown kid changed the ring")
	}
}

func FuzzVerify(f *testing.F) {
	k, err := OpenKeyring(f.TempDir()+"/keys", t0)
	if err != nil {
		f.Fatal(err)
	}
	l, err := Prepare(credentialClaims(t0), limitsAt(t0))
	if err != nil {
		f.Fatal(err)
	}
	s, err := k.Sign(l, ES256)
	if err != nil {
		f.Fatal(err)
	}
	good := s.Reveal()
	parts := strings.Split(good, ".")
	f.Add(good)
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add("e30.e30.AA")
	f.Add(b64.EncodeToString([]byte(`{"alg":"none","kid":"x","typ":"at+jwt"}`)) + ".e30.AA")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := k.Verify(token, optionsAt(t0))
		if (err == nil) != (c != nil) {
			t.Fatal("claims and an error, or neither")
		}
		if err == nil && (c.GrantID != "grt_x" || !strings.HasPrefix(token, parts[0]+"."+parts[1]+".")) {
			t.Fatalf("accepted what was not signed: %s", token)
		}
	})
}

// The claims alone, past the signature.
func FuzzDecodeClaims(f *testing.F) {
	l, err := Prepare(credentialClaims(t0), limitsAt(t0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.payload)
	f.Add([]byte(`{"exp":"1"}`))
	f.Add([]byte(`{"act":{"sub":"a","act":{"sub":"b"}},"authorization_details":[{"type":"x"}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		w, err := decodeWire(payload)
		if err != nil || w.check(TypeAccessToken) != nil || w.holds(optionsAt(t0)) != nil {
			return
		}
		if c := w.claims(); !c.ExpiresAt.After(t0) || c.ExpiresAt.Sub(c.IssuedAt) > MaxLife || c.IssuedAt.After(t0) || c.Audience != "orders-api" || c.GrantID == "" {
			t.Errorf("accepted %s", payload)
		}
	})
}
