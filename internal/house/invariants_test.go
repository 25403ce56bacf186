package house

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/invariants.md anew")

// mark is the comment above a test that proves something of the design pages.
var mark = regexp.MustCompile(`(?m)^// (?:Invariant|Attack|Invariants|Attacks): (.+)$`)

// testName finds the test that a mark stands above.
var testName = regexp.MustCompile(`^(?://[^\n]*\n)*func (Test|Fuzz)([A-Za-z0-9_]+)\(`)

var reference = regexp.MustCompile(`\b(?:A\d{1,2}|[A-Z]{2,3}-\d{2})\b`)

// proofs maps each reference to the tests that say they prove it.
func proofs(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	goFiles(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "internal/house/") {
			return
		}
		content, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		for _, at := range mark.FindAllStringSubmatchIndex(text, -1) {
			name := testName.FindStringSubmatch(text[at[0]:])
			if name == nil {
				t.Errorf("%s: a mark that does not stand above a test: %s", path, text[at[0]:at[1]])
				continue
			}
			where := fmt.Sprintf("`%s` %s%s", filepath.ToSlash(filepath.Dir(path)), name[1], name[2])
			for _, ref := range reference.FindAllString(text[at[2]:at[3]], -1) {
				if !slices.Contains(out[ref], where) {
					out[ref] = append(out[ref], where)
				}
			}
		}
	})
	return out
}

// required are the invariants and attacks that this release must prove.
func required() []string {
	var refs []string
	add := func(prefix string, format string, from, to int, but ...int) {
		for n := from; n <= to; n++ {
			if !slices.Contains(but, n) {
				refs = append(refs, fmt.Sprintf(prefix+format, n))
			}
		}
	}
	add("A", "%d", 1, 14)
	add("A", "%d", 16, 23)
	add("A", "%d", 25, 27)
	add("A", "%d", 30, 34)
	add("A", "%d", 37, 40)
	add("REQ-", "%02d", 1, 22, 11, 20)                             // there are no edits and no comment threads
	add("APV-", "%02d", 1, 28, 13, 15, 16, 18, 20, 21, 22, 23, 24) // no delegation, chat, pages, scripts, break-glass, step-up yet
	add("TOK-", "%02d", 1, 18, 9, 15, 16)
	add("INT-", "%02d", 1, 10, 3, 4, 9)
	add("HTT-", "%02d", 1, 12)
	add("CLI-", "%02d", 1, 9)
	add("OID-", "%02d", 1, 13)
	add("WEB-", "%02d", 1, 3)
	add("AUD-", "%02d", 1, 14, 9, 12, 13)
	add("CFG-", "%02d", 1, 10, 4)
	add("RES-", "%02d", 1, 10, 7)
	return refs
}

// TestInvariantsAreMapped keeps docs/invariants.md true: it is made from the
// marks above the tests, and what must be proven has a test.
func TestInvariantsAreMapped(t *testing.T) {
	have := proofs(t)
	for _, ref := range required() {
		if len(have[ref]) == 0 {
			t.Errorf("no test says that it proves %s", ref)
		}
	}
	doc := document(have)
	path := filepath.Join(root(t), "docs/invariants.md")
	if *update {
		if err := os.WriteFile(path, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) != doc {
		t.Error("docs/invariants.md is not current: run make generate and commit")
	}
}

func document(have map[string][]string) string {
	refs := make([]string, 0, len(have))
	for ref := range have {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b string) int { return strings.Compare(sortKey(a), sortKey(b)) })
	var b strings.Builder
	b.WriteString(`# What is proven, and where

Each reference is an invariant (A…) or an attack of the design pages; beside it are the tests that prove it.
This page is made from the comments above the tests (` + "`make generate`" + `), and a test fails when it is not current.

| reference | tests |
|---|---|
`)
	for _, ref := range refs {
		tests := slices.Clone(have[ref])
		slices.Sort(tests)
		fmt.Fprintf(&b, "| %s | %s |\n", ref, strings.Join(tests, "<br>"))
	}
	return b.String()
}

func sortKey(ref string) string {
	if n, err := strconv.Atoi(strings.TrimPrefix(ref, "A")); err == nil {
		return fmt.Sprintf(" %03d", n)
	}
	return ref
}
