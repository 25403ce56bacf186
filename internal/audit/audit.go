// Package audit is the tamper-evident record as mathematics: how an entry
// becomes bytes (injectively), how bytes become leaves of a Merkle tree
// (RFC 6962 hashes, C2SP formats), how the tree is signed, proved and verified,
// and how an entry looks in other people's schemas (OCSF).
//
// It is pure. It refuses I/O other than through a reader that it is given,
// clocks (now is a parameter) and randomness (a reader is a parameter); it
// refuses to encode what it could not decode again, and to verify leniently:
// what is not exactly as this package writes it counts as changed.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Sizes in bytes. A longer value is cut, never refused, so that a hostile
// caller cannot keep itself out of the record; see Cut.
const (
	MaxField   = 1 << 10  // of a fixed text field such as Resource, in its JSON form
	MaxValue   = 16 << 10 // of one string in Details, and of Scope, in its JSON form
	MaxDetails = 24 << 10 // of Details as a whole, in its JSON form
	MaxEntry   = 64 << 10 // of an encoded entry; the above keep below it
	MaxKey     = 1 << 10  // of a key in Details: longer ones are an error

	fieldHead = 256     // what a cut field keeps, in bytes of text
	valueHead = 1 << 10 // what a cut string in Details keeps, in bytes of text
	maxDepth  = 32      // of nesting in Details and Scope
	maxSeq    = 1<<53 - 1
)

// Anonymous is the actor of an entry about someone who did not authenticate.
// An entry without an actor is an error (A33: the actor comes from the
// authenticated context; where there is none the entry says so).
const Anonymous = "anonymous"

// Outcomes of an act.
const (
	Allowed = "allowed"
	Denied  = "denied"
	Failed  = "failed"
)

// Entry is one line of the record. Two entries that differ in any field other
// than Principal have different bytes (A32), where nil and empty Details,
// nil and null Scope, and numbers of the same value count as equal, and Time
// counts in whole milliseconds.
type Entry struct {
	ID         string    // evt_…
	Seq        int64     // from 1 without a gap; assigned by Append
	Time       time.Time // UTC, whole milliseconds
	Type       string    // one of Types
	Actor      string    // who acted: user:ana, system:policy, Anonymous
	OnBehalfOf string    // "" is null, also in the four below
	Request    string
	Grant      string
	Session    string
	Resource   string
	Principal  string // whose access it is about: an index column, not in the bytes
	Scope      json.RawMessage
	Outcome    string // Allowed, Denied or Failed
	Reason     Text
	Source     Source
	// Details holds strings, numbers, booleans, nil, times, and slices and
	// string-keyed maps of these. Integers beyond ±(2⁵³-1) are an error (write
	// them as strings), and so are []byte and structs: nothing gets into the
	// record by reflection alone.
	Details map[string]any
	// Statement stands for Details in an entry of a statement; nil in all others,
	// and in what DecodeEntry returns.
	Statement *Statement
	// Cuts names the fields whose text was too long to keep: "actor",
	// "resource", "scope", "details" …; the field itself is then empty. Encode
	// cuts by itself; only DecodeEntry fills Cuts.
	Cuts map[string]Cut
}

// Source says where an act came from.
type Source struct {
	IP      string // of the client, "" when there is none
	Channel string // api, console, cli, gateway:http, …
}

// Text refers to personal text that lies beside the log, so that the text can
// be erased and every proof still holds.
type Text struct {
	Digest string // "sha256:" and 64 hex digits; "" is no text
}

// NewText returns the reference to text. The salt must be random and be erased
// together with the text: without it the digest tells nothing about a text
// that could be guessed.
func NewText(salt [16]byte, text string) Text {
	h := sha256.New()
	h.Write([]byte("daypass-text v1\x00"))
	h.Write(salt[:])
	h.Write([]byte(text))
	return Text{Digest: "sha256:" + hex.EncodeToString(h.Sum(nil))}
}

// Cut stands for a value that was too long to keep whole.
type Cut struct {
	Head   string // the beginning, made valid UTF-8
	Length int64  // of the whole, in bytes
	SHA256 string // of the whole, 64 hex digits
}

// cutText returns what stands for the text s when it is too long, keeping at
// most head bytes of it.
func cutText(s string, head int) Cut {
	sum := sha256.Sum256([]byte(s))
	return Cut{Head: validHead(s, head), Length: int64(len(s)), SHA256: hex.EncodeToString(sum[:])}
}

// An EntryError says which field of an entry cannot be encoded or decoded.
type EntryError struct {
	Field string
	What  string
}

func (e *EntryError) Error() string { return fmt.Sprintf("audit entry: %s: %s", e.Field, e.What) }

func bad(field, format string, args ...any) error {
	return &EntryError{Field: field, What: fmt.Sprintf(format, args...)}
}
