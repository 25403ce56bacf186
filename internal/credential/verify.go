package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxToken caps a JWT, in bytes, before anything of it is parsed.
const maxToken = 8 << 10

var (
	// ErrInvalid is wrapped by every refusal of a JWT. Its text names the rule,
	// never the token's content; it is for logs, not for the bearer.
	ErrInvalid = errors.New("token refused")
	// ErrOptions says that Verify was asked to accept anybody's token: a
	// mistake of the caller, whatever the token.
	ErrOptions = errors.New("verification without issuer, audience, type or clock")
)

// VerifyOptions is what a token must be. Every field is required, except that
// AcceptAudience may stand in for Audience.
type VerifyOptions struct {
	Issuer   string
	Audience string
	// AcceptAudience decides on aud where the caller serves several resources
	// (introspection). Exactly one of it and Audience is set.
	AcceptAudience func(resource string) bool
	Type           string // TypeAccessToken or TypeAssertion
	Now            time.Time
}

func (o VerifyOptions) check() error {
	if o.Issuer == "" || o.Now.IsZero() || (o.Audience == "") == (o.AcceptAudience == nil) ||
		(o.Type != TypeAccessToken && o.Type != TypeAssertion) {
		return ErrOptions
	}
	return nil
}

// Verify checks a compact JWS that this keyring signed and returns its claims.
// There is no leeway: at exp it is over. The signature says that the token was
// issued, not that its grant still stands: ask that by GrantID. Do not keep
// lists by the token's bytes, for an ECDSA signature has a second valid form.
func (k *Keyring) Verify(token string, o VerifyOptions) (*Claims, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	w, err := k.open(token, o)
	if err == nil {
		err = w.check(o.Type)
	}
	if err == nil {
		err = w.holds(o)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return w.claims(), nil
}

// open checks form, header, key and signature, in order of their cost.
func (k *Keyring) open(token string, o VerifyOptions) (*wire, error) {
	if len(token) > maxToken {
		return nil, errors.New("too long")
	}
	if strings.Count(token, ".") != 2 {
		return nil, errors.New("not a compact JWS")
	}
	parts := strings.Split(token, ".")
	var raw [3][]byte
	for i, part := range parts {
		// The decoder passes over line breaks; no token of ours has any.
		if part == "" || strings.ContainsAny(part, "\r\n") {
			return nil, errors.New("not base64url")
		}
		var err error
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, errors.New("not base64url")
		}
	}
	alg, kid, err := header(raw[0], o.Type)
	if err != nil {
		return nil, err
	}
	k.mu.RLock()
	with := k.keys[kid]
	k.mu.RUnlock()
	switch {
	case with == nil || !with.usable(o.Now):
		return nil, errors.New("unknown kid")
	case Algorithm(alg) != with.alg:
		return nil, errors.New("alg is not that of the key")
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(with.alg)})
	if err != nil {
		return nil, errors.New("not a compact JWS")
	}
	payload, err := signed.Verify(with.public)
	if err != nil {
		return nil, errors.New("bad signature")
	}
	w, err := decodeWire(payload)
	if err != nil {
		return nil, err
	}
	if !with.retired.IsZero() && w.IssuedAt > seconds(with.retired) {
		return nil, errors.New("issued after its key was retired")
	}
	return w, nil
}

// header reads a JWS header that has alg, kid and typ and nothing else: no
// key, no place to get one from (jwk, jku, x5c, x5u), no crit, no zip.
func header(b []byte, typ string) (alg, kid string, err error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil {
		return "", "", errors.New("header is no JSON object")
	}
	var got string
	for _, f := range []struct {
		name string
		to   *string
	}{{"alg", &alg}, {"kid", &kid}, {"typ", &got}} {
		if json.Unmarshal(fields[f.name], f.to) != nil || *f.to == "" {
			return "", "", fmt.Errorf("header without %s", f.name)
		}
		delete(fields, f.name)
	}
	if len(fields) != 0 {
		return "", "", errors.New("header with more than alg, kid and typ")
	}
	if got != typ {
		return "", "", errors.New("another typ")
	}
	return alg, kid, nil
}

// decodeWire reads claims with their exact names and types: a number in quotes,
// a fraction, a null or an aud that is a list is refused.
func decodeWire(payload []byte) (*wire, error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(payload, &fields) != nil {
		return nil, errors.New("claims are no JSON object")
	}
	w := &wire{}
	for _, f := range []struct {
		name string
		to   *string
	}{
		{"iss", &w.Issuer}, {"sub", &w.Subject}, {"aud", &w.Audience}, {"jti", &w.ID},
		{"txn", &w.Txn}, {"grant_id", &w.GrantID}, {"client_id", &w.ClientID},
	} {
		if b, ok := fields[f.name]; ok && (b[0] != '"' || json.Unmarshal(b, f.to) != nil) {
			return nil, fmt.Errorf("%s is no string", f.name)
		}
	}
	for _, f := range []struct {
		name string
		to   *int64
	}{{"iat", &w.IssuedAt}, {"nbf", &w.NotBefore}, {"exp", &w.ExpiresAt}, {"grant_exp", &w.GrantExp}} {
		b, ok := fields[f.name]
		if !ok && f.name == "grant_exp" {
			continue // check says which type needs it
		}
		n, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil || n <= 0 || n > maxSeconds {
			return nil, fmt.Errorf("%s is no time in whole seconds", f.name)
		}
		*f.to = n
	}
	if b, ok := fields["authorization_details"]; ok && (b[0] != '[' || json.Unmarshal(b, &w.Details) != nil) {
		return nil, errors.New("authorization_details is no list")
	}
	if b, ok := fields["act"]; ok && (b[0] != '{' || json.Unmarshal(b, &w.Act) != nil) {
		return nil, errors.New("act is no object")
	}
	return w, nil
}

// maxSeconds is the last second of the year 9999.
const maxSeconds = 253402300799

// holds checks the claims against what was asked for.
func (w *wire) holds(o VerifyOptions) error {
	accepted := o.Audience == w.Audience
	if o.AcceptAudience != nil {
		accepted = o.AcceptAudience(w.Audience)
	}
	now := o.Now
	switch {
	case w.Issuer != o.Issuer:
		return errors.New("another iss")
	case !accepted:
		return errors.New("another aud")
	case !now.Before(time.Unix(w.ExpiresAt, 0)):
		return errors.New("expired")
	case now.Before(time.Unix(w.IssuedAt, 0)) || now.Before(time.Unix(w.NotBefore, 0)):
		return errors.New("not valid yet")
	}
	return nil
}
