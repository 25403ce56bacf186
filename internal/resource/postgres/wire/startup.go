package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxStartup is the longest first packet (MAX_STARTUP_PACKET_LENGTH).
const maxStartup = 10_000

// Codes in the place of a protocol version: what a first packet is.
const (
	codeCancel  = 1234<<16 | 5678
	codeSSL     = 1234<<16 | 5679
	codeGSSENC  = 1234<<16 | 5680
	tlsRecord   = 0x16 // the first byte of TLS, where a length of ours would begin with 0
	maxCancel   = 256  // the longest key of protocol 3.2
	shortCancel = 4    // and the only length of 3.0
)

// Request is what a first packet asks for.
type Request int

// What a first packet can ask for.
const (
	AskSession    Request = iota // a StartupMessage
	AskTLS                       // an SSLRequest: answer 'S' and begin TLS, or 'N'
	AskEncryption                // a GSSENCRequest: answer 'N'
	AskCancel                    // a CancelRequest: answer nothing
)

// Version is a version of the protocol: the major version in the upper half.
type Version uint32

// Versions that are spoken here.
const (
	Version30 Version = 3 << 16
	Version32 Version = 3<<16 | 2 // cancel keys may be longer
)

// KeySize is the length of a cancel key in v, in bytes.
func (v Version) KeySize() int {
	if v >= Version32 {
		return 32
	}
	return shortCancel
}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v>>16, v&0xffff) }

// First is the first packet of a connection.
type First struct {
	Request Request

	Version Version // that the client asked for
	names   []string
	values  []string

	Process uint32 // of a cancel request
	Key     []byte
}

// IsTLS reports whether a connection whose first byte is b begins with TLS
// itself, without an SSLRequest (PostgreSQL 17).
func IsTLS(b byte) bool { return b == tlsRecord }

// ReadFirst reads the first packet of a connection, or the one after an
// SSLRequest, and not a byte beyond it: what follows an SSLRequest in clear must
// not be taken for something that came within TLS (CVE-2021-23222).
func ReadFirst(r io.Reader) (First, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return First{}, fmt.Errorf("reading the first packet: %w", err)
	}
	length := binary.BigEndian.Uint32(size[:])
	if length < 8 || length > maxStartup {
		return First{}, violation("invalid length of startup packet")
	}
	packet := make([]byte, length-4)
	if _, err := io.ReadFull(r, packet); err != nil {
		return First{}, fmt.Errorf("reading the first packet: %w", err)
	}
	return ParseFirst(packet)
}

// ParseFirst reads the first packet of a connection, without its length.
func ParseFirst(packet []byte) (First, error) {
	if len(packet) < 4 {
		return First{}, violation("invalid length of startup packet")
	}
	code, rest := binary.BigEndian.Uint32(packet), packet[4:]
	switch {
	case code == codeSSL || code == codeGSSENC:
		if len(rest) > 0 {
			return First{}, violation("invalid length of startup packet")
		}
		if code == codeSSL {
			return First{Request: AskTLS}, nil
		}
		return First{Request: AskEncryption}, nil
	case code == codeCancel:
		if n := len(rest) - 4; n < shortCancel || n > maxCancel {
			return First{}, violation("invalid length of a cancel request")
		}
		return First{Request: AskCancel, Process: binary.BigEndian.Uint32(rest), Key: rest[4:]}, nil
	case code>>16 != 3:
		return First{}, fatal(CodeFeature, "protocol version %s is not supported; this server speaks 3.0 to 3.2", Version(code))
	}
	return parseStartup(Version(code), rest)
}

// parseStartup reads the parameters: pairs of strings, and an empty one.
func parseStartup(v Version, rest []byte) (First, error) {
	f := First{Request: AskSession, Version: v}
	seen := map[string]bool{}
	for {
		name, after, ok := cutString(rest)
		if !ok {
			return First{}, violation("invalid startup packet layout: expected a terminator as the last byte")
		}
		if rest = after; name == "" {
			break
		}
		value, after, ok := cutString(rest)
		if !ok {
			return First{}, violation("invalid startup packet layout: parameter %q has no value", name)
		}
		if rest = after; !utf8.ValidString(name) || !utf8.ValidString(value) {
			return First{}, violation("startup parameters must be UTF-8")
		}
		// PostgreSQL takes the last of two; others take the first. Refused,
		// they cannot be read in two ways.
		if folded := fold(name); seen[folded] {
			return First{}, violation("startup parameter %q is given twice", name)
		} else {
			seen[folded] = true
		}
		f.names, f.values = append(f.names, name), append(f.values, value)
	}
	if len(rest) > 0 {
		return First{}, violation("invalid startup packet layout: bytes after the terminator")
	}
	return f, nil
}

// cutString takes a string that ends with a zero byte off b.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", nil, false
	}
	return string(b[:i]), b[i+1:], true
}
