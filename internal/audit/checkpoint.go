package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/daypass/daypass/api"
)

// maxCheckpoint is the longest signed checkpoint that is read, in bytes; room
// for many cosignatures of witnesses.
const maxCheckpoint = 16 << 10

// Checkpoint is a signed statement of what the log was at a time.
type Checkpoint struct {
	Origin string // the log
	Head   Head
	Root   tlog.Hash
	Time   time.Time // when it was signed, by the signer's clock; UTC, milliseconds
	Key    string    // name of the key that signed it
	Note   []byte    // the signed note itself
}

// NewSigner makes an Ed25519 key for signed notes, in the encodings of the
// C2SP signed-note format. skey is secret; vkey is what verifiers are given.
// The name must be one word, such as the server's host name.
func NewSigner(name string, rand io.Reader) (skey, vkey string, err error) {
	if !isKeyName(name) {
		return "", "", fmt.Errorf("audit: %q cannot name a key: no spaces, no plus", clip(name))
	}
	return note.GenerateKey(rand, name)
}

// ParseSigner returns the signer of an skey.
func ParseSigner(skey string) (note.Signer, error) {
	s, err := note.NewSigner(skey)
	if err != nil {
		return nil, fmt.Errorf("reading the audit signing key: %w", err) // never quotes the key
	}
	return s, nil
}

// ParseVerifier returns the verifier of a vkey, which must be in its one
// canonical spelling.
func ParseVerifier(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("reading the audit verifier key: %w", err)
	}
	name, rest, _ := strings.Cut(vkey, "+")
	if hash, _, _ := strings.Cut(rest, "+"); name != v.Name() || hash != fmt.Sprintf("%08x", v.KeyHash()) || strings.ContainsAny(vkey, "\r\n") {
		return nil, errors.New("reading the audit verifier key: not in the canonical form")
	}
	return v, nil
}

// SignCheckpoint signs the log at h: a C2SP tlog-checkpoint (origin, size in
// leaves, root) with two extension lines, "seq" and "time". The origin names
// this log among all logs; by convention it is the key's name.
func SignCheckpoint(origin string, h Head, root tlog.Hash, s note.Signer, now time.Time) ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	if !isKeyName(origin) {
		return nil, fmt.Errorf("audit: %q cannot be the origin of a log: no spaces, no plus", clip(origin))
	}
	text := checkpointText(origin, h, root, now)
	signed, err := note.Sign(&note.Note{Text: text}, s)
	if err != nil {
		return nil, fmt.Errorf("signing the audit checkpoint: %w", err)
	}
	return signed, nil
}

func checkpointText(origin string, h Head, root tlog.Hash, at time.Time) string {
	return fmt.Sprintf("%s\n%d\n%s\nseq %d\ntime %s\n", origin, h.Leaves, root, h.Seq, api.TimeOf(at))
}

// OpenCheckpoint checks a signed checkpoint against the verifier keys that are
// trusted. It is strict: exactly the five lines of SignCheckpoint, each signature by
// a trusted key valid and spelt canonically. Signatures by unknown keys
// (witnesses) may follow and are ignored, as C2SP says.
func OpenCheckpoint(b []byte, vkeys ...string) (*Checkpoint, error) {
	if len(b) > maxCheckpoint {
		return nil, fmt.Errorf("audit: a checkpoint is at most %d bytes long", maxCheckpoint)
	}
	verifiers := make([]note.Verifier, 0, len(vkeys))
	seen := map[string]bool{}
	for _, vkey := range vkeys {
		v, err := ParseVerifier(vkey)
		if err != nil {
			return nil, err
		}
		if !seen[vkey] {
			verifiers = append(verifiers, v)
		}
		seen[vkey] = true
	}
	n, err := note.Open(b, note.VerifierList(verifiers...))
	if err != nil {
		return nil, fmt.Errorf("opening the audit checkpoint: %w", err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 6 {
		return nil, errors.New("opening the audit checkpoint: not origin, size, root, seq and time")
	}
	c := &Checkpoint{Origin: lines[0], Key: n.Sigs[0].Name, Note: bytes.Clone(b)}
	var errs [4]error
	c.Head.Leaves, errs[0] = strconv.ParseInt(lines[1], 10, 64)
	c.Root, errs[1] = tlog.ParseHash(lines[2])
	c.Head.Seq, errs[2] = strconv.ParseInt(strings.TrimPrefix(lines[3], "seq "), 10, 64)
	c.Time, errs[3] = time.Parse(time.RFC3339Nano, strings.TrimPrefix(lines[4], "time "))
	c.Time = api.TimeOf(c.Time).Time
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("opening the audit checkpoint: %w", err)
	}
	if err := c.Head.check(); err != nil {
		return nil, fmt.Errorf("opening the audit checkpoint: %w", err)
	}
	if !isKeyName(c.Origin) || checkpointText(c.Origin, c.Head, c.Root, c.Time) != n.Text {
		return nil, errors.New("opening the audit checkpoint: not in the canonical form")
	}
	// note.Open takes a signature in any spelling of its base64 and skips
	// repeated ones unseen.
	count := bytes.Count(b[len(n.Text)+1:], []byte("\n"))
	if count != len(n.Sigs)+len(n.UnverifiedSigs) {
		return nil, errors.New("opening the audit checkpoint: a signature is repeated")
	}
	for _, s := range n.Sigs {
		if !canonicalBase64(s.Base64) {
			return nil, errors.New("opening the audit checkpoint: a signature is not in the canonical form")
		}
	}
	return c, nil
}

func isKeyName(s string) bool {
	return s != "" && len(s) <= 255 && strings.IndexFunc(s, func(r rune) bool {
		return r == '+' || r == unicode.ReplacementChar || unicode.IsSpace(r) || unicode.IsControl(r)
	}) < 0
}
