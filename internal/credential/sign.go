package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// AssertionLife is the longest life of an assertion, and so the longest that a
// gateway may go on sending the same one.
const AssertionLife = time.Minute

// maxPayload caps the claims of a JWT, in bytes, so that every token that is
// signed stays under maxToken.
const maxPayload = 5 << 10

var (
	// ErrLint is wrapped by every refusal to sign.
	ErrLint = errors.New("claims that must not be signed")
	// ErrTooLate is wrapped (beside ErrLint) where less than one second of the
	// grant is left: rounded down, the token would never be valid.
	ErrTooLate = errors.New("the grant is about to end")
)

// Limits is what a JWT may not go beyond.
type Limits struct {
	GrantExpires time.Time     // the end of the grant; required
	MaxLife      time.Duration // 0: the longest of the type; more than that is refused
	Now          time.Time     // required
}

// Latest returns the last exp that Prepare takes: Now + MaxLife or the end of
// the grant, whichever is earlier, rounded down to whole seconds.
func (l Limits) Latest() time.Time { return l.latest(TypeAccessToken) }

func (l Limits) latest(typ string) time.Time {
	life := l.MaxLife
	if life == 0 {
		life = lifeOf(typ)
	}
	// Counted from the second that iat shows, so that exp − iat keeps to it.
	last := l.Now.UTC().Truncate(time.Second).Add(life)
	if l.GrantExpires.Before(last) {
		last = l.GrantExpires
	}
	return last.UTC().Truncate(time.Second)
}

// Linted is a set of claims that may be signed. Only Prepare and
// PrepareAssertion make one.
type Linted struct {
	typ     string
	payload []byte
	expires time.Time
	now     time.Time
}

// ExpiresAt returns exp: what to tell the caller, in whole seconds.
func (l Linted) ExpiresAt() time.Time { return l.expires }

// Prepare lints the claims of an access token (RFC 9068). iss, sub, aud,
// client_id, jti, txn and grant_id are required; exp may not be after
// l.Latest(), nor iat or nbf after l.Now. A refusal wraps ErrLint.
func Prepare(c Claims, l Limits) (Linted, error) {
	if !c.GrantExpiresAt.IsZero() {
		return Linted{}, fmt.Errorf("%w: grant_exp is set by assertions alone", ErrLint)
	}
	return prepare(TypeAccessToken, c, l)
}

// PrepareAssertion lints the claims of an assertion for an upstream: at most
// AssertionLife, never past the grant, no client_id, details or act. It adds
// grant_exp. A zero ExpiresAt stands for the latest that is allowed.
func PrepareAssertion(c Claims, l Limits) (Linted, error) {
	if c.ExpiresAt.IsZero() {
		c.ExpiresAt = l.latest(TypeAssertion)
	}
	c.GrantExpiresAt = l.GrantExpires
	return prepare(TypeAssertion, c, l)
}

func prepare(typ string, c Claims, l Limits) (Linted, error) {
	refuse := func(format string, args ...any) (Linted, error) {
		return Linted{}, fmt.Errorf("%w: "+format, append([]any{ErrLint}, args...)...)
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = c.IssuedAt
	}
	switch {
	case l.Now.IsZero() || l.GrantExpires.IsZero():
		return refuse("no clock or no end of the grant to check against")
	case l.MaxLife < 0 || l.MaxLife > lifeOf(typ):
		return refuse("a life of %s, over %s", l.MaxLife, lifeOf(typ))
	case c.IssuedAt.IsZero() || c.IssuedAt.After(l.Now):
		return refuse("iat is missing or in the future")
	case c.NotBefore.After(l.Now):
		return refuse("nbf is in the future")
	case c.ExpiresAt.IsZero():
		return refuse("no exp")
	}
	c.ExpiresAt = c.ExpiresAt.UTC().Truncate(time.Second)
	switch latest := l.latest(typ); {
	case c.ExpiresAt.After(latest):
		return refuse("exp is after %s", latest.Format(time.RFC3339))
	case !c.ExpiresAt.After(l.Now):
		return refuse("%w", ErrTooLate)
	}
	w := wire{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ClientID: c.ClientID, ID: c.ID,
		IssuedAt: seconds(c.IssuedAt), NotBefore: seconds(c.NotBefore), ExpiresAt: seconds(c.ExpiresAt),
		Txn: c.Txn, GrantID: c.GrantID, Details: c.AuthorizationDetails, Act: c.Act,
	}
	if typ == TypeAssertion {
		w.GrantExp = seconds(c.GrantExpiresAt)
	}
	if err := w.check(typ); err != nil {
		return refuse("%w", err)
	}
	payload, err := json.Marshal(w)
	if err != nil {
		return refuse("%w", err)
	}
	if len(payload) > maxPayload {
		return refuse("claims of %d bytes, over %d", len(payload), maxPayload)
	}
	return Linted{typ: typ, payload: payload, expires: c.ExpiresAt, now: l.Now}, nil
}

// Sign signs linted claims with the current key of alg, as a compact JWS
// (RFC 7515 §7.1) with the header fields alg, kid and typ.
func (k *Keyring) Sign(l Linted, alg Algorithm) (Secret, error) {
	if l.payload == nil {
		return Secret{}, fmt.Errorf("signing a token: %w", ErrLint)
	}
	with, err := k.signer(alg, l.now)
	if err != nil {
		return Secret{}, fmt.Errorf("signing a token: %w", err)
	}
	return signPayload(with, l.typ, l.payload)
}

func signPayload(with *key, typ string, payload []byte) (Secret, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(with.alg), Key: jose.JSONWebKey{Key: with.private, KeyID: with.kid}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return Secret{}, fmt.Errorf("signing a token: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return Secret{}, fmt.Errorf("signing a token: %w", err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		return Secret{}, fmt.Errorf("signing a token: %w", err)
	}
	return NewSecret(compact), nil
}
