package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/credential"
)

// The headers of Standard Webhooks.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// Tolerance is by how much the timestamp of a webhook may differ from the
// receiver's clock, either way.
const Tolerance = 5 * time.Minute

const (
	secretPrefix = "whsec_"
	minSecret    = 24 // bytes, decoded
	maxSecret    = 64
	maxSecrets   = 8
)

var (
	// ErrSecret says that a secret cannot be used. It never quotes it.
	ErrSecret = errors.New(`a webhook secret is "whsec_" and the base64 of 24 to 64 random bytes`)
	// ErrSignature is every reason to refuse a webhook that was received.
	ErrSignature = errors.New("webhook refused")
)

// signed parts may hold no full stop, so that "id.timestamp.body" has one
// reading.
var cleanID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// decodeSecrets reads the secrets of one receiver. None at all is an error: a
// signature under an empty key proves nothing.
func decodeSecrets(secrets []credential.Secret) ([][]byte, error) {
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return nil, fmt.Errorf("%d webhook secrets: %w", len(secrets), ErrSecret)
	}
	keys := make([][]byte, 0, len(secrets))
	for _, s := range secrets {
		text, ok := strings.CutPrefix(s.Reveal(), secretPrefix)
		if !ok {
			return nil, ErrSecret
		}
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			key, err = base64.RawStdEncoding.DecodeString(text)
		}
		if err != nil || len(key) < minSecret || len(key) > maxSecret {
			return nil, ErrSecret
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func mac(key []byte, id, timestamp string, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(id + "." + timestamp + "."))
	h.Write(body)
	return h.Sum(nil)
}

// sign returns the value of webhook-signature: one "v1,<base64>" per key.
func sign(keys [][]byte, id, timestamp string, body []byte) string {
	all := make([]string, 0, len(keys))
	for _, key := range keys {
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac(key, id, timestamp, body)))
	}
	return strings.Join(all, " ")
}

// Verify is for receivers: it checks that body, exactly as received, was signed
// with one of the secrets, and within Tolerance of now. It returns the id, which
// is the same in every attempt at one message: keep the ids that were handled
// for at least twice Tolerance, and answer 2xx to one that comes again.
func Verify(secrets []credential.Secret, header http.Header, body []byte, now time.Time) (id string, err error) {
	keys, err := decodeSecrets(secrets)
	if err != nil {
		return "", err
	}
	for _, name := range []string{HeaderID, HeaderTimestamp, HeaderSignature} {
		if len(header.Values(name)) != 1 {
			return "", fmt.Errorf("%w: not exactly one %s", ErrSignature, name)
		}
	}
	id, timestamp := header.Get(HeaderID), header.Get(HeaderTimestamp)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != timestamp || !cleanID.MatchString(id) {
		return "", fmt.Errorf("%w: malformed %s or %s", ErrSignature, HeaderID, HeaderTimestamp)
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > Tolerance || age < -Tolerance {
		return "", fmt.Errorf("%w: too old or too new", ErrSignature)
	}
	signatures := strings.Split(header.Get(HeaderSignature), " ")
	if len(signatures) > 4*maxSecrets {
		return "", fmt.Errorf("%w: too many signatures", ErrSignature)
	}
	for _, signature := range signatures {
		text, ok := strings.CutPrefix(signature, "v1,")
		if !ok {
			continue // another version, for other receivers
		}
		got, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			continue
		}
		for _, key := range keys {
			if hmac.Equal(got, mac(key, id, timestamp, body)) {
				return id, nil
			}
		}
	}
	return "", fmt.Errorf("%w: no signature matches", ErrSignature)
}
