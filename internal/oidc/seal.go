package oidc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// carried is what a browser carries between Begin and Finish.
type carried struct {
	Provider string `json:"p"`
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	To       string `json:"t"`
	Until    int64  `json:"u"` // seconds
}

// sealer seals what browsers carry. Its key lives and dies with the process:
// no ticket is good after a restart, so that none that was used before can be
// used again (A23).
type sealer struct {
	aead cipher.AEAD
	now  func() time.Time

	mu   sync.Mutex
	used map[string]int64 // states that came back, until they would have ended
}

// mostUsed bounds used: as many come back within the life of one.
const mostUsed = 200_000

func newSealer(now func() time.Time) (*sealer, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sealing logins: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("sealing logins: %w", err)
	}
	return &sealer{aead: aead, now: now, used: map[string]int64{}}, nil
}

func (s *sealer) seal(a carried) (string, error) {
	raw, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("sealing a login: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, raw, nil)), nil
}

var errTicket = errors.New("the browser holds no login that waits, or one that is too old")

func (s *sealer) open(ticket string) (carried, error) {
	raw, err := base64.RawURLEncoding.DecodeString(ticket)
	if err != nil || len(ticket) > 4096 {
		return carried{}, errTicket
	}
	plain, err := s.aead.Open(nil, nil, raw, nil)
	if err != nil {
		return carried{}, errTicket
	}
	var a carried
	if json.Unmarshal(plain, &a) != nil || s.now().Unix() >= a.Until {
		return carried{}, errTicket
	}
	return a, nil
}

// spent reports whether a state was used.
func (s *sealer) spent(a carried) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, before := s.used[a.State]
	return before
}

// use takes a state, once.
func (s *sealer) use(a carried) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().Unix()
	if len(s.used) >= mostUsed {
		for state, until := range s.used {
			if until <= now {
				delete(s.used, state)
			}
		}
	}
	if _, before := s.used[a.State]; before || len(s.used) >= mostUsed {
		return false
	}
	s.used[a.State] = a.Until
	return true
}

func random() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// tagOf tells attempts of one browser apart; it is no secret.
func tagOf(state string) string {
	sum := sha256.Sum256([]byte(state))
	return hex.EncodeToString(sum[:6])
}
