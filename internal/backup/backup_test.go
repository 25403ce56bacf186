package backup_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/backup"
)

var names = []string{"daypass.db", "keys/audit.skey"}

func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"daypass.db": strings.Repeat("row ", 1000), "keys/audit.skey": "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func written(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	m := backup.Manifest{Daypass: "test", CreatedAt: api.TimeOf(time.Unix(1_800_000_000, 0)), Log: "daypass/log", Seq: 7, Leaves: 7}
	if _, err := backup.Write(&b, folder(t), m, names); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Invariant: A31, A32
func TestRoundTrip(t *testing.T) {
	raw := written(t)
	dir := t.TempDir()
	m, err := backup.Read(bytes.NewReader(raw), dir, names)
	if err != nil || m.Seq != 7 || len(m.Files) != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "keys/audit.skey")); string(got) != "secret" {
		t.Errorf("the key reads %q", got)
	}
	if _, err := backup.Read(bytes.NewReader(raw), dir, names); err == nil {
		t.Error("files that were there were written over")
	}
	if _, err := backup.Read(bytes.NewReader(raw), "", names[:1]); err == nil {
		t.Error("a file that is not on the list was taken")
	}
	if _, err := backup.Read(bytes.NewReader(raw), "", append([]string{"more"}, names...)); err == nil {
		t.Error("a file that is missing was not missed")
	}
}

// Every changed byte of what a backup holds is found, or changes nothing.
//
// Invariant: A31
func TestDamage(t *testing.T) {
	raw := written(t)
	whole, err := backup.Read(bytes.NewReader(raw), "", names)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for i := 0; i < len(raw); i += 7 {
		damaged := bytes.Clone(raw)
		damaged[i] ^= 0x01
		dir := t.TempDir()
		m, err := backup.Read(bytes.NewReader(damaged), dir, names)
		if err != nil {
			found++
			continue
		}
		for _, f := range whole.Files {
			content, err := os.ReadFile(filepath.Join(dir, f.Name))
			if err != nil || int64(len(content)) != f.Size {
				t.Fatalf("byte %d: %s is %d bytes, %v", i, f.Name, len(content), err)
			}
		}
		if m.Files[0] != whole.Files[0] || m.Files[1] != whole.Files[1] {
			t.Fatalf("byte %d: the manifest names other files: %+v", i, m.Files)
		}
	}
	if found < 500 {
		t.Fatalf("only %d changes were found", found)
	}
	for _, n := range []int{0, 100, len(raw) / 2} {
		if _, err := backup.Read(bytes.NewReader(raw[:n]), "", names); err == nil {
			t.Errorf("%d bytes of it were taken for all", n)
		}
	}
}

// FuzzRead: nothing is written but the files on the list, whatever comes.
//
// Attack: CFG-06
func FuzzRead(f *testing.F) {
	f.Add(written(f))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "../evil", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"})
	_ = w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_, _ = backup.Read(bytes.NewReader(raw), dir, names)
		_ = filepath.WalkDir(parent, func(path string, d os.DirEntry, err error) error {
			rel, _ := filepath.Rel(dir, path)
			switch rel {
			case "..", ".", "keys", "daypass.db", "keys/audit.skey":
			default:
				t.Errorf("it wrote %s", path)
			}
			return err
		})
	})
}
