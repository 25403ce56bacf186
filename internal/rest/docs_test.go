package rest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The calls that docs/api.md shows exist.
func TestGuideNamesCallsThatExist(t *testing.T) {
	guide, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, rt := range Routes() {
		known[strings.ReplaceAll(rt.Path, "{id}", "ID")] = true
	}
	shown := map[string]bool{}
	for _, path := range regexp.MustCompile(`\$DAYPASS_URL(/v1[^ ?"\n]*)`).FindAllSubmatch(guide, -1) {
		p := regexp.MustCompile(`(req|grt)_…`).ReplaceAllString(string(path[1]), "ID")
		shown[p] = true
		if !known[p] {
			t.Errorf("%s is no call", p)
		}
	}
	if len(shown) < 8 {
		t.Errorf("only %v are shown", shown)
	}
}
