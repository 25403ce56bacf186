package access_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
)

// TestMain sets how many random lives each property sees: DAYPASS_LIVES where
// it is set (CI says 20000), else what -rapid.checks says, else 2000.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "rapid.checks" })
	lives := os.Getenv("DAYPASS_LIVES")
	if lives == "" && !chosen {
		lives = "2000"
	}
	if lives != "" {
		set("rapid.checks", lives)
	}
	set("rapid.nofailfile", "true") // the seed that is printed is enough
	os.Exit(m.Run())
}

// lives is how many random lives each property sees.
func lives() int {
	n, err := strconv.Atoi(flag.Lookup("rapid.checks").Value.String())
	if err != nil {
		panic(err)
	}
	return n
}

func set(name, value string) {
	if err := flag.Set(name, value); err != nil {
		fmt.Fprintf(os.Stderr, "setting -%s to %q: %v\n", name, value, err)
		os.Exit(2)
	}
}
