package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/daypass/daypass/internal/failpoint"
)

const (
	// MaxLife is the longest life of a JWT credential.
	MaxLife = 5 * time.Minute
	// Overlap is how long the public half of a retired key stays published and
	// accepted after the last token that it signed has run out.
	Overlap = time.Hour
)

// ErrNoKey says that there is no key to sign with: nothing can be issued.
var ErrNoKey = errors.New("no signing key")

// KeyState is where a signing key stands.
type KeyState string

// The states of a signing key.
const (
	KeyCurrent  KeyState = "current"  // signs
	KeyRetiring KeyState = "retiring" // signs no more; what it signed runs out
)

// KeyInfo is what may be told of a signing key.
type KeyInfo struct {
	KID         string
	Alg         Algorithm
	State       KeyState
	CreatedAt   time.Time
	RetiredAt   time.Time // zero while current
	AcceptUntil time.Time // zero while current: from then on it is unknown
}

// Keyring holds the keys that sign JWTs, in memory and in a folder. It is safe
// for use by many goroutines, and by one process at a time.
//
// The ES256 key exists from OpenKeyring on. The RS256 key takes some 100 ms to
// make, which a start on an empty store cannot wait for: it is made, once, by
// the first call that needs it (JWKS, Sign with RS256, Rotate).
type Keyring struct {
	dir string

	change sync.Mutex // held over a change of the folder: one at a time

	mu   sync.RWMutex // guards keys; never held over I/O
	keys map[string]*key
}

// OpenKeyring loads the signing keys in dir and makes the ES256 key where there
// is none. Keys that have run out by now are deleted. A folder or file that
// group or others can read is refused (ErrExposed), as is a file that is not a
// whole key: to start with fewer keys than were kept would refuse tokens that
// are good.
func OpenKeyring(dir string, now time.Time) (*Keyring, error) {
	if err := openDir(dir); err != nil {
		return nil, err
	}
	if err := removeTemps(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading key folder: %w", err)
	}
	k := &Keyring{dir: dir, keys: map[string]*key{}}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), keyFilePrefix) || !strings.HasSuffix(e.Name(), keyFileSuffix) {
			continue // other keys of Daypass live here too
		}
		b, err := readPrivate(dir, e.Name())
		if err != nil {
			return nil, err
		}
		loaded, err := decodeKey(b)
		if err != nil || loaded.fileName() != e.Name() {
			return nil, fmt.Errorf("loading key file %s: %w", e.Name(), errKeyFile)
		}
		k.keys[loaded.kid] = loaded
	}
	k.change.Lock()
	defer k.change.Unlock()
	for _, alg := range []Algorithm{ES256, RS256} {
		if err := k.settle(alg); err != nil {
			return nil, err
		}
	}
	if err := k.prune(now); err != nil {
		return nil, err
	}
	if _, err := k.ensure(ES256, now); err != nil {
		return nil, err
	}
	return k, nil
}

// settle finishes a rotation that a crash cut short: of several current keys of
// one algorithm the newest stays.
func (k *Keyring) settle(alg Algorithm) error {
	var current []*key
	for _, one := range k.keys {
		if one.alg == alg && one.retired.IsZero() {
			current = append(current, one)
		}
	}
	slices.SortFunc(current, func(a, b *key) int { return a.created.Compare(b.created) })
	for i := 0; i+1 < len(current); i++ {
		if err := k.retire(current[i], current[i+1].created); err != nil {
			return err
		}
	}
	return nil
}

// current returns the key that signs for alg, nil if there is none.
func (k *Keyring) current(alg Algorithm) *key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, one := range k.keys {
		if one.alg == alg && one.retired.IsZero() {
			return one
		}
	}
	return nil
}

// ensure returns the current key of alg and makes it at need. The caller holds
// change.
func (k *Keyring) ensure(alg Algorithm, now time.Time) (*key, error) {
	if have := k.current(alg); have != nil {
		return have, nil
	}
	return k.add(alg, now)
}

// add makes a key, keeps it, then uses it. The caller holds change.
func (k *Keyring) add(alg Algorithm, now time.Time) (*key, error) {
	made, err := newKey(alg, now.UTC().Truncate(time.Millisecond))
	if err != nil {
		return nil, err
	}
	content, err := made.encode()
	if err != nil {
		return nil, err
	}
	if err := writePrivate(k.dir, made.fileName(), content, false); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[made.kid] = made
	return made, nil
}

// retire replaces a key by its public half. In memory it holds even when the
// folder cannot be written. The caller holds change.
func (k *Keyring) retire(old *key, at time.Time) error {
	gone := &key{kid: old.kid, alg: old.alg, created: old.created, retired: at, public: old.public}
	k.mu.Lock()
	k.keys[old.kid] = gone
	k.mu.Unlock()
	content, err := gone.encode()
	if err != nil {
		return err
	}
	return writePrivate(k.dir, gone.fileName(), content, true)
}

// acceptUntil is the instant from which a retired key is unknown.
func (k *key) acceptUntil() time.Time {
	if k.retired.IsZero() {
		return time.Time{}
	}
	return k.retired.Add(MaxLife + Overlap)
}

// usable reports whether tokens of this key are accepted at now.
func (k *key) usable(now time.Time) bool { return k.retired.IsZero() || now.Before(k.acceptUntil()) }

// prune deletes the keys that have run out. The caller holds change.
func (k *Keyring) prune(now time.Time) error {
	k.mu.Lock()
	var out []*key
	for kid, one := range k.keys {
		if !one.usable(now) {
			out = append(out, one)
			delete(k.keys, kid)
		}
	}
	k.mu.Unlock()
	for _, one := range out {
		if err := removePrivate(k.dir, one.fileName()); err != nil {
			return err
		}
	}
	return nil
}

// Rotate makes a new current key of each algorithm and retires the old ones:
// their private halves are deleted at once, their public halves stay accepted
// and published until the last token has run out (MaxLife) plus Overlap. It
// returns the kids of the new keys. After an error the ring still signs, with
// new keys or with old ones; calling again is safe.
func (k *Keyring) Rotate(now time.Time) ([]string, error) {
	k.change.Lock()
	defer k.change.Unlock()
	if err := k.prune(now); err != nil {
		return nil, err
	}
	var kids []string
	for _, alg := range []Algorithm{ES256, RS256} {
		at := now.UTC().Truncate(time.Millisecond)
		old := k.current(alg)
		if old != nil && !at.After(old.created) {
			at = old.created.Add(time.Millisecond) // a clock set back must not turn the order
		}
		failpoint.Hit("keys.rotate.before")
		made, err := k.add(alg, at)
		if err != nil {
			return kids, err
		}
		failpoint.Hit("keys.rotate.between")
		kids = append(kids, made.kid)
		if old == nil {
			continue
		}
		if err := k.retire(old, at); err != nil {
			return kids, err
		}
	}
	return kids, nil
}

// Revoke ends a key at once: from this call on nothing that it signed is
// accepted, in memory even when the folder cannot be written (then the error
// says so, and the key would be back after a restart). A current key is
// replaced by a new one; where that fails the ring is not Ready.
func (k *Keyring) Revoke(kid string, now time.Time) error {
	k.change.Lock()
	defer k.change.Unlock()
	k.mu.Lock()
	old := k.keys[kid]
	delete(k.keys, kid)
	k.mu.Unlock()
	if old == nil {
		return fmt.Errorf("revoking a signing key: %w of that kid", ErrNoKey)
	}
	if err := removePrivate(k.dir, old.fileName()); err != nil {
		return fmt.Errorf("revoking a signing key: %w", err)
	}
	if old.retired.IsZero() {
		if _, err := k.ensure(old.alg, now); err != nil {
			return fmt.Errorf("replacing a revoked signing key: %w", err)
		}
	}
	return nil
}

// Ready says why nothing can be signed, nil when it can. It does no I/O.
func (k *Keyring) Ready() error {
	if k.current(ES256) == nil {
		return fmt.Errorf("%s: %w", ES256, ErrNoKey)
	}
	return nil
}

// Keys returns what may be told of the keys accepted at now, oldest first.
func (k *Keyring) Keys(now time.Time) []KeyInfo {
	var out []KeyInfo
	for _, one := range k.usable(now) {
		info := KeyInfo{KID: one.kid, Alg: one.alg, State: KeyCurrent, CreatedAt: one.created}
		if !one.retired.IsZero() {
			info.State, info.RetiredAt, info.AcceptUntil = KeyRetiring, one.retired, one.acceptUntil()
		}
		out = append(out, info)
	}
	return out
}

// usable returns the keys accepted at now, oldest first.
func (k *Keyring) usable(now time.Time) []*key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var out []*key
	for _, one := range k.keys {
		if one.usable(now) {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b *key) int {
		if c := a.created.Compare(b.created); c != 0 {
			return c
		}
		return strings.Compare(a.kid, b.kid)
	})
	return out
}

// JWKS returns the public halves of the keys accepted at now as a JWK Set
// (RFC 7517 §5). The first call ever makes the RS256 key and waits for it; an
// error says that it could not be made or kept.
func (k *Keyring) JWKS(now time.Time) ([]byte, error) {
	if _, err := k.signer(RS256, now); err != nil {
		return nil, err
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, one := range k.usable(now) {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: one.public, KeyID: one.kid, Algorithm: string(one.alg), Use: "sig"})
	}
	return json.Marshal(set)
}

// signer returns the key that signs for alg. The RS256 key is made at need; an
// ES256 key that is not there was lost on purpose, and only Rotate mends that.
func (k *Keyring) signer(alg Algorithm, now time.Time) (*key, error) {
	if have := k.current(alg); have != nil {
		return have, nil
	}
	if alg != RS256 {
		return nil, fmt.Errorf("%q: %w", string(alg), ErrNoKey)
	}
	k.change.Lock()
	defer k.change.Unlock()
	return k.ensure(alg, now)
}
