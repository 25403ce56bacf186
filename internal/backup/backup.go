// Package backup is the file of a backup: a tar archive whose first member, a
// manifest, names what follows with sizes and SHA-256s. Write makes one, Read
// unpacks one into an empty folder, or checks it without keeping anything.
//
// It refuses everything that the manifest does not name, in another order, of
// another size or content; links, folders, and names that are not on the
// caller's list. It does not know what the files mean.
package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/daypass/daypass/api"
)

// Format is the version of the layout that this package writes and reads.
const Format = 1

const (
	manifestName = "manifest.json"
	maxManifest  = 1 << 20
)

// Manifest says what a backup is of, and what is in it.
type Manifest struct {
	Format     int      `json:"format"`
	Daypass    string   `json:"daypass"` // version that wrote it
	CreatedAt  api.Time `json:"created_at"`
	Log        string   `json:"log"`        // origin of the audit log: which store it is of
	Seq        int64    `json:"seq"`        // of the last entry of the log
	Leaves     int64    `json:"leaves"`     // of its tree
	EntryAt    api.Time `json:"entry_at"`   // when the clock's mark of that commit was
	Checkpoint string   `json:"checkpoint"` // the signed head of the log
	Secrets    []string `json:"secrets"`    // the files that must stay secret
	Files      []File   `json:"files"`      // in the order in which they follow
}

// File is one member.
type File struct {
	Name   string `json:"name"` // with forward slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Write writes the named files of dir, and m before them with their sizes and
// digests.
func Write(w io.Writer, dir string, m Manifest, names []string) (Manifest, error) {
	m.Format, m.Files = Format, nil
	for _, name := range names {
		f, err := digest(dir, name)
		if err != nil {
			return m, err
		}
		m.Files = append(m.Files, f)
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, err
	}
	out := tar.NewWriter(w)
	if err := put(out, manifestName, int64(len(raw)), m.CreatedAt.Time, bytes.NewReader(raw)); err != nil {
		return m, err
	}
	for _, f := range m.Files {
		if err := putFile(out, dir, f, m.CreatedAt.Time); err != nil {
			return m, err
		}
	}
	return m, out.Close()
}

func digest(dir, name string) (File, error) {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return File{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	n, err := io.Copy(h, f)
	return File{Name: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

func putFile(out *tar.Writer, dir string, file File, at time.Time) error {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(file.Name)))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	return put(out, file.Name, file.Size, at, f)
}

func put(out *tar.Writer, name string, size int64, at time.Time, from io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: at.UTC().Truncate(time.Second), Format: tar.FormatPAX}
	if err := out.WriteHeader(header); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if _, err := io.Copy(out, from); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// Read reads a whole backup and checks every byte that the manifest vouches
// for. Only the allowed names are taken, all of which must be there. With a
// dir, which must be empty, the files are put there with mode 0600; with "" it
// only checks.
func Read(r io.Reader, dir string, allowed []string) (Manifest, error) {
	in := tar.NewReader(r)
	m, err := manifest(in, allowed)
	if err != nil {
		return m, err
	}
	for _, f := range m.Files {
		if err := member(in, dir, f); err != nil {
			return m, fmt.Errorf("reading %s: %w", f.Name, err)
		}
	}
	switch h, err := in.Next(); {
	case err == nil:
		return m, fmt.Errorf("the backup holds %q, which its manifest does not name", clip(h.Name))
	case !errors.Is(err, io.EOF):
		return m, fmt.Errorf("reading the end of the backup: %w", err)
	}
	return m, nil
}

func manifest(in *tar.Reader, allowed []string) (Manifest, error) {
	var m Manifest
	h, err := in.Next()
	if err != nil {
		return m, fmt.Errorf("this is no backup: %w", err)
	}
	if h.Name != manifestName || h.Typeflag != tar.TypeReg || h.Size > maxManifest {
		return m, errors.New("this is no backup: it does not begin with a manifest")
	}
	decode := json.NewDecoder(in)
	decode.DisallowUnknownFields()
	if err := decode.Decode(&m); err != nil {
		return m, fmt.Errorf("reading the manifest: %w", err)
	}
	if m.Format != Format {
		return m, fmt.Errorf("the backup has the format %d, this version reads %d", m.Format, Format)
	}
	var names []string
	for _, f := range m.Files {
		if !slices.Contains(allowed, f.Name) || slices.Contains(names, f.Name) || f.Size < 0 {
			return m, fmt.Errorf("the manifest names %q, which does not belong into a backup", clip(f.Name))
		}
		names = append(names, f.Name)
	}
	for _, name := range allowed {
		if !slices.Contains(names, name) {
			return m, fmt.Errorf("the backup lacks %s", name)
		}
	}
	return m, nil
}

// member reads one file and compares it with what the manifest says.
func member(in *tar.Reader, dir string, f File) (err error) {
	h, err := in.Next()
	if err != nil {
		return err
	}
	if h.Name != f.Name || h.Typeflag != tar.TypeReg || h.Size != f.Size {
		return fmt.Errorf("in its place is %q of %d bytes, want %d", clip(h.Name), h.Size, f.Size)
	}
	sum := sha256.New()
	to := io.Writer(sum)
	if dir != "" {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Sync(), file.Close()) }()
		to = io.MultiWriter(sum, file)
	}
	if _, err := io.Copy(to, in); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
		return errors.New("its SHA-256 is not that of the manifest: the backup was damaged or changed")
	}
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
