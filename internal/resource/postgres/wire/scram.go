package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/daypass/daypass/internal/credential"
)

// Names of the mechanisms (RFC 7677 §3).
const (
	ScramPlain = "SCRAM-SHA-256"
	ScramPlus  = "SCRAM-SHA-256-PLUS" // bound to the certificate that the client saw
)

const bindingType = "tls-server-end-point" // RFC 5929 §4

// ErrProof is why a login fails whose proof is of none of the verifiers, or that
// has no verifier because its user is unknown: the two cannot be told apart.
var ErrProof = errors.New("the proof is not of a token that is good here")

// Scram is one exchange of SCRAM-SHA-256, of the server's side (RFC 5802 §5).
// All verifiers of a grant share a salt, so that a client can be answered before
// it is known which of the grant's tokens it holds.
type Scram struct {
	salt      []byte
	verifiers []credential.Verifier
	binding   []byte // nil: the PLUS mechanism is not offered

	gs2    string // the header of the client's first message
	plus   bool
	bare   string // what of it is authenticated
	nonce  string // of both sides
	server string // our first message
	step   int
}

// NewScram begins an exchange with a client that names a grant with salt and
// verifiers. Without verifiers it goes on as if there were some, and fails at its
// end; the salt is then a MockSalt. A binding is what Binding returned for the
// certificate of the connection, nil for one without TLS.
func NewScram(salt []byte, verifiers []credential.Verifier, binding []byte) *Scram {
	return &Scram{salt: salt, verifiers: verifiers, binding: binding}
}

// MockSalt is the salt of a user who does not exist: the same each time that the
// name is tried, and not to be told from a real one without the key.
func MockSalt(key []byte, user string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("daypass scram-sha-256 mock salt\x00" + user))
	return h.Sum(nil)[:len(credential.SaltOf(""))]
}

// Mechanisms are what is offered, the best first.
func (s *Scram) Mechanisms() []string {
	if s.binding != nil {
		return []string{ScramPlus, ScramPlain}
	}
	return []string{ScramPlain}
}

// First takes the client's first message and returns the server's. The error is
// an *Error.
func (s *Scram) First(mechanism string, message []byte) ([]byte, error) {
	if s.step++; s.step != 1 {
		return nil, violation("a SASL exchange begins once")
	}
	switch {
	case mechanism == ScramPlain:
	case mechanism == ScramPlus && s.binding != nil:
		s.plus = true
	default:
		return nil, violation("client selected an invalid SASL authentication mechanism")
	}
	text, err := readable(message)
	if err != nil {
		return nil, err
	}
	flag, rest, ok := strings.Cut(text, ",")
	if !ok {
		return nil, malformed("no channel binding flag")
	}
	if err := s.checkFlag(flag); err != nil {
		return nil, err
	}
	authzid, bare, ok := strings.Cut(rest, ",")
	switch {
	case !ok:
		return nil, malformed("no authorization identity")
	case authzid != "":
		return nil, fatal(CodeFeature, "client uses authorization identity, but it is not supported")
	}
	s.gs2, s.bare = text[:len(text)-len(bare)], bare
	fields := strings.Split(bare, ",")
	// The name here is ignored, as PostgreSQL does: the startup packet has it.
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "n=") { // m= is an extension that must be understood
		return nil, malformed("expected a user name and a nonce")
	}
	nonce, ok := strings.CutPrefix(fields[1], "r=")
	if !ok || nonce == "" {
		return nil, malformed("expected a nonce")
	}
	s.nonce = nonce + rand.Text()
	s.server = fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, base64.StdEncoding.EncodeToString(s.salt), credential.Iterations)
	return []byte(s.server), nil
}

// checkFlag checks what the client says of channel binding (RFC 5802 §6): one
// that believes we do not offer it, although we do, was lied to by somebody in
// between.
func (s *Scram) checkFlag(flag string) error {
	name, isBinding := strings.CutPrefix(flag, "p=")
	switch {
	case isBinding && !s.plus:
		return malformed("the client selected %s without channel binding, but its message includes channel binding data", ScramPlain)
	case isBinding && name != bindingType:
		return violation("unsupported SCRAM channel-binding type %q", name)
	case isBinding:
		return nil
	case s.plus:
		return malformed("the client selected %s, but its message does not include channel binding data", ScramPlus)
	case flag == "n":
		return nil
	case flag == "y" && s.binding == nil:
		return nil
	case flag == "y":
		err := fatal(CodeAuthorization, "SCRAM channel binding negotiation error")
		err.Detail = "The client supports SCRAM channel binding but thinks the server does not. However, this server does support channel binding."
		return err
	}
	return malformed("unexpected channel binding flag")
}

// Final takes the client's last message, and returns the server's and the
// verifier that the client has proven to hold the token of. The error is an
// *Error, or ErrProof.
func (s *Scram) Final(message []byte) ([]byte, credential.Verifier, error) {
	none := credential.Verifier{}
	if s.step++; s.step != 2 || s.server == "" {
		return nil, none, violation("a SASL response out of order")
	}
	text, err := readable(message)
	if err != nil {
		return nil, none, err
	}
	cut := strings.LastIndex(text, ",p=")
	if cut < 0 {
		return nil, none, malformed("expected a proof")
	}
	signed, fields := text[:cut], strings.Split(text[:cut], ",")
	proof, err := base64.StdEncoding.Strict().DecodeString(text[cut+len(",p="):])
	if err != nil || len(proof) != sha256.Size {
		return nil, none, malformed("malformed proof")
	}
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "c=") || !strings.HasPrefix(fields[1], "r=") {
		return nil, none, malformed("expected channel binding and a nonce")
	}
	if fields[1] != "r="+s.nonce {
		return nil, none, malformed("nonce does not match")
	}
	bound := []byte(s.gs2)
	if s.plus {
		bound = append(bound, s.binding...)
	}
	got, err := base64.StdEncoding.Strict().DecodeString(fields[0][len("c="):])
	if err != nil || !bytes.Equal(got, bound) {
		return nil, none, fatal(CodeAuthorization, "SCRAM channel binding check failed")
	}
	authMessage := s.bare + "," + s.server + "," + signed
	found, ok := s.prove(authMessage, proof)
	if !ok {
		return nil, none, ErrProof
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(found.Signature(authMessage))), found, nil
}

// prove finds the verifier of a proof. It looks at all of them, and at one that
// nobody has where there is none.
func (s *Scram) prove(authMessage string, proof []byte) (found credential.Verifier, ok bool) {
	if len(s.verifiers) == 0 {
		credential.Verifier{}.Proves(authMessage, proof)
	}
	for _, v := range s.verifiers {
		if v.Proves(authMessage, proof) {
			found, ok = v, true
		}
	}
	return found, ok
}

// readable is a message of the client, which consists of printable ASCII but for
// the name (RFC 5802 §7).
func readable(message []byte) (string, error) {
	if len(message) == 0 || len(message) > maxToken {
		return "", malformed("the message is empty or too long")
	}
	for _, c := range message {
		if c < 0x20 || c == 0x7f {
			return "", malformed("the message has characters that are not printable")
		}
	}
	return string(message), nil
}

func malformed(format string, args ...any) *Error {
	err := violation("malformed SCRAM message")
	err.Detail = fmt.Sprintf(format, args...)
	return err
}
