package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// Invariant: A1, A4, A5, A9, A31
func TestTheStoryGoesAsItShould(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := Story(ctx, &out, false); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, part := range []string{"✗ 401", "✓ 200", "✗ 403", "after the end of the grant", "Approved by user:bo, user:cy", "the stream was cut", "gapless; all covered by a signed checkpoint", "actor differs"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the story does not tell %q:\n%s", part, &out)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("colour without a terminal")
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("it left %v behind, %v", left, err)
	}
}

func TestAKeptFolderIsUsedAgain(t *testing.T) {
	folder := t.TempDir() + "/dev"
	var tokens [2]map[string]string
	for i := range tokens {
		w, err := Start(context.Background(), Options{Folder: folder})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := w.PrintReady(&out, true); err != nil {
			t.Error(err)
		}
		var ready Ready
		if err := json.Unmarshal(out.Bytes(), &ready); err != nil || ready.API == "" || ready.Gateways["http"] == "" || ready.Data == "" {
			t.Errorf("%v: %s", err, &out)
		}
		tokens[i] = ready.Tokens
		if me, err := w.as("user:ana").Me(context.Background()); err != nil || me.ID != "user:ana" {
			t.Errorf("%v, %v", me, err)
		}
		w.Close()
	}
	if tokens[0]["user:ana"] == "" || tokens[0]["user:ana"] != tokens[1]["user:ana"] {
		t.Error("the tokens changed")
	}
}
