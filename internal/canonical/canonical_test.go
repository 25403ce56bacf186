package canonical_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"

	"github.com/daypass/daypass/internal/canonical"
)

// What is said to be canonical is what an independent implementation makes of
// it; and the scopes of ordinary use are seen to be.
//
// Invariant: A32
func TestIsAgreesWithJCS(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for raw, want := range map[string]bool{
		deep(32): true, deep(33): false,
		`{}`: true, `[]`: true, `{"methods":["GET","HEAD"],"paths":["/api/**"]}`: true, `[1,-20,0,true,false,null,"x"]`: true,
		`{"a":{"b":[{"c":123456789012345}]}}`: true,
		``:                                    false, `1`: false, `"x"`: false, `null`: false, `{`: false, `[`: false, `{}}`: false, `{"a":1,}`: false, `[1,]`: false, `{"a"}`: false,
		`{"b":1,"a":2}`: false, `{"a":1,"a":1}`: false, `{"a": 1}`: false, ` {}`: false, `{} `: false, "{\"a\":\"\n\"}": false,
		`[01]`: false, `[-0]`: false, `[1.0]`: false, `[1e3]`: false, `[-]`: false, `[1234567890123456]`: false, `["\u0061"]`: false, `["é"]`: false, `[tru]`: false, `[nul`: false, `{"":1}`: true,
	} {
		if got := canonical.Is([]byte(raw)); got != want {
			t.Errorf("%q: %v", raw, got)
		}
	}
}

func FuzzIs(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `[1,2,{"b":"c"}]`, `{"a":[],"b":{}}`, `{"b":1,"a":1}`, `[-0]`, `[1e2]`, `{"a":"\u0041"}`, `[[[[]]]]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !canonical.Is(raw) {
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("%q is not even JSON", raw)
		}
		want, err := jcs.Transform(raw)
		if err != nil || string(want) != string(raw) {
			t.Fatalf("%q: RFC 8785 makes it %q (%v)", raw, want, err)
		}
	})
}

// Small JSON of every sort, half of it canonical: both answers come, and yes
// only where it is right.
func TestIsOverRandomValues(t *testing.T) {
	yes, no := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		raw := []byte(rapid.StringMatching(`[\[\]{}":,0-9a-c -]{1,12}`).Draw(t, "text"))
		if v := rapid.SampledFrom([]any{nil, map[string]any{"b": 1, "a": []any{true, "x", -15}}, map[string]any{"a": 1.5}, []any{map[string]any{}, "\\", -1}}).Draw(t, "value"); v != nil {
			raw, _ = json.Marshal(v)
			if rapid.Bool().Draw(t, "canonical") {
				raw, _ = jcs.Transform(raw)
			}
		}
		if !canonical.Is(raw) {
			no++
			return
		}
		yes++
		if want, err := jcs.Transform(raw); err != nil || string(want) != string(raw) {
			t.Fatalf("%q: RFC 8785 makes it %q (%v)", raw, want, err)
		}
	})
	if yes == 0 || no == 0 {
		t.Errorf("%d said to be canonical, %d not: it looked at one sort only", yes, no)
	}
}

// Invariant: A32
func TestStringsAreAsJCSWritesThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s") + rapid.SampledFrom([]string{"", "\"\\\b\t\n\f\r\x00\x1f\x7f", "<>&\u2028", "é😀"}).Draw(t, "more")
		raw, err := json.Marshal([]string{s})
		if err != nil {
			t.Fatal(err)
		}
		want, err := jcs.Transform(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := "[" + string(canonical.AppendString(nil, s)) + "]"; got != string(want) {
			t.Fatalf("%q is written %s, want %s", s, got, want)
		}
	})
}
