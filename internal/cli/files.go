package cli

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
)

// replaceFile writes a new file of mode 0600 and gives it the name of the old
// one, which may be a link: it is replaced, never followed.
func replaceFile(root *os.Root, name string, content []byte) error {
	return streamFile(root, name, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// streamFile is replaceFile for what write writes. When that fails the old
// file stays as it was.
func streamFile(root *os.Root, name string, write func(io.Writer) error) (err error) {
	temp := "." + name + "." + rand.Text()
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(temp)
		}
	}()
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return root.Rename(temp, name)
}

// maxInput is the most that is read of a file or of standard input, in bytes.
const maxInput = 4 << 20

// readInput reads a file, or standard input for "-".
func (a *app) readInput(path string) ([]byte, error) {
	in := a.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(b) > maxInput {
		return nil, fmt.Errorf("%s is longer than %d MiB", path, maxInput>>20)
	}
	return b, nil
}
