package live

import (
	"crypto/sha256"
	"encoding/binary"
)

// name is an ID without its prefix: the 128 bits that its 26 characters stand
// for. Of an ID of any other shape it is a hash, and whoever keeps it keeps the
// ID itself too.
type name [16]byte

const nameChars = 26

const nameAlphabet = "abcdefghijklmnopqrstuvwxyz234567" // RFC 4648, in small letters

// nameOf takes an ID apart. odd is the whole of an ID that is not a prefix, "_"
// and the one way to write 128 bits; "" otherwise.
func nameOf(id string) (n name, prefix, odd string) {
	if at := len(id) - nameChars; at > 0 && id[at-1] == '_' {
		if n, ok := parseName(id[at:]); ok && n != (name{}) {
			return n, id[:at-1], ""
		}
	}
	return hashName(id), "", id
}

// parseName reads the 26 characters: 25 of five bits, one of three.
func parseName(text string) (n name, ok bool) {
	var hi, lo uint64
	for i := range nameChars {
		var v uint64
		switch c := text[i]; {
		case 'a' <= c && c <= 'z':
			v = uint64(c - 'a')
		case '2' <= c && c <= '7':
			v = uint64(c-'2') + 26
		default:
			return name{}, false
		}
		if i < nameChars-1 {
			hi, lo = hi<<5|lo>>59, lo<<5|v
			continue
		}
		if v&3 != 0 { // another way to write the same
			return name{}, false
		}
		hi, lo = hi<<3|lo>>61, lo<<3|v>>2
	}
	binary.BigEndian.PutUint64(n[:8], hi)
	binary.BigEndian.PutUint64(n[8:], lo)
	return n, true
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
	hi, lo := binary.BigEndian.Uint64(n[:8]), binary.BigEndian.Uint64(n[8:])
	text[nameChars-1] = nameAlphabet[lo<<2&31]
	hi, lo = hi>>3, lo>>3|hi<<61
	for i := nameChars - 2; i >= 0; i-- {
		text[i] = nameAlphabet[lo&31]
		hi, lo = hi>>5, lo>>5|hi<<59
	}
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
