package workload

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxToken caps a token, in bytes, before anything of it is read.
const MaxToken = 8 << 10

// jwt is a compact JWS whose signature is not checked yet.
type jwt struct {
	raw      string
	alg, kid string
	issuer   string
	fields   map[string]jsontext.Value // claims as they were written
	claims   map[string]any            // the same, as values
}

// parse reads a token's form: three strict base64url parts, a header that
// brings no key, and claims of which none occurs twice.
func parse(token string) (*jwt, error) {
	if len(token) > MaxToken {
		return nil, refuse("the token is too long")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, refuse("not a compact JWS")
	}
	var raw [3][]byte
	for i, part := range parts {
		// The decoder passes over line breaks.
		if part == "" || strings.ContainsAny(part, "\r\n") {
			return nil, refuse("not base64url")
		}
		var err error
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, refuse("not base64url")
		}
	}
	t := &jwt{raw: token}
	if err := t.header(raw[0]); err != nil {
		return nil, err
	}
	// Two readers of one text with a name that is there twice may see two
	// different tokens: this one refuses it, and what is not UTF-8.
	if json.Unmarshal(raw[1], &t.fields) != nil || json.Unmarshal(raw[1], &t.claims) != nil || t.fields == nil {
		return nil, refuse("the claims are no JSON object, or one occurs twice")
	}
	t.issuer, _ = t.claims["iss"].(string)
	if t.issuer == "" {
		return nil, refuse("iss is missing or no text")
	}
	return t, nil
}

// brought are header parameters by which a token would bring or name its own
// key, or change how it is to be read (RFC 7515 §4.1, RFC 7516, RFC 7797). crit
// names extensions that must be understood, and none is.
var brought = []string{"jwk", "jku", "x5c", "x5u", "crit", "b64", "zip", "enc", "p2c", "p2s", "epk"}

// header reads alg and kid. A typ that names another kind of token is refused
// (RFC 8725 §3.11).
func (t *jwt) header(raw []byte) error {
	var fields map[string]jsontext.Value
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return refuse("the header is no JSON object, or a member occurs twice")
	}
	for _, name := range brought {
		if _, there := fields[name]; there {
			return refuse("the header brings a key or an extension")
		}
	}
	typ := "JWT"
	for _, member := range []struct {
		name   string
		to     *string
		needed bool
	}{{"alg", &t.alg, true}, {"kid", &t.kid, true}, {"typ", &typ, false}} {
		value, there := fields[member.name]
		if !there && !member.needed {
			continue
		}
		if !there || value.Kind() != '"' || json.Unmarshal(value, member.to) != nil || *member.to == "" {
			return &Refusal{Why: "the header lacks a member", More: member.name}
		}
	}
	if !strings.EqualFold(typ, "JWT") {
		return refuse("the header says another type of token")
	}
	return nil
}

// verify checks the signature with a key of the issuer.
func (is *issuer) verify(ctx context.Context, t *jwt, now time.Time) error {
	allowed := false
	for _, alg := range is.Algorithms {
		allowed = allowed || alg == t.alg
	}
	if !allowed {
		return &Refusal{Why: "the algorithm is not allowed", More: clip(t.alg)}
	}
	with, err := is.keys.key(ctx, t.kid, now)
	if err != nil {
		return err
	}
	if !with.signs(t.alg) {
		return refuse("the algorithm is not that of the key")
	}
	signed, err := jose.ParseSignedCompact(t.raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.alg)})
	if err != nil {
		return refuse("not a compact JWS")
	}
	if _, err := signed.Verify(with.public); err != nil {
		return refuse("the signature does not hold")
	}
	return nil
}

// isFor reports whether audience, and nobody else, is whom the token is for:
// what is for others too, others may have sent on.
func (t *jwt) isFor(audience string) bool {
	switch aud := t.claims["aud"].(type) {
	case string:
		return aud == audience
	case []any:
		for _, one := range aud {
			if s, ok := one.(string); !ok || s != audience {
				return false
			}
		}
		return len(aud) > 0
	}
	return false
}

// maxSeconds is the last second of the year 9999.
const maxSeconds = 253402300799

// second reads a time in whole seconds; ok is false when it is none.
func (t *jwt) second(claim string) (at time.Time, there, ok bool) {
	raw, there := t.fields[claim]
	if !there {
		return time.Time{}, false, true
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n <= 0 || n > maxSeconds {
		return time.Time{}, true, false
	}
	return time.Unix(n, 0), true, true
}

// times checks exp, iat and nbf. A clock of an issuer may be ahead by skew, so
// that a fresh token is not refused; at exp it is over all the same.
func (t *jwt) times(now time.Time, skew, maxAge time.Duration) (issued, ends time.Time, err error) {
	issued, hasIat, okIat := t.second("iat")
	ends, hasExp, okExp := t.second("exp")
	from, hasNbf, okNbf := t.second("nbf")
	switch {
	case !hasIat || !hasExp:
		err = refuse("iat or exp is missing")
	case !okIat || !okExp || !okNbf:
		err = refuse("a time is not in whole seconds")
	case !now.Before(ends):
		err = refuse("expired")
	case issued.After(now.Add(skew)) || hasNbf && from.After(now.Add(skew)):
		err = refuse("not valid yet")
	case !now.Before(issued.Add(maxAge + skew)):
		err = refuse("older than max_age")
	case !issued.Before(ends):
		err = refuse("it ends before it was issued")
	}
	return issued, ends, err
}

// id names the token for the record of those that were used. Without a jti it
// is what was signed: an ECDSA signature has a second form, that has not.
func (t *jwt) id() ([sha256.Size]byte, error) {
	kind, value := "signed", t.raw[:strings.LastIndexByte(t.raw, '.')]
	if raw, there := t.fields["jti"]; there {
		jti, ok := t.claims["jti"].(string)
		if !ok || jti == "" || raw.Kind() != '"' {
			return [sha256.Size]byte{}, refuse("jti is no text")
		}
		kind, value = "jti", jti
	}
	return sha256.Sum256([]byte(strconv.Itoa(len(t.issuer)) + ":" + t.issuer + kind + ":" + value)), nil
}
