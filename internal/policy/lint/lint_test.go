package lint_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/policy/lint"
)

var update = flag.Bool("update", false, "write what the linter says into testdata/findings.txtar")

var options = lint.Options{RequestTTL: 24 * time.Hour}

func check(t testing.TB, src []byte) api.CatalogCheck {
	t.Helper()
	_, found := lint.Source(src, daemon.PolicyKinds(), options)
	if !found.OK || found.Bounded != "" {
		t.Fatalf("not a good catalog: %+v\n%s", found, src)
	}
	return found
}

func lines(found api.CatalogCheck) string {
	var s strings.Builder
	for _, f := range found.Findings {
		suspected := ""
		if f.Suspected {
			suspected = " (suspected)"
		}
		fmt.Fprintf(&s, "%d:%d: %s %s: %s%s; %s\n", f.Line, f.Column, f.Severity, f.Code, f.Message, suspected, f.Fix)
	}
	return s.String()
}

// Every rule of the linter finds a bad catalog and leaves a good one alone.
//
// Invariant: A13, A19
// Attack: POL-12
func TestFindings(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/findings.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) < 90 || len(archive.Files)%3 != 0 {
		t.Fatalf("%d files: each catalog needs a good one, and its want", len(archive.Files))
	}
	for i := 0; i < len(archive.Files); i += 3 {
		bad, good, want := archive.Files[i], archive.Files[i+1], &archive.Files[i+2]
		t.Run(bad.Name, func(t *testing.T) {
			got := lines(check(t, bad.Data))
			if *update {
				want.Data = []byte(got)
			}
			code, _, _ := strings.Cut(bad.Name, ":")
			if got != string(want.Data) || !strings.Contains(got, " "+code+": ") {
				t.Errorf("got\n%s\nwant\n%s", got, want.Data)
			}
			if got := lines(check(t, good.Data)); got != "" {
				t.Errorf("in the good one: %s\n%s", got, good.Data)
			}
		})
	}
	if *update {
		if err := os.WriteFile("testdata/findings.txtar", txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
