package audit

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func testLog(t testing.TB) *memory {
	m := newMemory(t)
	m.append(plain(1))
	m.append(plain(2), plain(3))
	return m
}

func TestCheckpointIsTheC2SPFormat(t *testing.T) {
	m := testLog(t)
	b := m.checkpoint()
	root := m.oracle(2)
	want := testOrigin + "\n2\n" + base64.StdEncoding.EncodeToString(root[:]) + "\nseq 3\ntime 2026-11-23T14:00:00.123Z\n"
	if text, _, ok := bytes.Cut(b, []byte("\n\n— "+testOrigin+" ")); !ok || string(text)+"\n" != want {
		t.Errorf("got %s\nwant %s", b, want)
	}
	got := m.open(b)
	if diff := cmp.Diff(&Checkpoint{Origin: testOrigin, Head: Head{3, 2}, Root: root, Time: testTime, Key: testOrigin, Note: b}, got); diff != "" {
		t.Error(diff)
	}
}

// Invariant: A31
// Attack: AUD-03
func TestOpenCheckpointRefusesEveryChangedByte(t *testing.T) {
	m := testLog(t)
	good := m.checkpoint()
	for i := range good {
		for _, x := range []byte{1, 2, 4, 0x20, 0x80} {
			b := bytes.Clone(good)
			b[i] ^= x
			if _, err := OpenCheckpoint(b, m.vkey); err == nil {
				t.Errorf("took %q with byte %d changed to %q", good, i, b[i])
			}
		}
	}
	// The last character before the padding has bits that base64 leaves unused.
	last := len(good) - 3
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		b := bytes.Clone(good)
		if b[last] = c; c == good[last] {
			continue
		}
		if _, err := OpenCheckpoint(b, m.vkey); err == nil {
			t.Errorf("took a signature that ends in %q for %q", b[last:], good[last:])
		}
	}
	for i := range good {
		if _, err := OpenCheckpoint(good[:i], m.vkey); err == nil {
			t.Errorf("took %q", good[:i])
		}
	}
}

func TestOpenCheckpointIsStrict(t *testing.T) {
	m := testLog(t)
	root := m.oracle(2).String()
	sign := func(text string) []byte {
		return must[[]byte](t)(note.Sign(&note.Note{Text: text}, m.signer))
	}
	good := testOrigin + "\n2\n" + root + "\nseq 3\ntime 2026-11-23T14:00:00.123Z\n"
	if !bytes.Equal(sign(good), m.checkpoint()) {
		t.Fatal("the test signs something else")
	}
	for name, text := range map[string]string{
		"a line more":          good + "x\n",
		"a line less":          strings.Replace(good, "seq 3\n", "", 1),
		"a size with a plus":   strings.Replace(good, "\n2\n", "\n+2\n", 1),
		"a size with a zero":   strings.Replace(good, "\n2\n", "\n02\n", 1),
		"a negative size":      strings.Replace(good, "\n2\n", "\n-2\n", 1),
		"a huge size":          strings.Replace(good, "\n2\n", "\n99999999999999999999\n", 1),
		"more leaves than seq": strings.Replace(good, "\n2\n", "\n4\n", 1),
		"no leaves":            strings.Replace(good, "\n2\n", "\n0\n", 1),
		"no seq":               strings.Replace(good, "seq 3", "3", 1),
		"a time of seconds":    strings.Replace(good, ".123Z", "Z", 1),
		"no time":              strings.Replace(good, "time ", "", 1),
		"an empty origin":      strings.Replace(good, testOrigin, "", 1),
		"an origin of words":   strings.Replace(good, testOrigin, "a b", 1),
		"a short root":         strings.Replace(good, root, root[:40], 1),
	} {
		t.Run(name, func(t *testing.T) {
			if text == good {
				t.Fatal("the case changes nothing")
			}
			if c, err := OpenCheckpoint(sign(text), m.vkey); err == nil {
				t.Errorf("took it as %+v", c)
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		long := append(sign(good), bytes.Repeat([]byte("— w AAAAAAAA\n"), 2000)...)
		if _, err := OpenCheckpoint(long, m.vkey); err == nil {
			t.Error("took it")
		}
	})
	t.Run("repeated signature", func(t *testing.T) {
		b := sign(good)
		_, signature, _ := bytes.Cut(b, []byte("\n\n"))
		b = append(b, signature...)
		if _, err := OpenCheckpoint(b, m.vkey); err == nil {
			t.Error("took it")
		}
	})
	t.Run("no key", func(t *testing.T) {
		if _, err := OpenCheckpoint(sign(good)); err == nil {
			t.Error("took it")
		}
	})
	t.Run("another key of the same name", func(t *testing.T) {
		_, other := newKey(t, 9)
		if _, err := OpenCheckpoint(sign(good), other); err == nil {
			t.Error("took it")
		}
	})
	t.Run("a witness's signature beside ours", func(t *testing.T) {
		skey, _, err := NewSigner("witness.test", seed(5))
		if err != nil {
			t.Fatal(err)
		}
		witness, err := ParseSigner(skey)
		if err != nil {
			t.Fatal(err)
		}
		b := must[[]byte](t)(note.Sign(&note.Note{Text: good}, m.signer, witness))
		if _, err := OpenCheckpoint(b, m.vkey); err != nil {
			t.Error(err)
		}
	})
	t.Run("an old and a new key", func(t *testing.T) {
		_, other := newKey(t, 9)
		if _, err := OpenCheckpoint(sign(good), other, m.vkey, m.vkey); err != nil {
			t.Error(err)
		}
	})
}

func TestKeysAreStrictAndSilent(t *testing.T) {
	skey, vkey, err := NewSigner(testOrigin, seed(3))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseVerifier(vkey); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "x", strings.ToUpper(vkey), vkey + "\n", " " + vkey, vkey[:len(vkey)-1], skey} {
		if _, err := ParseVerifier(bad); err == nil {
			t.Errorf("took %q", bad)
		}
	}
	for _, bad := range []string{"", vkey, skey[:len(skey)-1] + "A", skey[1:]} {
		if _, err := ParseSigner(bad); err == nil || strings.Contains(err.Error(), skey[len(skey)-20:]) {
			t.Errorf("a broken key: %v", err)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb", strings.Repeat("a", 256)} {
		if _, _, err := NewSigner(name, seed(1)); err == nil {
			t.Errorf("took the name %q", name)
		}
		if _, err := SignCheckpoint(name, Head{}, new(edge).root(), newMemory(t).signer, testTime); err == nil {
			t.Errorf("took the origin %q", name)
		}
	}
}
