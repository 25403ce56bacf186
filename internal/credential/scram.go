package credential

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
)

// Iterations is how often the password is hashed in a verifier. A token has 256
// random bits and needs no stretching; some clients refuse fewer (RFC 7677 §4).
const Iterations = 4096

// Verifier is what a server keeps of a token that is proven by SCRAM-SHA-256
// (RFC 5802 §3, RFC 7677): enough to check a proof, and to prove to the client
// that it does, but not the token.
type Verifier struct {
	Token     Hash // of the token that it belongs to
	StoredKey [sha256.Size]byte
	ServerKey [sha256.Size]byte
}

// SaltOf is the salt of all verifiers of a grant: a server that has to name the
// salt before it knows which of the grant's tokens a client holds can do so.
// It is not secret and needs only to differ between grants.
func SaltOf(grant string) []byte {
	sum := sha256.Sum256([]byte("daypass scram-sha-256 salt\x00" + grant))
	return sum[:16]
}

// NewVerifier derives the verifier of a token of a grant. It takes about a
// millisecond.
func NewVerifier(token Secret, grant string) (Verifier, error) {
	text := token.Reveal()
	salted, err := pbkdf2.Key(sha256.New, text, SaltOf(grant), Iterations, sha256.Size)
	if err != nil {
		return Verifier{}, fmt.Errorf("deriving a verifier: %w", err)
	}
	client := mac(salted, "Client Key")
	return Verifier{Token: sha256.Sum256([]byte(text)), StoredKey: sha256.Sum256(client[:]), ServerKey: mac(salted, "Server Key")}, nil
}

// Proves reports whether proof, of a client's last message, was made with the
// token of v over authMessage (RFC 5802 §3).
func (v Verifier) Proves(authMessage string, proof []byte) bool {
	if len(proof) != sha256.Size {
		return false
	}
	key := mac(v.StoredKey[:], authMessage)
	for i := range key {
		key[i] ^= proof[i]
	}
	stored := sha256.Sum256(key[:])
	return subtle.ConstantTimeCompare(stored[:], v.StoredKey[:]) == 1
}

// Signature is what shows the client that the server knows v.
func (v Verifier) Signature(authMessage string) []byte {
	sum := mac(v.ServerKey[:], authMessage)
	return sum[:]
}

func mac(key []byte, text string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	h.Sum(sum[:0])
	return sum
}
