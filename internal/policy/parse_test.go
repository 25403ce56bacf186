package policy

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what Parse says into testdata/bad.txtar")

// Invariant: A19
// Attack: POL-03, POL-04, POL-14, POL-16, POL-17, REQ-05, CFG-06
func TestBadCatalogs(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/bad.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) < 100 || len(archive.Files)%2 != 0 {
		t.Fatalf("%d files: each catalog needs its want", len(archive.Files))
	}
	for i := 0; i < len(archive.Files); i += 2 {
		src, want := archive.Files[i], &archive.Files[i+1]
		t.Run(src.Name, func(t *testing.T) {
			c, err := Parse(src.Data, kinds)
			if err == nil || c != nil {
				t.Fatal("the catalog was taken")
			}
			got := err.Error() + "\n"
			if *update {
				want.Data = []byte(got)
			}
			if got != string(want.Data) || want.Name != "want" {
				t.Errorf("got\n%s\nwant\n%s", got, want.Data)
			}
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("%T is not Problems", err)
			}
			for _, p := range problems {
				lines := bytes.Count(src.Data, []byte("\n")) + 1
				if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
					t.Errorf("no place in the file: %+v", p)
				}
			}
		})
	}
	if *update {
		if err := os.WriteFile("testdata/bad.txtar", txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProblemsNameNoSecret(t *testing.T) {
	src := strings.Replace(contractCatalog, "{env: ORDERS_KEY}", "hunter2", 1)
	_, err := Parse([]byte(src), kinds)
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "{env: NAME}") {
		t.Errorf("got %v", err)
	}
}
