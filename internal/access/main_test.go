package access_test

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// check runs a property over as many random lives as DAYPASS_LIVES says (CI:
// 20000), else as -rapid.checks says, else 2000. The variable is read inside
// the test: what TestMain reads does not count when go test looks for a result
// in its cache.
func check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "rapid.checks" })
	lives := os.Getenv("DAYPASS_LIVES")
	if lives == "" && !chosen {
		lives = "2000"
	}
	if lives != "" {
		set(t, "rapid.checks", lives)
	}
	set(t, "rapid.nofailfile", "true") // the seed that is printed is enough
	rapid.Check(t, property)
}

// lives is how many random lives each property sees.
func lives() int {
	n, err := strconv.Atoi(flag.Lookup("rapid.checks").Value.String())
	if err != nil {
		panic(err)
	}
	return n
}

func set(t *testing.T, name, value string) {
	t.Helper()
	if err := flag.Set(name, value); err != nil {
		t.Fatalf("setting -%s to %q: %v", name, value, err)
	}
}
