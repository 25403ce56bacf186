package live

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
)

// name is an ID without its prefix: the 128 bits that its 26 characters stand
// for. Of an ID of any other shape it is a hash, and whoever keeps it keeps the
// ID itself too.
type name [16]byte

const nameChars = 26

var nameEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// nameOf takes an ID apart. odd is the whole of an ID that is not a prefix, "_"
// and the one way to write 128 bits; "" otherwise.
func nameOf(id string) (n name, prefix, odd string) {
	if at := len(id) - nameChars; at > 0 && id[at-1] == '_' {
		_, err := nameEncoding.Decode(n[:], []byte(id[at:]))
		if text := n.text(); err == nil && string(text[:]) == id[at:] && n != (name{}) {
			return n, id[:at-1], ""
		}
	}
	return hashName(id), "", id
}

func hashName(id string) name {
	if id == "" {
		return name{}
	}
	sum := sha256.Sum256([]byte(id))
	return name(sum[:16])
}

// nameWith is nameOf for IDs that ought to have this prefix.
func nameWith(prefix, id string) (n name, odd string) {
	n, got, odd := nameOf(id)
	if odd == "" && got != prefix {
		return hashName(id), id
	}
	return n, odd
}

func (n *name) text() (text [nameChars]byte) {
	nameEncoding.Encode(text[:], n[:])
	return text
}

// id puts an ID together again.
func (n *name) id(prefix, odd string) string {
	if odd != "" || *n == (name{}) {
		return odd
	}
	text := n.text()
	return prefix + "_" + string(text[:])
}

func (n *name) key() uint64 {
	return mix(binary.LittleEndian.Uint64(n[:8]) ^ mix(binary.LittleEndian.Uint64(n[8:])))
}
