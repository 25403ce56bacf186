package credential

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestLoadOrCreateFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "keys")
	made := 0
	create := func() ([]byte, error) { made++; return []byte("content"), nil }
	for range 2 {
		b, err := LoadOrCreateFile(dir, "audit.skey", create)
		if err != nil || string(b) != "content" || made != 1 {
			t.Fatalf("%q, %v, made %d times", b, err, made)
		}
	}
	boom := errors.New("boom")
	for name, create := range map[string]func() ([]byte, error){
		"failing": func() ([]byte, error) { return nil, boom }, "empty": func() ([]byte, error) { return nil, nil },
		"huge": func() ([]byte, error) { return make([]byte, maxFile+1), nil },
	} {
		if b, err := LoadOrCreateFile(dir, "other", create); err == nil || b != nil {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		if _, err := os.Stat(filepath.Join(dir, "other")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left a file", name)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateFile(dir, "empty", create); err == nil || made != 1 {
		t.Error("an empty file was replaced or taken for a key")
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateFile(dir, "folder", create); err == nil || made != 1 {
		t.Error("a folder was taken for a key")
	}
	if err := os.WriteFile(filepath.Join(dir, "plain"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateFile(filepath.Join(dir, "plain"), "k", create); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// Two processes that start at once must not end up with two keys.
func TestCreatedAtOnceIsCreatedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	const n = 8
	var start, all sync.WaitGroup
	got := make([][]byte, n)
	start.Add(n)
	for i := range n {
		all.Go(func() {
			b, err := LoadOrCreateFile(dir, "k", func() ([]byte, error) {
				start.Done()
				start.Wait() // everybody found nothing
				return []byte{'a' + byte(i)}, nil
			})
			if err != nil {
				t.Error(err)
			}
			got[i] = b
		})
	}
	all.Wait()
	kept, err := os.ReadFile(filepath.Join(dir, "k"))
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if !bytes.Equal(b, kept) {
			t.Errorf("caller %d got %q, the file has %q", i, b, kept)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left over: %v", entries)
	}
}
