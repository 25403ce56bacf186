package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/daypass/daypass/api"
)

// firstOdd names the first thing in text that does something other than being
// seen, but for line ends. It is written apart from the code under test.
func firstOdd(text string) string {
	if !utf8.ValidString(text) {
		return "bytes that are not UTF-8"
	}
	for i, r := range text {
		switch {
		case r == '\n':
		case unicode.Is(unicode.C, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r),
			unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), unicode.Is(unicode.Variation_Selector, r),
			unicode.Is(unicode.Bidi_Control, r), unicode.Is(unicode.Zs, r) && r != ' ':
			return fmt.Sprintf("%U at byte %d", r, i)
		}
	}
	return ""
}

// FirstOdd is for the tests outside the package.
var FirstOdd = firstOdd

func testScreen(colour bool) (*screen, *bytes.Buffer) {
	var b bytes.Buffer
	s := newScreen(&b, true)
	s.colour = colour
	return s, &b
}

// withoutColours takes our own colours out.
func withoutColours(s string) string {
	for _, seq := range sequences {
		s = strings.ReplaceAll(s, seq, "")
	}
	return s
}

var odd = []string{
	"plain", "", "a\nb", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "\x9b31m", "\u009b31m", "a\rb", "a\bb", "\x00", "\x7f",
	"\u202eevil\u202c", "\u2066x\u2069", "zero\u200bwidth\u200d\ufeff", "\u2028\u2029", "\u00a0\u3000", "\ue000\ue001\ue005", "\U000e0041", "\U0010ffff", "\xff\xfe", "é", "日本語", "e\u0301",
	"\ufe0f", "\u3164", "\u034f", "%s%n%d", "\u00ad", "👩\u200d💻", "\u0600", "\ufff9x\ufffb", "\u180e", "\u115f",
}

// TestScreenIsPlain: whatever comes in, only visible runes, line ends of ours
// and our own colours come out.
//
// Attack: CLI-01
func TestScreenIsPlain(t *testing.T) {
	for _, text := range odd {
		checkPlain(t, text)
	}
}

// Attack: CLI-01
func FuzzScreen(f *testing.F) {
	for _, text := range odd {
		f.Add(text)
	}
	f.Fuzz(checkPlain)
}

func checkPlain(t *testing.T, text string) {
	for _, colour := range []bool{false, true} {
		s, b := testScreen(colour)
		s.printf("%s|%v|%s|%v\n", text, errors.New(text), paint(red, text), api.Time{})
		s.field("name", "%s", text)
		s.table([]string{"A", "B", "C"}, [][]any{{text, paint(green, text), 7}, {"x", "y", 8}})
		s.showLive("> "+text, text)
		s.endLive()
		out := b.String()
		if colour {
			if !strings.Contains(out, sequences[red]) {
				t.Fatalf("no colour in %q", out)
			}
			out = withoutColours(out)
		}
		if what := firstOdd(out); what != "" {
			t.Fatalf("%q came out with %s: %q", text, what, out)
		}
		// One line each of printf, field and the live line, three of the table.
		if n := strings.Count(out, "\n"); n != 6 {
			t.Fatalf("%q made %d lines of 6: %q", text, n, out)
		}
	}
	s, b := testScreen(true)
	if n, err := s.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	if what := firstOdd(b.String()); what != "" {
		t.Fatalf("Write let %s of %q out", what, text)
	}
	checkJSON(t, text)
}

// checkJSON: what is printed as JSON is plain and says the same.
func checkJSON(t *testing.T, text string) {
	s, b := testScreen(true)
	in := map[string]any{"a": text, text: []any{text}}
	if err := s.json(in); err != nil {
		t.Fatal(err)
	}
	if what := firstOdd(b.String()); what != "" {
		t.Fatalf("JSON let %s of %q out: %q", what, text, b)
	}
	var got, want map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%q is printed as %q: %v", text, b, err)
	}
	plain, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(plain, &want); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is printed as %q", text, b)
	}
}

func TestTableIsAligned(t *testing.T) {
	s, b := testScreen(true)
	s.table([]string{"WHO", "STATE", "WHAT"}, [][]any{
		{"user:ana", paint(green, "active"), "a"}, {"日本", paint(red, "denied or so"), "b"}, {"e\u0301e\u0301", "", "c"},
	})
	for _, line := range strings.Split(strings.TrimSpace(withoutColours(b.String())), "\n")[1:] {
		last := len(line) - 1
		if got := width(line[:last]); got != len("user:ana  denied or so  ") {
			t.Errorf("the last column of %q begins at %d", line, got)
		}
	}
}

func TestNoColourWithoutTerminal(t *testing.T) {
	var b bytes.Buffer
	if s := newScreen(&b, false); s.colour || s.tty {
		t.Error("a buffer is taken for a terminal")
	}
}

func TestLinesAboutWaitingAppearWhenTheyChange(t *testing.T) {
	s, b := testScreen(false)
	for _, left := range []string{"3s", "2s", "1s"} {
		s.showLive("waiting for dba", ", "+left+" left")
	}
	s.showLive("waiting for owner", ", 1s left")
	s.endLive()
	if got, want := b.String(), "waiting for dba, 3s left\nwaiting for owner, 1s left\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
