package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Attack: CFG-05, CFG-06
func TestSecretValue(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DAYPASS_TEST_SECRET", "s3cr3t\n")
	t.Setenv("DAYPASS_TEST_EMPTY", "")
	good := writeFile(t, dir, "good", "  s3cr3t \r\n", 0o600)
	empty := writeFile(t, dir, "empty", "\n", 0o600)
	open := writeFile(t, dir, "open", "s3cr3t", 0o644)
	long := writeFile(t, dir, "long", strings.Repeat("x", maxSecretSize+1), 0o600)
	for _, test := range []struct {
		secret      Secret
		value, fail string
	}{
		{Secret{Env: "DAYPASS_TEST_SECRET"}, "s3cr3t\n", ""},
		{Secret{Env: "DAYPASS_TEST_EMPTY"}, "", "the environment variable DAYPASS_TEST_EMPTY is empty"},
		{Secret{Env: "DAYPASS_TEST_UNSET"}, "", "the environment variable DAYPASS_TEST_UNSET is not set"},
		{Secret{File: good}, "  s3cr3t ", ""},
		{Secret{File: empty}, "", "the secret file " + empty + " is empty"},
		{Secret{File: open}, "", open + " holds a secret and others may read it (mode 0644): run chmod 600 " + open},
		{Secret{File: long}, "", "the secret file " + long + " is longer than 1048576 bytes"},
		{Secret{File: dir}, "", dir + " is not a regular file"},
		{Secret{File: dir + "/none"}, "", "reading a secret: open " + dir + "/none: no such file or directory"},
		{Secret{File: "../key"}, "", "the secret file ../key: its path must be absolute"},
		{Secret{}, "", "no secret is configured"},
	} {
		value, err := test.secret.Value()
		if value != test.value || (err != nil || test.fail != "") && fmt.Sprint(err) != test.fail {
			t.Errorf("%s: %q, %v", test.secret, value, err)
		}
	}
}

// Invariant: A21
// Attack: CFG-05
func TestSecretIsNeverShown(t *testing.T) {
	t.Setenv("DAYPASS_TEST_SECRET", "s3cr3t")
	secret := Secret{Env: "DAYPASS_TEST_SECRET"}
	if value, err := secret.Value(); value != "s3cr3t" || err != nil {
		t.Fatal(value, err)
	}
	in := struct{ Key Secret }{secret}
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", secret, "in", in)
	yaml, err := secret.MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{secret.String(), string(raw), log.String(), string(yaml), fmt.Sprintf("%v %+v %#v %s %q", in, in, in, in, in)} {
		if strings.Contains(shown, "s3cr3t") || !strings.Contains(shown, "DAYPASS_TEST_SECRET") {
			t.Errorf("shown: %s", shown)
		}
	}
	var back Secret
	if err := Decode("f", raw, &struct {
		Key *Secret `yaml:"Key"`
	}{&back}); err != nil {
		t.Errorf("the reference cannot be read again: %v", err)
	}
}
