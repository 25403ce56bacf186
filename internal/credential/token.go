package credential

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math/big"
)

// The prefixes of opaque tokens. They let a scanner of leaked secrets, and a
// person, see what a string is.
const (
	PrincipalToken = "dpat_" // an API token of a principal
	GrantToken     = "dpgt_" // a token of one grant
	GrantCookie    = "dpgc_" // what a browser holds for one grant and one host
	LoginCookie    = "dplc_" // what a browser holds for the login of a person
	LoginToken     = "dplt_" // what a command line holds for the login of a person
	SetupLink      = "dpsl_" // what lets the first admin of a new server in, once
)

const (
	alphabet   = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	tokenBytes = 32
	bodyChars  = 43 // the fewest base62 digits that hold 256 bits
	sumChars   = 6  // the fewest that hold 32
	maxPrefix  = 16
)

// maxBody is 2^256-1 in base62. The alphabet is in the order of its bytes, so
// a body is in range exactly when it does not sort after this.
const maxBody = "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"

// ErrMalformed is what ParseToken says of every string that cannot be a token
// of the wanted kind. It says nothing of the string.
var ErrMalformed = errors.New("not a well-formed token")

// Hash is the SHA-256 of a whole token: what is stored and looked up.
type Hash [sha256.Size]byte

// String returns the hash in lower-case hex. A hash is no secret: 256 random
// bits cannot be guessed from it.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// NewToken returns a new token of the given prefix and its hash: prefix, 43
// base62 digits of 256 random bits (most significant first, zero-padded), and
// the CRC-32/IEEE of both as 6 base62 digits. The prefix is one of the
// constants of this package; one longer than 16 bytes panics.
func NewToken(prefix string) (Secret, Hash) {
	var raw [tokenBytes]byte
	rand.Read(raw[:])
	s := encodeToken(prefix, raw)
	return NewSecret(s), sha256.Sum256([]byte(s))
}

// encodeToken is NewToken without its randomness.
func encodeToken(prefix string, raw [tokenBytes]byte) string {
	if len(prefix) > maxPrefix {
		panic("credential: token prefix too long")
	}
	out := make([]byte, len(prefix)+bodyChars+sumChars)
	copy(out, prefix)
	body := out[len(prefix) : len(prefix)+bodyChars]
	n, base, digit := new(big.Int).SetBytes(raw[:]), big.NewInt(62), new(big.Int)
	for i := bodyChars - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		body[i] = alphabet[digit.Int64()]
	}
	sum := checkDigits(out[:len(prefix)+bodyChars])
	copy(out[len(prefix)+bodyChars:], sum[:])
	return string(out)
}

// ParseToken checks that s has the exact form of a token with this prefix
// (length, alphabet, range, checksum) and returns its hash, by which it is
// looked up. Everything else is ErrMalformed, before any look-up. It does not
// allocate, and reads all of a string of the right length before it answers.
func ParseToken(prefix, s string) (Hash, error) {
	if len(prefix) > maxPrefix || len(s) != len(prefix)+bodyChars+sumChars {
		return Hash{}, ErrMalformed
	}
	var buf [maxPrefix + bodyChars + sumChars]byte
	b := buf[:copy(buf[:], s)]
	bad := byte(0)
	for i := range len(prefix) {
		bad |= b[i] ^ prefix[i]
	}
	for _, c := range b[len(prefix):] {
		bad |= notDigit[c]
	}
	sum := checkDigits(b[:len(b)-sumChars])
	for i, c := range b[len(b)-sumChars:] {
		bad |= c ^ sum[i]
	}
	if bad != 0 || s[len(prefix):len(prefix)+bodyChars] > maxBody {
		return Hash{}, ErrMalformed
	}
	return sha256.Sum256(b), nil
}

// notDigit is 0 for the bytes of the alphabet and 1 for all others.
var notDigit = func() (t [256]byte) {
	for i := range t {
		t[i] = 1
	}
	for _, c := range []byte(alphabet) {
		t[c] = 0
	}
	return t
}()

// checkDigits returns the CRC-32/IEEE of b as 6 base62 digits. The loop is
// spelled out because crc32.ChecksumIEEE makes its argument escape.
func checkDigits(b []byte) (out [sumChars]byte) {
	crc := ^uint32(0)
	for _, c := range b {
		crc = crc32.IEEETable[byte(crc)^c] ^ crc>>8
	}
	crc = ^crc
	for i := sumChars - 1; i >= 0; i-- {
		out[i] = alphabet[crc%62]
		crc /= 62
	}
	return out
}
