package web

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/daypass/daypass/api"
)

// Attack: REQ-04
func TestPlainly(t *testing.T) {
	for text, want := range map[string]string{
		"refund 1002": "refund 1002", "two\nlines\tand a tab": "two\nlines\tand a tab", "naïve 漢字 👩‍💻": "naïve 漢字 👩‍💻",
		"a\u202eb": "a⟨U+202E⟩b", "a\u2066b\u2069": "a⟨U+2066⟩b⟨U+2069⟩", "\x1b[31m": "⟨U+001B⟩[31m", "a\u200bb\ufeff": "a⟨U+200B⟩b⟨U+FEFF⟩",
		"a\u3164b": "a⟨U+3164⟩b", "a\u2028b": "a⟨U+2028⟩b", "a\rb": "a⟨U+000D⟩b", "\U000e0041": "⟨U+E0041⟩",
	} {
		if got := plainly(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// No member of a scope is left out, whatever it is.
func TestRowsShowAll(t *testing.T) {
	for raw, want := range map[string]string{
		`{"paths":["/a","/b"],"methods":["GET"]}`: "methods=GET paths=/a, /b", `{"n":1,"deep":{"x":[1]}}`: "deep={\n  \"x\": [\n    1\n  ]\n} n=1",
		`{"none":[],"null":null,"text":"t"}`: "none= null=null text=t", `[1]`: "scope=[1]", `{"mixed":["a",1]}`: "mixed=[\n  \"a\",\n  1\n]",
	} {
		var got []string
		for _, r := range rows(json.RawMessage(raw)) {
			got = append(got, r.Name+"="+r.Text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s is shown as %q, want %q", raw, strings.Join(got, " "), want)
		}
	}
}

func TestTimesInWords(t *testing.T) {
	now := time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		-time.Second: "over", 0: "over", 59 * time.Second: "less than a minute", time.Minute: "1 min", 59*time.Minute + 59*time.Second: "59 min",
		time.Hour: "1 h", 90 * time.Minute: "1 h 30 min", 24 * time.Hour: "1 day", 49 * time.Hour: "2 days",
	} {
		if got := left(api.TimeOf(now.Add(d)), now); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	if got := say("until 2026-11-28T15:30:00.000Z, or 2026-11-30T09:00:00.000Z.", now); got != "until 15:30 UTC, or 30 Nov 2026, 09:00 UTC." {
		t.Error(got)
	}
}

// Whatever somebody typed: what is shown is text that a reader sees.
func FuzzPlainly(f *testing.F) {
	for _, s := range []string{"a\u202eb", "\xff\x00", "plain", "\u200d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := plainly(s)
		if strings.ContainsFunc(got, hidden) || utf8.ValidString(s) && len(got) < len(s) {
			t.Fatalf("%q is shown as %q", s, got)
		}
	})
}
