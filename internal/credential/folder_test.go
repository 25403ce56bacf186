package credential

import (
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// block puts a folder where a file of keys is to be written or deleted: the
// disk says no there, and nowhere else.
func block(t *testing.T, path string) (unblock func()) {
	t.Helper()
	aside := path + ".aside"
	moved := os.Rename(path, aside) == nil
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if moved {
			if err := os.Rename(aside, path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A key that could not be kept is not handed out, and nothing of it stays.
func TestWhatCannotBeKeptIsNotUsed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	create := func() ([]byte, error) { return []byte("content"), nil }
	if b, err := LoadOrCreateFile(dir, filepath.Join("missing", "k"), create); err == nil || b != nil {
		t.Errorf("kept in a folder that is not there: %q, %v", b, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	if err := os.WriteFile(dir+".plain", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := openDir(filepath.Join(dir+".plain", "keys")); err == nil || !strings.HasPrefix(err.Error(), "making key folder") {
		t.Errorf("a folder within a file: %v", err)
	}
	largest := make([]byte, maxFile)
	for range 2 { // made, then read
		if b, err := LoadOrCreateFile(dir, "largest", func() ([]byte, error) { return largest, nil }); err != nil || len(b) != maxFile {
			t.Errorf("the largest file: %d bytes, %v", len(b), err)
		}
	}
}

// What a link, a pipe or a folder is refused as is what it is.
//
// Attack: CFG-09
func TestOnlyPlainFilesAreKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := LoadOrCreateFile(dir, "k", func() ([]byte, error) { return []byte("content"), nil }); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "k"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "folder"} {
		if _, err := LoadOrCreateFile(dir, name, nil); err == nil || !strings.Contains(err.Error(), "is no regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for path, want := range map[string]string{filepath.Join(dir, "k"): "then chmod 0600", dir: "then chmod 0700"} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, info.Mode().Perm()|0o004); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateFile(dir, "k", nil); !errors.Is(err, ErrExposed) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want what mends it", path, err)
		}
		if err := os.Chmod(path, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
}

// A file holds a private half, or a public one and when the key was retired:
// nothing between, or a retired key could sign.
//
// Invariant: A24
func TestKeyFilesHoldOneHalf(t *testing.T) {
	made, err := newKey(ES256, t0)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(made.private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(made.public)
	if err != nil {
		t.Fatal(err)
	}
	never, at, good := time.Time{}, t0.Add(time.Hour), 0
	for _, retired := range []*time.Time{nil, &never, &at} {
		for _, priv := range [][]byte{nil, private} {
			for _, pub := range [][]byte{nil, public} {
				b, err := json.Marshal(keyFile{
					Version: 1, KID: made.kid, Alg: ES256, Created: t0, Retired: retired,
					Private: base64.StdEncoding.EncodeToString(priv), Public: base64.StdEncoding.EncodeToString(pub),
				})
				if err != nil {
					t.Fatal(err)
				}
				want := retired == nil && priv != nil && pub == nil || retired == &at && priv == nil && pub != nil
				k, err := decodeKey(b)
				if (err == nil) != want {
					t.Errorf("retired %v, private %v, public %v: %v", retired, priv != nil, pub != nil, err)
				}
				if err == nil {
					good++
					if (k.private != nil) != (retired == nil) || k.retired.IsZero() != (retired == nil) {
						t.Errorf("loaded %+v", k)
					}
				}
			}
		}
	}
	if good != 2 {
		t.Errorf("%d sorts of key files are good", good)
	}
}

// Whatever is no key of the wanted kind is refused as that, in either half.
func TestKeyFilesOfOtherThings(t *testing.T) {
	agreed, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(agreed)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(agreed.Public())
	if err != nil {
		t.Fatal(err)
	}
	whole := base64.StdEncoding.EncodeToString
	for name, f := range map[string]keyFile{
		"private not base64": {Private: "!"}, "private not PKCS #8": {Private: whole([]byte("key"))}, "private that cannot sign": {Private: whole(private)},
		"public not base64": {Retired: &t0, Public: "!"}, "public not PKIX": {Retired: &t0, Public: whole([]byte("key"))}, "public of no signature": {Retired: &t0, Public: whole(public)},
	} {
		f.Version, f.Alg, f.Created, f.KID = 1, ES256, t0, "k"
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := decodeKey(b); !errors.Is(err, errKeyFile) || k != nil {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
	made, err := newKey(ES256, t0)
	if err != nil {
		t.Fatal(err)
	}
	if made.created = (time.Time{}); true {
		b, err := made.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeKey(b); !errors.Is(err, errKeyFile) {
			t.Errorf("a key of no age: %v", err)
		}
	}
	if _, err := newKey("HS256", t0); err == nil {
		t.Error("a key was made for HS256")
	}
}

func TestSizesOfKeys(t *testing.T) {
	made, err := newKey(RS256, t0)
	if err != nil {
		t.Fatal(err)
	}
	if n := made.public.(*rsa.PublicKey).N.BitLen(); n != rsaBits {
		t.Errorf("a new key of %d bits", n)
	}
	agreed, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, public := range []crypto.PublicKey{nil, agreed.Public(), "key"} {
		if fits(ES256, public) || fits(RS256, public) {
			t.Errorf("%T fits", public)
		}
	}
	for bits, want := range map[uint]bool{1024: false, rsaBits - 1: false, rsaBits: true, 4096: true, maxRSABits: true, maxRSABits + 1: false} {
		n := new(big.Int).SetBit(new(big.Int), int(bits)-1, 1)
		public := &rsa.PublicKey{N: n, E: 65537}
		if fits(RS256, public) != want || fits(ES256, public) {
			t.Errorf("%d bits: %v as RS256, %v as ES256", bits, fits(RS256, public), fits(ES256, public))
		}
	}
}

// A key is known by its thumbprint: neither its file's name nor what it says of
// itself makes it another.
//
// Invariant: A24
func TestKeysUnderOtherNames(t *testing.T) {
	k := newRing(t)
	have := k.current(ES256)
	if got, err := k.ensure(ES256, t0); err != nil || got != have {
		t.Errorf("ensured %+v, %v", got, err)
	}
	path := filepath.Join(k.dir, have.fileName())
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("A", len(have.kid))
	claims := []byte(strings.Replace(string(content), have.kid, other, 1))
	if got, err := decodeKey(claims); !errors.Is(err, errKeyFile) || got != nil {
		t.Errorf("a key that calls itself another: %+v, %v", got, err)
	}
	renamed := filepath.Join(k.dir, keyFilePrefix+other+keyFileSuffix)
	if err := os.Rename(path, renamed); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyring(k.dir, t0); !errors.Is(err, errKeyFile) {
		t.Errorf("a key under another's name: %v", err)
	}
	for size, want := range map[int]string{maxFile: "not a signing key of Daypass", maxFile + 1: "has 65537 bytes"} {
		if err := os.WriteFile(renamed, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeyring(k.dir, t0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a file of %d bytes: %v", size, err)
		}
	}
}

// Other keys of Daypass live in the folder, and a person's notes may.
func TestOtherFilesAreNotKeysOfTheRing(t *testing.T) {
	k := newRing(t)
	for _, name := range []string{"audit.skey", "jwt-notes.txt", "other.json", "jwt-.json.bak"} {
		if err := os.WriteFile(filepath.Join(k.dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if again := open(t, k.dir, t0); len(again.Keys(t0)) != 1 || again.current(ES256).kid != k.current(ES256).kid {
		t.Errorf("Keys = %+v", again.Keys(t0))
	}
	if left, err := os.ReadDir(k.dir); err != nil || len(left) != 5 {
		t.Errorf("files: %v, %v", left, err)
	}
}

// A restart changes nothing of a key that was retired before, whatever became
// of the one that followed it: it is not accepted longer.
//
// Invariant: A24
// Attack: TOK-13
func TestRestartRetiresNothingAgain(t *testing.T) {
	k := newRing(t)
	first := k.current(ES256).kid
	at := t0.Add(time.Minute)
	kids, err := k.Rotate(at)
	if err != nil {
		t.Fatal(err)
	}
	later := t0.Add(30 * time.Minute)
	if err := k.Revoke(kids[0], later); err != nil {
		t.Fatal(err)
	}
	want := k.Keys(later)
	again := open(t, k.dir, later)
	if got := again.Keys(later); !slices.Equal(got, want) || !again.keys[first].retired.Equal(at) {
		t.Errorf("after a restart %+v, before it %+v", got, want)
	}
}

// Keys are told oldest first, and those of one instant always in one order.
func TestKeysAreInOrder(t *testing.T) {
	k := newRing(t)
	for i := range 3 {
		if _, err := k.Rotate(t0.Add(time.Duration(i+1) * time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	now := t0.Add(4 * time.Minute)
	for range 20 {
		got := k.Keys(now)
		if len(got) != 7 { // the first RS256 key was made by the first rotation
			t.Fatalf("%d keys", len(got))
		}
		if !slices.IsSortedFunc(got, func(a, b KeyInfo) int {
			return 2*a.CreatedAt.Compare(b.CreatedAt) + strings.Compare(a.KID, b.KID)
		}) {
			t.Fatalf("out of order: %+v", got)
		}
	}
}

// A rotation that the disk stops between its steps says so and says what was
// made; the ring signs with the new key and takes what the old one signed.
//
// Invariant: A24, A34
func TestRotationOnABadDisk(t *testing.T) {
	k := newRing(t)
	token, old := issue(t, k, t0, ES256), k.current(ES256)
	unblock := block(t, filepath.Join(k.dir, old.fileName()))
	at := t0.Add(time.Minute)
	kids, err := k.Rotate(at)
	if err == nil || len(kids) != 1 || k.current(ES256).kid != kids[0] || k.keys[old.kid].private != nil {
		t.Fatalf("Rotate = %v, %v", kids, err)
	}
	if _, err := k.Verify(token, optionsAt(at)); err != nil {
		t.Error(err)
	}
	if _, err := k.Verify(issue(t, k, at, ES256), optionsAt(at)); err != nil {
		t.Error(err)
	}
	unblock()
	again := open(t, k.dir, at) // its private half is back, and a start retires it
	if got := again.current(ES256).kid; got != kids[0] || again.keys[old.kid].private != nil {
		t.Errorf("after a restart: %s signs", got)
	}
}

// Without its folder a ring makes no key that it could not keep: it goes on
// with those it has.
//
// Invariant: A24
func TestRotationWithoutAFolder(t *testing.T) {
	k := newRing(t)
	old := k.current(ES256)
	if err := os.Rename(k.dir, k.dir+".aside"); err != nil {
		t.Fatal(err)
	}
	if kids, err := k.Rotate(t0.Add(time.Minute)); err == nil || len(kids) != 0 || k.current(ES256) != old {
		t.Errorf("Rotate = %v, %v", kids, err)
	}
	if _, err := k.Verify(issue(t, k, t0, ES256), optionsAt(t0)); err != nil {
		t.Error(err)
	}
}

// A rotation that is stopped while the clock is set back, or stands still,
// leaves the new key the newer one: a start takes it and not the old.
//
// Invariant: A24, A34
func TestStoppedRotationWithTheClockSetBack(t *testing.T) {
	for _, at := range []time.Time{t0, t0.Add(-time.Hour)} {
		k := newRing(t)
		old := k.current(ES256)
		unblock := block(t, filepath.Join(k.dir, old.fileName()))
		kids, err := k.Rotate(at)
		if err == nil || len(kids) != 1 {
			t.Fatalf("Rotate = %v, %v", kids, err)
		}
		unblock()
		again := open(t, k.dir, at)
		if got := again.current(ES256); got.kid != kids[0] || !got.created.Equal(old.created.Add(time.Millisecond)) || !again.keys[old.kid].retired.Equal(got.created) {
			t.Errorf("rotated at %s: %+v signs", at, got)
		}
	}
}

// Several rotations may have been stopped: one key signs after a start, the
// newest, and each of the others was retired when the next was made.
//
// Invariant: A24, A34
func TestManyStoppedRotations(t *testing.T) {
	k := newRing(t)
	kids := []string{k.current(ES256).kid}
	for i := range 3 {
		k.change.Lock()
		made, err := k.add(ES256, t0.Add(time.Duration(i+1)*time.Minute))
		k.change.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		kids = append(kids, made.kid)
	}
	now := t0.Add(4 * time.Minute)
	for i, info := range open(t, k.dir, now).Keys(now) {
		want := KeyRetiring
		if i == 3 {
			want = KeyCurrent
		}
		retired := t0.Add(time.Duration(i+1) * time.Minute).Truncate(time.Millisecond)
		if info.KID != kids[i] || info.State != want || want == KeyRetiring && !info.RetiredAt.Equal(retired) {
			t.Errorf("key %d: %+v", i, info)
		}
	}
}

// A ring that lives for long holds the keys that can still be met, and no more.
func TestKeysThatHaveRunOutAreForgotten(t *testing.T) {
	k := newRing(t)
	now := t0
	for range 4 {
		now = now.Add(MaxLife + Overlap)
		if _, err := k.Rotate(now); err != nil {
			t.Fatal(err)
		}
	}
	if files, err := os.ReadDir(k.dir); len(k.keys) != 4 || err != nil || len(files) != 4 {
		t.Errorf("%d keys and %d files after four rotations, want two current and two retired", len(k.keys), len(files))
	}
}

// A key whose file somebody deleted is revoked all the same; a folder that is
// not there cannot vouch for that.
//
// Invariant: A24
func TestRevokingWhatIsGone(t *testing.T) {
	k := newRing(t)
	old := k.current(ES256)
	if err := os.Remove(filepath.Join(k.dir, old.fileName())); err != nil {
		t.Fatal(err)
	}
	if err := k.Revoke(old.kid, t0); err != nil || k.keys[old.kid] != nil || k.Ready() != nil {
		t.Errorf("Revoke: %v, Ready: %v", err, k.Ready())
	}
	if err := removePrivate(filepath.Join(k.dir, "none"), "k"); err == nil || !strings.HasPrefix(err.Error(), "syncing key folder") {
		t.Errorf("deleted from a folder that is not there: %v", err)
	}
}

// What cannot be deleted is not passed over: not at a start, not by a rotation
// and not by a revocation, which holds in memory all the same.
//
// Invariant: A24
func TestWhatCannotBeDeletedIsSaid(t *testing.T) {
	k := newRing(t)
	token, old := issue(t, k, t0, ES256), k.current(ES256)
	path := filepath.Join(k.dir, old.fileName())
	unblock := block(t, path)
	if err := k.Revoke(old.kid, t0); err == nil {
		t.Error("a file that is still there was reported as deleted")
	}
	if _, err := k.Verify(token, optionsAt(t0)); !errors.Is(err, ErrInvalid) {
		t.Errorf("revoked: %v", err)
	}
	unblock()

	k = newRing(t)
	old = k.current(ES256)
	if _, err := k.Rotate(t0.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	late := t0.Add(time.Minute + MaxLife + Overlap)
	unblock = block(t, filepath.Join(k.dir, old.fileName()))
	if _, err := k.Rotate(late); err == nil {
		t.Error("rotated over a key that has run out and cannot be deleted")
	}
	unblock()
	if err := os.Mkdir(filepath.Join(k.dir, tempPrefix+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.dir, tempPrefix+"1", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyring(k.dir, late); err == nil {
		t.Error("started over half-written files that cannot be deleted")
	}
}

// A lost ES256 key is not made anew by whoever signs next, even where the
// folder would take it: only a rotation mends that.
//
// Invariant: A24
func TestLostKeyIsMendedByRotationAlone(t *testing.T) {
	k := newRing(t)
	l, err := Prepare(credentialClaims(t0), limitsAt(t0))
	if err != nil {
		t.Fatal(err)
	}
	k.mu.Lock()
	clear(k.keys)
	k.mu.Unlock()
	if s, err := k.Sign(l, ES256); !errors.Is(err, ErrNoKey) || !s.IsZero() {
		t.Errorf("signed: %v", err)
	}
	if s, err := k.Sign(l, "HS256"); !errors.Is(err, ErrNoKey) || !s.IsZero() {
		t.Errorf("signed with HS256: %v", err)
	}
	if _, err := k.Rotate(t0); err != nil || k.Ready() != nil {
		t.Errorf("not mended: %v, %v", err, k.Ready())
	}
}
