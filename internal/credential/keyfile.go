package credential

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Algorithm is how a JWT is signed (RFC 7518 §3.1). A key has exactly one.
type Algorithm string

// The algorithms that Daypass signs with and accepts.
const (
	ES256 Algorithm = "ES256" // ECDSA, P-256, SHA-256
	RS256 Algorithm = "RS256" // RSASSA-PKCS1-v1_5, SHA-256, 2048 bits
)

const (
	rsaBits    = 2048
	maxRSABits = 8192
)

// key is one signing key, or, once retired, the public half of one.
type key struct {
	kid     string // RFC 7638 thumbprint of the public half
	alg     Algorithm
	created time.Time
	retired time.Time     // zero: current
	private crypto.Signer // nil once retired: nothing more can be signed
	public  crypto.PublicKey
}

// keyFile is a key as its file holds it.
type keyFile struct {
	Version int        `json:"version"`
	KID     string     `json:"kid"`
	Alg     Algorithm  `json:"alg"`
	Created time.Time  `json:"created_at"`
	Retired *time.Time `json:"retired_at,omitempty"`
	Private string     `json:"private,omitempty"` // PKCS #8, base64
	Public  string     `json:"public,omitempty"`  // PKIX, base64, of a retired key
}

const (
	keyFilePrefix = "jwt-"
	keyFileSuffix = ".json"
)

func (k *key) fileName() string { return keyFilePrefix + k.kid + keyFileSuffix }

// newKey makes a key. RSA takes some 100 ms, ECDSA some microseconds.
func newKey(alg Algorithm, created time.Time) (*key, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("making a signing key: unknown algorithm %q", string(alg))
	}
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	kid, err := thumbprint(private.Public())
	if err != nil {
		return nil, err
	}
	return &key{kid: kid, alg: alg, created: created, private: private, public: private.Public()}, nil
}

// thumbprint returns the kid of a public key (RFC 7638), base64url.
func thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("naming a signing key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// encode returns the content of the key's file; a retired key's has no private
// half, so that what is on disk can sign nothing any more.
func (k *key) encode() ([]byte, error) {
	f := keyFile{Version: 1, KID: k.kid, Alg: k.alg, Created: k.created}
	var der []byte
	var err error
	if k.retired.IsZero() {
		der, err = x509.MarshalPKCS8PrivateKey(k.private)
		f.Private = base64.StdEncoding.EncodeToString(der)
	} else {
		f.Retired = &k.retired
		der, err = x509.MarshalPKIXPublicKey(k.public)
		f.Public = base64.StdEncoding.EncodeToString(der)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding a signing key: %w", err)
	}
	return json.MarshalIndent(f, "", "  ")
}

var errKeyFile = errors.New("not a signing key of Daypass")

// decodeKey is the inverse of encode. Errors say nothing of the content.
func decodeKey(b []byte) (*key, error) {
	var f keyFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if dec.Decode(&f) != nil || dec.More() || f.Version != 1 || f.Created.IsZero() {
		return nil, errKeyFile
	}
	k := &key{kid: f.KID, alg: f.Alg, created: f.Created.UTC()}
	switch {
	case f.Retired == nil && f.Private != "" && f.Public == "":
		der, err := base64.StdEncoding.DecodeString(f.Private)
		if err != nil {
			return nil, errKeyFile
		}
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return nil, errKeyFile
		}
		signer, ok := parsed.(crypto.Signer)
		if !ok {
			return nil, errKeyFile
		}
		k.private, k.public = signer, signer.Public()
	case f.Retired != nil && !f.Retired.IsZero() && f.Private == "" && f.Public != "":
		der, err := base64.StdEncoding.DecodeString(f.Public)
		if err != nil {
			return nil, errKeyFile
		}
		if k.public, err = x509.ParsePKIXPublicKey(der); err != nil {
			return nil, errKeyFile
		}
		k.retired = f.Retired.UTC()
	default:
		return nil, errKeyFile
	}
	if !fits(k.alg, k.public) {
		return nil, errKeyFile
	}
	if kid, err := thumbprint(k.public); err != nil || kid != k.kid {
		return nil, errKeyFile
	}
	return k, nil
}

// fits reports whether a public key is one for the algorithm, of a size that
// is neither too weak nor meant to burn time.
func fits(alg Algorithm, public crypto.PublicKey) bool {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		return alg == ES256 && p.Curve == elliptic.P256()
	case *rsa.PublicKey:
		return alg == RS256 && p.N.BitLen() >= rsaBits && p.N.BitLen() <= maxRSABits
	}
	return false
}
