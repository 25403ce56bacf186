package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 23, 14, 0, 0, 250e6, time.UTC)

func open(t *testing.T, dir string, now time.Time) *Keyring {
	t.Helper()
	k, err := OpenKeyring(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newRing(t *testing.T) *Keyring {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "keys"), t0)
}

func credentialClaims(now time.Time) Claims {
	return Claims{
		Issuer: "https://daypass.example.com", Subject: "user:ana", Audience: "orders-api", ClientID: "user:ana", ID: "j", IssuedAt: now,
		ExpiresAt: now.Add(4 * time.Minute), Txn: "req_x", GrantID: "grt_x", AuthorizationDetails: []json.RawMessage{json.RawMessage(`{"type":"urn:daypass:http"}`)},
	}
}

func limitsAt(now time.Time) Limits { return Limits{GrantExpires: now.Add(time.Hour), Now: now} }

func issue(t *testing.T, k *Keyring, now time.Time, alg Algorithm) string {
	t.Helper()
	l, err := Prepare(credentialClaims(now), limitsAt(now))
	if err != nil {
		t.Fatal(err)
	}
	s, err := k.Sign(l, alg)
	if err != nil {
		t.Fatal(err)
	}
	return s.Reveal()
}

func optionsAt(now time.Time) VerifyOptions {
	return VerifyOptions{Issuer: "https://daypass.example.com", Audience: "orders-api", Type: TypeAccessToken, Now: now}
}

// jwksKIDs returns alg by kid, and fails on anything but public members.
func jwksKIDs(t *testing.T, k *Keyring, now time.Time) map[string]string {
	t.Helper()
	b, err := k.JWKS(now)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(b, &set); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, one := range set.Keys {
		for name := range one {
			if !slices.Contains([]string{"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"}, name) {
				t.Errorf("the JWKS has the member %q", name)
			}
		}
		if one["use"] != "sig" {
			t.Errorf("use = %q", one["use"])
		}
		out[one["kid"]] = one["alg"]
	}
	return out
}

func TestKeysSurviveARestart(t *testing.T) {
	k := newRing(t)
	es, rs := issue(t, k, t0, ES256), issue(t, k, t0, RS256)
	want := jwksKIDs(t, k, t0)
	if len(want) != 2 {
		t.Fatalf("JWKS: %v", want)
	}
	again := open(t, k.dir, t0)
	if got := jwksKIDs(t, again, t0); len(got) != 2 {
		t.Errorf("after a restart: %v", got)
	} else {
		for kid, alg := range want {
			if got[kid] != alg {
				t.Errorf("after a restart: %v, want %v", got, want)
			}
		}
	}
	for _, token := range []string{es, rs} {
		if _, err := again.Verify(token, optionsAt(t0)); err != nil {
			t.Error(err)
		}
	}
	info := again.Keys(t0)
	if len(info) != 2 || info[0].State != KeyCurrent || info[1].State != KeyCurrent {
		t.Errorf("Keys = %+v", info)
	}
}

// Nothing but the ES256 key is made before the first need of another: an RSA
// key takes longer than a start may.
func TestRSAKeyIsMadeAtNeed(t *testing.T) {
	k := newRing(t)
	if info := k.Keys(t0); len(info) != 1 || info[0].Alg != ES256 || k.Ready() != nil {
		t.Fatalf("at the start: %+v, %v", info, k.Ready())
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	kids := map[string]string{}
	for range 4 { // all wait for the same key
		all.Go(func() {
			got := jwksKIDs(t, k, t0)
			mu.Lock()
			defer mu.Unlock()
			for kid, alg := range got {
				kids[kid] = alg
			}
		})
	}
	all.Wait()
	if len(kids) != 2 {
		t.Errorf("keys: %v", kids)
	}
}

// Invariant: A24
// Attack: TOK-13
func TestRotationOverlaps(t *testing.T) {
	k := newRing(t)
	old := jwksKIDs(t, k, t0)
	es, rs := issue(t, k, t0, ES256), issue(t, k, t0, RS256)
	at := t0.Add(time.Minute)
	kids, err := k.Rotate(at)
	if err != nil || len(kids) != 2 {
		t.Fatalf("Rotate = %v, %v", kids, err)
	}
	for name, ring := range map[string]*Keyring{"same process": k, "after a restart": open(t, k.dir, at)} {
		for _, token := range []string{es, rs} {
			if _, err := ring.Verify(token, optionsAt(at)); err != nil {
				t.Errorf("%s: a token from before: %v", name, err)
			}
		}
		if got := jwksKIDs(t, ring, at); len(got) != 4 {
			t.Errorf("%s: JWKS %v", name, got)
		}
		until := at.Truncate(time.Millisecond).Add(MaxLife + Overlap)
		if got := jwksKIDs(t, ring, until.Add(-time.Millisecond)); len(got) != 4 {
			t.Errorf("%s: in the last millisecond of the overlap: %v", name, got)
		}
		got := jwksKIDs(t, ring, until)
		if len(got) != 2 {
			t.Errorf("%s: after the overlap: %v", name, got)
		}
		for kid := range old {
			if got[kid] != "" {
				t.Errorf("%s: the old key is still published", name)
			}
		}
		fresh := issue(t, ring, at, ES256)
		if _, err := ring.Verify(fresh, optionsAt(at)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, info := range ring.Keys(at) {
			if want := old[info.KID] != ""; (info.State == KeyRetiring) != want || info.AcceptUntil.IsZero() == want {
				t.Errorf("%s: %+v", name, info)
			}
		}
	}
	// Retired and run out: refused, and gone from the folder at the next start.
	late := at.Add(MaxLife + Overlap)
	if _, err := k.Verify(es, optionsAt(late)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "unknown kid") {
		t.Errorf("a retired kid: %v", err)
	}
	open(t, k.dir, late)
	if left, _ := filepath.Glob(filepath.Join(k.dir, keyFilePrefix+"*")); len(left) != 2 {
		t.Errorf("files: %v", left)
	}
}

// Once retired, a key can sign nothing: its private half is nowhere, and what a
// thief of an old copy signs with it is refused by its iat.
//
// Invariant: A24
// Attack: TOK-13
func TestRetiredKeySignsNothing(t *testing.T) {
	k := newRing(t)
	stolen := *k.current(ES256)
	before, err := os.ReadFile(filepath.Join(k.dir, stolen.fileName()))
	if err != nil || !bytes.Contains(before, []byte(`"private"`)) {
		t.Fatalf("the test looks at the wrong file: %v", err)
	}
	at := t0.Add(time.Hour)
	if _, err := k.Rotate(at); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(k.dir, stolen.fileName()))
	if err != nil || bytes.Contains(after, []byte(`"private"`)) || k.keys[stolen.kid].private != nil {
		t.Errorf("the private half is still there: %v", err)
	}
	forge := func(iat time.Time) error {
		l, err := Prepare(credentialClaims(iat), limitsAt(iat))
		if err != nil {
			t.Fatal(err)
		}
		s, err := signPayload(&stolen, l.typ, l.payload)
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Verify(s.Reveal(), optionsAt(iat))
		return err
	}
	if err := forge(at.Add(-time.Minute)); err != nil {
		t.Fatalf("before the rotation the key was good: %v", err)
	}
	if err := forge(at); err != nil {
		t.Errorf("in the second of the rotation: %v", err)
	}
	if err := forge(at.Add(time.Second)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "after its key was retired") {
		t.Errorf("signed a second after it was retired: %v", err)
	}
	if err := forge(at.Add(2 * time.Second)); !errors.Is(err, ErrInvalid) {
		t.Errorf("signed after it was retired: %v", err)
	}
}

// Invariant: A24
// Attack: TOK-13
func TestRevokedKeyIsRefusedAtOnce(t *testing.T) {
	for _, alg := range []Algorithm{ES256, RS256} {
		k := newRing(t)
		token := issue(t, k, t0, alg)
		kid := k.current(alg).kid
		if err := k.Revoke(kid, t0); err != nil {
			t.Fatal(err)
		}
		for name, ring := range map[string]*Keyring{"same process": k, "after a restart": open(t, k.dir, t0)} {
			if _, err := ring.Verify(token, optionsAt(t0)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s %s: %v", alg, name, err)
			}
			if jwksKIDs(t, ring, t0)[kid] != "" {
				t.Errorf("%s %s: still published", alg, name)
			}
			if err := ring.Ready(); err != nil {
				t.Errorf("%s %s: not replaced: %v", alg, name, err)
			}
		}
		if _, err := k.Verify(issue(t, k, t0, alg), optionsAt(t0)); err != nil {
			t.Error(err)
		}
		if err := k.Revoke(kid, t0); !errors.Is(err, ErrNoKey) {
			t.Errorf("twice: %v", err)
		}
	}
}

// Where a revoked key cannot be replaced, it is refused all the same, nothing
// is signed, and the ring says so until a rotation mends it.
//
// Invariant: A24
func TestNoKeyNoIssuance(t *testing.T) {
	k := newRing(t)
	token := issue(t, k, t0, ES256)
	aside := k.dir + ".aside"
	if err := os.Rename(k.dir, aside); err != nil {
		t.Fatal(err)
	}
	if err := k.Revoke(k.current(ES256).kid, t0); err == nil {
		t.Error("a key that could not be replaced was reported as replaced")
	}
	if !errors.Is(k.Ready(), ErrNoKey) {
		t.Errorf("Ready = %v", k.Ready())
	}
	if _, err := k.Verify(token, optionsAt(t0)); !errors.Is(err, ErrInvalid) {
		t.Errorf("revoked: %v", err)
	}
	l, err := Prepare(credentialClaims(t0), limitsAt(t0))
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []Algorithm{ES256, RS256, "HS256", "none", ""} {
		if s, err := k.Sign(l, alg); err == nil || !s.IsZero() {
			t.Errorf("%s: signed without a key", alg)
		}
	}
	if _, err := k.JWKS(t0); err == nil {
		t.Error("a JWKS without the key that could not be kept")
	}
	if err := os.Rename(aside, k.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(t0); err != nil || k.Ready() != nil {
		t.Errorf("not mended: %v, %v", err, k.Ready())
	}
}

// A crash between the steps of a rotation leaves two current keys in the
// folder, or a temporary file.
//
// Invariant: A34
func TestCutShortRotation(t *testing.T) {
	k := newRing(t)
	token := issue(t, k, t0, ES256)
	at := t0.Add(time.Minute)
	k.change.Lock()
	made, err := k.add(ES256, at)
	k.change.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.dir, tempPrefix+"123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, k.dir, at)
	if got := again.current(ES256); got == nil || got.kid != made.kid {
		t.Errorf("current = %+v", got)
	}
	if info := again.Keys(at); len(info) != 2 || info[0].State != KeyRetiring || !info[0].RetiredAt.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("Keys = %+v", info)
	}
	if _, err := again.Verify(token, optionsAt(at)); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(k.dir, tempPrefix+"*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// A clock set back must not make the older key the current one.
func TestRotationWithTheClockSetBack(t *testing.T) {
	k := newRing(t)
	for i := range 3 {
		kids, err := k.Rotate(t0.Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for _, ring := range []*Keyring{k, open(t, k.dir, t0.Add(-time.Hour))} {
			if got := ring.current(ES256).kid; got != kids[0] {
				t.Errorf("rotation %d: current %s, want %s", i, got, kids[0])
			}
		}
	}
}
