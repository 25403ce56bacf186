package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The types of JWT that Daypass signs (JWS header "typ"). A token of one type
// is never accepted as the other.
const (
	TypeAccessToken = "at+jwt"                // RFC 9068: a grant's credential
	TypeAssertion   = "daypass-assertion+jwt" // what a gateway tells an upstream
)

// Claims is what a JWT says. Times are whole seconds on the wire.
type Claims struct {
	Issuer    string    // iss
	Subject   string    // sub: the principal
	Audience  string    // aud: exactly one resource
	ID        string    // jti
	IssuedAt  time.Time // iat
	NotBefore time.Time // nbf; zero: IssuedAt
	ExpiresAt time.Time // exp, rounded down to whole seconds
	Txn       string    // txn: the request
	GrantID   string    // grant_id

	// Of an access token alone.
	ClientID             string            // client_id
	AuthorizationDetails []json.RawMessage // authorization_details (RFC 9396): objects with a type
	Act                  *Actor            // act (RFC 8693 §4.1); nil: the subject acts itself

	// Of an assertion alone; PrepareAssertion fills it in.
	GrantExpiresAt time.Time // grant_exp, rounded down to whole seconds
}

// Actor is who acts for the subject, and for whom that one acts in turn.
type Actor struct {
	Subject string `json:"sub"`
	Act     *Actor `json:"act,omitempty"`
}

// wire is Claims as JSON.
type wire struct {
	Issuer    string            `json:"iss"`
	Subject   string            `json:"sub"`
	Audience  string            `json:"aud"`
	ClientID  string            `json:"client_id,omitempty"`
	ID        string            `json:"jti"`
	IssuedAt  int64             `json:"iat"`
	NotBefore int64             `json:"nbf"`
	ExpiresAt int64             `json:"exp"`
	Txn       string            `json:"txn"`
	GrantID   string            `json:"grant_id"`
	GrantExp  int64             `json:"grant_exp,omitempty"`
	Details   []json.RawMessage `json:"authorization_details,omitempty"`
	Act       *Actor            `json:"act,omitempty"`
}

// maxActors caps the length of an act chain.
const maxActors = 8

// seconds rounds an instant down to whole seconds, before 1970 too.
func seconds(t time.Time) int64 { return t.Unix() }

// check refuses claims that no token of this type may carry. It is the rule
// for what is signed and, alike, for what is accepted.
func (w *wire) check(typ string) error {
	for _, c := range []struct{ name, value string }{
		{"iss", w.Issuer}, {"sub", w.Subject}, {"aud", w.Audience}, {"jti", w.ID}, {"txn", w.Txn}, {"grant_id", w.GrantID},
	} {
		if c.value == "" {
			return fmt.Errorf("no %s", c.name)
		}
	}
	switch {
	case w.IssuedAt <= 0 || w.ExpiresAt <= w.IssuedAt:
		return errors.New("exp is not after iat")
	case w.NotBefore < w.IssuedAt || w.NotBefore >= w.ExpiresAt:
		return errors.New("nbf is not between iat and exp")
	case w.ExpiresAt-w.IssuedAt > int64(lifeOf(typ)/time.Second):
		return errors.New("exp is too long after iat")
	}
	switch typ {
	case TypeAccessToken:
		if w.ClientID == "" {
			return errors.New("no client_id")
		}
		if w.GrantExp != 0 {
			return errors.New("grant_exp is not a claim of an access token")
		}
	case TypeAssertion:
		if w.ClientID != "" || w.Details != nil || w.Act != nil {
			return errors.New("an assertion carries no client_id, authorization_details or act")
		}
		if w.GrantExp < w.ExpiresAt {
			return errors.New("exp is after grant_exp")
		}
	default:
		return fmt.Errorf("unknown type %q", typ)
	}
	for i, d := range w.Details {
		var detail map[string]json.RawMessage
		var kind string
		if json.Unmarshal(d, &detail) != nil || json.Unmarshal(detail["type"], &kind) != nil || kind == "" {
			return fmt.Errorf("authorization_details[%d] is no object with a type", i)
		}
	}
	actors := 0
	for a := w.Act; a != nil; a = a.Act {
		if actors++; a.Subject == "" || actors > maxActors {
			return errors.New("act has an empty sub or is too deep")
		}
	}
	return nil
}

// lifeOf is the longest life of a token of this type.
func lifeOf(typ string) time.Duration {
	if typ == TypeAssertion {
		return AssertionLife
	}
	return MaxLife
}

// claims returns the Go form.
func (w *wire) claims() *Claims {
	c := &Claims{
		Issuer: w.Issuer, Subject: w.Subject, Audience: w.Audience, ID: w.ID,
		IssuedAt: time.Unix(w.IssuedAt, 0).UTC(), NotBefore: time.Unix(w.NotBefore, 0).UTC(), ExpiresAt: time.Unix(w.ExpiresAt, 0).UTC(),
		Txn: w.Txn, GrantID: w.GrantID, ClientID: w.ClientID, AuthorizationDetails: w.Details, Act: w.Act,
	}
	if w.GrantExp != 0 {
		c.GrantExpiresAt = time.Unix(w.GrantExp, 0).UTC()
	}
	return c
}
