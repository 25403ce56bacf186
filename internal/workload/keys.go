package workload

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/daypass/daypass/internal/config"
)

const (
	maxKeySet = 256 << 10 // bytes
	maxKeys   = 64
	minRSA    = 2048 // bits (RFC 7518 §3.3)
	maxRSA    = 8192 // a larger one costs seconds to check
)

// key is one public key of an issuer.
type key struct {
	public any
	alg    string // the one that the set names; "" for any that fits
}

// source gives the keys of an issuer by their kid.
type source interface {
	key(ctx context.Context, kid string, now time.Time) (key, error)
}

var errUnknownKid = refuse("unknown kid")

// open returns the source that a configuration names.
func open(j config.JWKS, log *slog.Logger) (source, error) {
	if j.File == "" {
		return newFetched(j, log)
	}
	return readKeys(j.File)
}

// pinned are keys of a file: nothing is fetched, and they change with it at the
// next start.
type pinned map[string]key

func (p pinned) key(_ context.Context, kid string, _ time.Time) (key, error) {
	if k, ok := p[kid]; ok {
		return k, nil
	}
	return key{}, errUnknownKid
}

func readKeys(file string) (pinned, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	raw, err := io.ReadAll(io.LimitReader(f, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	keys, skipped, err := parseKeys(raw)
	if err == nil && skipped != nil {
		err = skipped // a person wrote this file: all of it is meant
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// parseKeys reads a JWK Set (RFC 7517 §5). Keys that cannot be used here are
// left out, and skipped says why of one of them; a set without any that can is
// an error, and so is one in which two keys have one name.
func parseKeys(raw []byte) (keys pinned, skipped, err error) {
	if len(raw) > maxKeySet {
		return nil, nil, fmt.Errorf("is longer than %d KiB", maxKeySet>>10)
	}
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, nil, errors.New(`is no JWK Set: {"keys": […]}`)
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("has more than %d keys", maxKeys)
	}
	keys = pinned{}
	for _, one := range set.Keys {
		kid, k, err := parseKey(one)
		if err != nil {
			skipped = err
			continue
		}
		if _, twice := keys[kid]; twice {
			return nil, nil, errors.New("has two keys of one kid")
		}
		keys[kid] = k
	}
	if len(keys) == 0 {
		return nil, nil, errors.Join(errors.New("has no key that can be used"), skipped)
	}
	return keys, skipped, nil
}

func parseKey(raw jsontext.Value) (kid string, k key, err error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return "", key{}, errors.New("has a key that cannot be read")
	}
	switch {
	case jwk.KeyID == "":
		return "", key{}, errors.New("has a key without kid")
	case !jwk.Valid() || !jwk.IsPublic():
		return "", key{}, errors.New("has a key that is no public key")
	case jwk.Use != "" && jwk.Use != "sig":
		return "", key{}, errors.New("has a key that is not for signatures")
	}
	k = key{public: jwk.Key, alg: jwk.Algorithm}
	if rsaKey, ok := jwk.Key.(*rsa.PublicKey); ok && (rsaKey.N.BitLen() < minRSA || rsaKey.N.BitLen() > maxRSA) {
		return "", key{}, fmt.Errorf("has an RSA key of %d bits", rsaKey.N.BitLen())
	}
	return jwk.KeyID, k, nil
}

// signs reports whether k is a key for alg: of its type and curve, and the one
// algorithm that the set gave it, where it did.
func (k key) signs(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return len(alg) == 5 && (alg[:2] == "RS" || alg[:2] == "PS")
	case *ecdsa.PublicKey:
		switch alg {
		case "ES256":
			return public.Curve == elliptic.P256()
		case "ES384":
			return public.Curve == elliptic.P384()
		case "ES512":
			return public.Curve == elliptic.P521()
		}
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}
