package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// maxSecretSize bounds a secret read from a file, in bytes.
const maxSecretSize = 1 << 20

// Secret is a reference to a secret value: {env: NAME} or {file: PATH}. It
// never holds the value, so that printing, logging or storing a configuration
// cannot show it.
type Secret struct {
	Env  string
	File string
}

var environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// DecodeYAML implements NodeDecoder. A secret written out is refused, without
// repeating it.
func (s *Secret) DecodeYAML(node ast.Node) error {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		return errors.New("a secret is not written into the file: give {env: NAME} or {file: PATH}")
	}
	var given struct {
		Env  Located[string] `yaml:"env"`
		File Located[string] `yaml:"file"`
	}
	if err := DecodeNode(node, &given); err != nil {
		return err
	}
	switch {
	case given.Env.Given() == given.File.Given():
		return errors.New("a secret needs exactly one of env and file: {env: NAME} or {file: PATH}")
	case given.Env.Given() && !environmentName.MatchString(given.Env.Value):
		return At(given.Env.Node, errors.New("must be the name of an environment variable, such as ORDERS_KEY: values are not expanded"))
	case given.File.Given() && given.File.Value == "":
		return At(given.File.Node, errors.New("must be the path of a file"))
	}
	s.Env, s.File = given.Env.Value, given.File.Value
	return nil
}

// IsZero reports whether there is no reference.
func (s Secret) IsZero() bool { return s == Secret{} }

// Value reads the secret. A file must be given by an absolute path and not be
// readable by others; one line end at its end is dropped. An unset or empty
// secret is an error that names the variable or the file, never the value.
func (s Secret) Value() (string, error) {
	switch {
	case s.Env != "":
		value, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", s.Env)
		}
		if value == "" {
			return "", fmt.Errorf("the environment variable %s is empty", s.Env)
		}
		return value, nil
	case s.File != "":
		return s.read()
	}
	return "", errors.New("no secret is configured")
}

func (s Secret) read() (string, error) {
	if !filepath.IsAbs(s.File) {
		return "", fmt.Errorf("the secret file %s: its path must be absolute", s.File)
	}
	f, err := os.Open(s.File)
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	if err := private(s.File, info); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecretSize+1))
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case len(b) > maxSecretSize:
		return "", fmt.Errorf("the secret file %s is longer than %d bytes", s.File, maxSecretSize)
	case value == "":
		return "", fmt.Errorf("the secret file %s is empty", s.File)
	}
	return value, nil
}

// CheckPrivate refuses a file that holds a secret and that others may read. A
// group may read it: that is somebody's deliberate choice.
func CheckPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("looking at a file with a secret: %w", err)
	}
	return private(path, info)
}

func private(path string, info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case runtime.GOOS == "windows": // modes say nothing there
		return nil
	case info.Mode().Perm()&0o007 != 0:
		return fmt.Errorf("%s holds a secret and others may read it (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return nil
}

// String returns the reference.
func (s Secret) String() string {
	switch {
	case s.Env != "":
		return "{env: " + s.Env + "}"
	case s.File != "":
		return "{file: " + s.File + "}"
	}
	return "{}"
}

// GoString returns the reference.
func (s Secret) GoString() string { return s.String() }

// LogValue returns the reference.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON returns the reference as Parse takes it.
func (s Secret) MarshalJSON() ([]byte, error) {
	switch {
	case s.Env != "":
		return json.Marshal(map[string]string{"env": s.Env})
	case s.File != "":
		return json.Marshal(map[string]string{"file": s.File})
	}
	return []byte("null"), nil
}

// MarshalYAML returns the reference as Parse takes it (flow style).
func (s Secret) MarshalYAML() ([]byte, error) { return s.MarshalJSON() }
