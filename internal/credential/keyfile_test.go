package credential

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Attack: CFG-09
func TestExposedKeysAreRefused(t *testing.T) {
	for name, expose := range map[string]func(dir, file string) error{
		"file for others": func(_, file string) error { return os.Chmod(file, 0o604) },
		"file for group":  func(_, file string) error { return os.Chmod(file, 0o640) },
		"file to write":   func(_, file string) error { return os.Chmod(file, 0o620) },
		"folder":          func(dir, _ string) error { return os.Chmod(dir, 0o750) },
	} {
		k := newRing(t)
		file := filepath.Join(k.dir, k.current(ES256).fileName())
		if err := expose(k.dir, file); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeyring(k.dir, t0); !errors.Is(err, ErrExposed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := LoadOrCreateFile(k.dir, filepath.Base(file), nil); !errors.Is(err, ErrExposed) {
			t.Errorf("%s: LoadOrCreateFile: %v", name, err)
		}
	}
}

func TestFilesArePrivate(t *testing.T) {
	k := newRing(t)
	if _, err := k.Rotate(t0.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateFile(k.dir, "audit.skey", func() ([]byte, error) { return []byte("k"), nil }); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(k.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(k.dir)
	if err != nil || len(entries) != 4 { // ES256 twice, RS256, audit
		t.Fatalf("entries: %v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

func TestDamagedKeysAreRefused(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // too weak on purpose
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := func(k *key) []byte {
		var err error
		if k.kid, err = thumbprint(k.public); err != nil {
			t.Fatal(err)
		}
		b, err := k.encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	edit := func(from, to string) func([]byte) []byte {
		return func(b []byte) []byte {
			if !bytes.Contains(b, []byte(from)) {
				t.Fatalf("no %q to change", from)
			}
			return bytes.Replace(b, []byte(from), []byte(to), 1)
		}
	}
	for name, damage := range map[string]func([]byte) []byte{
		"empty":         func([]byte) []byte { return nil },
		"cut":           func(b []byte) []byte { return b[:len(b)/2] },
		"no JSON":       func([]byte) []byte { return []byte("key") },
		"trailing data": func(b []byte) []byte { return append(b, "{}"...) },
		"huge":          func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), maxFile)...) },
		"unknown field": edit(`"version"`, `"extra": 1, "version"`),
		"version":       edit(`"version": 1`, `"version": 2`),
		"other alg":     edit("ES256", "RS256"),
		"no algorithm":  edit("ES256", "none"),
		"other kid":     edit(`"kid": "`, `"kid": "x`),
		"two halves":    edit(`"private"`, `"public": "eA==", "private"`),
		"no key":        edit(`"private": "`, `"private": "!`),
		"RSA 1024":      func([]byte) []byte { return file(&key{alg: RS256, created: t0, private: weak, public: weak.Public()}) },
		"P-384":         func([]byte) []byte { return file(&key{alg: ES256, created: t0, private: wide, public: wide.Public()}) },
	} {
		k := newRing(t)
		path := filepath.Join(k.dir, k.current(ES256).fileName())
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, damage(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "RSA 1024" || name == "P-384" { // under its own name, so that only the key is wrong
			decoded := keyFile{}
			if err := json.Unmarshal(damage(b), &decoded); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path, filepath.Join(k.dir, (&key{kid: decoded.KID}).fileName())); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenKeyring(k.dir, t0); err == nil {
			t.Errorf("%s: loaded", name)
		} else if errors.Is(err, ErrExposed) {
			t.Errorf("%s: refused for the wrong reason: %v", name, err)
		}
	}
	k := newRing(t)
	path := filepath.Join(k.dir, k.current(ES256).fileName())
	if err := os.Rename(path, path+".real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path+".real", path); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyring(k.dir, t0); err == nil {
		t.Error("a symbolic link was followed")
	}
}

func FuzzDecodeKey(f *testing.F) {
	made, err := newKey(ES256, t0)
	if err != nil {
		f.Fatal(err)
	}
	content, err := made.encode()
	if err != nil {
		f.Fatal(err)
	}
	made.retired = t0.Add(time.Hour)
	retired, err := made.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add(retired)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := decodeKey(b)
		if err != nil {
			return
		}
		if kid, err := thumbprint(k.public); err != nil || kid != k.kid || !fits(k.alg, k.public) || (k.private == nil) != !k.retired.IsZero() {
			t.Errorf("loaded %+v", k)
		}
	})
}
