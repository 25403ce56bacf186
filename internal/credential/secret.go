package credential

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a text that must not be seen by accident. Printing, formatting,
// logging or marshalling it gives "[redacted]"; Reveal is the one way out. The
// text is behind a pointer, so that fmt, which skips the methods of unexported
// fields, prints an address instead. The zero Secret is empty.
type Secret struct {
	_    [0]func() // not comparable: == would compare addresses; use Equal
	text *string
}

// NewSecret returns s as a Secret.
func NewSecret(s string) Secret { return Secret{text: &s} }

// Reveal returns the text itself. Whoever calls it decides that this is the
// place where the secret is shown.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.text == nil || *s.text == "" }

// Equal compares two secrets in time that depends on their lengths alone.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb, %x and %p included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[redacted]".
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]", quoted.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue returns "[redacted]" for log/slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
