// Package credential makes and checks what proves a grant: opaque tokens, the
// IDs beside them, signed JWTs and the keys that sign those. A JWT is composed,
// linted, then signed, and only what was linted can be signed: Sign takes no
// other type.
//
// It refuses to look anything up: whether a well-formed token is live, and
// whether a JWT's grant still stands, is asked elsewhere. It refuses to print a
// secret, to sign past the end of a grant, and to load a key that others on
// the machine can read.
package credential

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// idBytes is the randomness of an ID; idChars is its length as base32.
const (
	idBytes = 16
	idChars = 26
)

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID returns prefix, "_" and 26 characters of lower-case base32 (RFC 4648
// §6, unpadded) of 128 random bits: NewID("req") is such as
// "req_5zkmnbq3yx7f2tq4c6h2dwa7vi". An ID is no secret.
func NewID(prefix string) string {
	var raw [idBytes]byte
	rand.Read(raw[:]) // never fails since Go 1.24: it ends the process instead
	return prefix + "_" + idEncoding.EncodeToString(raw[:])
}

// NewIDAt is NewID for what is stored in great numbers: the first 48 of the 128
// bits are the milliseconds of now, which 80 random bits follow. What is made
// together then stands together in every index that is keyed by it, and a
// commit changes one page of each and not one for every row. The time is told
// beside such an ID wherever that is shown.
func NewIDAt(prefix string, now time.Time) string {
	var raw [8 + randomBytes]byte
	binary.BigEndian.PutUint64(raw[:], uint64(now.UnixMilli()))
	rand.Read(raw[8:])
	return prefix + "_" + idEncoding.EncodeToString(raw[2:])
}

// IDs makes IDs like those of NewIDAt for one goroutine that makes thousands a
// second: it asks for randomness once for many. The zero value is ready.
type IDs struct {
	random [64 * randomBytes]byte
	left   int
}

const randomBytes = idBytes - 6 // behind the time

// At is NewIDAt.
func (m *IDs) At(prefix string, now time.Time) string {
	if m.left == 0 {
		rand.Read(m.random[:])
		m.left = len(m.random)
	}
	var raw [8 + randomBytes]byte
	binary.BigEndian.PutUint64(raw[:], uint64(now.UnixMilli()))
	m.left -= copy(raw[8:], m.random[m.left-randomBytes:m.left])
	out := make([]byte, 0, len(prefix)+1+idChars)
	return string(idEncoding.AppendEncode(append(append(out, prefix...), '_'), raw[2:]))
}

// ValidID reports whether s is what NewID(prefix) or NewIDAt can return: the
// spelling is unique, so the two spare bits of the last character must be zero.
func ValidID(prefix, s string) bool {
	if len(s) != len(prefix)+1+idChars || s[:len(prefix)] != prefix || s[len(prefix)] != '_' {
		return false
	}
	body := s[len(prefix)+1:]
	for i := range len(body) {
		if idDigit(body[i]) < 0 {
			return false
		}
	}
	return idDigit(body[idChars-1])&3 == 0
}

// idDigit returns the value of one base32 character, -1 for any other byte.
func idDigit(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return int(c - 'a')
	case '2' <= c && c <= '7':
		return int(c-'2') + 26
	}
	return -1
}
