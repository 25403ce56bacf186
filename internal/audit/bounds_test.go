package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func ready(change func(*Entry)) *Entry {
	e := plain(1)
	e.Seq = 1
	change(e)
	return e
}

// Each bound of an entry holds to the last byte, on both sides.
//
// Invariant: A32
func TestBoundsOfAnEntry(t *testing.T) {
	deep := func(n int) any {
		v := any("x")
		for range n {
			v = []any{v}
		}
		return v
	}
	raw := func(n int) json.RawMessage { return json.RawMessage(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	cut := func(change func(*Cut)) map[string]any {
		c := cutText(strings.Repeat("x", MaxValue+1), valueHead)
		change(&c)
		return map[string]any{"a": c}
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	for name, c := range map[string]struct {
		change func(*Entry)
		field  string // "": it is taken
	}{
		"a long ID":             {func(e *Entry) { e.ID = strings.Repeat("a", 64) }, ""},
		"a longer ID":           {func(e *Entry) { e.ID = strings.Repeat("a", 65) }, "id"},
		"a long type":           {func(e *Entry) { e.Type = strings.Repeat("a", 64) }, ""},
		"a longer type":         {func(e *Entry) { e.Type = strings.Repeat("a", 65) }, "type"},
		"a type of other bytes": {func(e *Entry) { e.Type = "request created" }, "type"},
		"the last seq":          {func(e *Entry) { e.Seq = maxSeq }, ""},
		"a seq beyond":          {func(e *Entry) { e.Seq = maxSeq + 1 }, "seq"},
		"the first year":        {func(e *Entry) { e.Time = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC) }, ""},
		"a year before":         {func(e *Entry) { e.Time = time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC) }, "time"},
		"the last year":         {func(e *Entry) { e.Time = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) }, ""},
		"a year after":          {func(e *Entry) { e.Time = time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)) }, "time"},
		"a digest":              {func(e *Entry) { e.Reason.Digest = digest }, ""},
		"a digest of capitals":  {func(e *Entry) { e.Reason.Digest = strings.Replace(digest, "a", "A", 4) }, "reason"},
		"a digest too short":    {func(e *Entry) { e.Reason.Digest = digest[:70] }, "reason"},
		"a digest too long":     {func(e *Entry) { e.Reason.Digest = digest + "a" }, "reason"},
		"an actor that is cut": {func(e *Entry) {
			e.Actor, e.Cuts = "", map[string]Cut{"actor": cutText(strings.Repeat("x", 2000), fieldHead)}
		}, ""},
		"a cut that is none":   {func(e *Entry) { e.Resource, e.Cuts = "", map[string]Cut{"resource": {}} }, "cuts"},
		"a null scope cut":     {func(e *Entry) { e.Scope, e.Cuts = json.RawMessage("null"), map[string]Cut{"scope": cutText("x", 1)} }, ""},
		"a kept scope cut":     {func(e *Entry) { e.Cuts = map[string]Cut{"scope": cutText("x", 1)} }, "cuts"},
		"kept details cut":     {func(e *Entry) { e.Cuts = map[string]Cut{"details": cutText("x", 1)} }, "cuts"},
		"details cut":          {func(e *Entry) { e.Details, e.Cuts = nil, map[string]Cut{"details": cutText("x", 1)} }, ""},
		"as deep as may be":    {func(e *Entry) { e.Details = map[string]any{"a": deep(maxDepth - 1)} }, ""},
		"a level deeper":       {func(e *Entry) { e.Details = map[string]any{"a": deep(maxDepth)} }, "details"},
		"a scope so deep":      {func(e *Entry) { e.Scope = raw(maxDepth) }, ""},
		"a scope a level more": {func(e *Entry) { e.Scope = raw(maxDepth + 1) }, "scope"},
		"lists beside lists":   {func(e *Entry) { e.Scope = json.RawMessage("[" + strings.Repeat("[],", 50) + `"[[[{{{\"[[["]`) }, ""},
		"a long key":           {func(e *Entry) { e.Details = map[string]any{strings.Repeat("k", MaxKey): 1} }, ""},
		"the last integer": {func(e *Entry) {
			e.Details = map[string]any{"a": int64(maxSeq), "b": -int64(maxSeq), "c": uint64(maxSeq)}
		}, ""},
		"an integer below":      {func(e *Entry) { e.Details = map[string]any{"a": -int64(maxSeq) - 1} }, "details"},
		"an empty scope":        {func(e *Entry) { e.Scope = json.RawMessage{} }, ""},
		"an empty raw detail":   {func(e *Entry) { e.Details = map[string]any{"a": json.RawMessage{}} }, ""},
		"a broken raw detail":   {func(e *Entry) { e.Details = map[string]any{"a": json.RawMessage(`{`)} }, "details"},
		"a map of other keys":   {func(e *Entry) { e.Details = map[string]any{"a": map[int]string{1: "x"}} }, "details"},
		"a cut value":           {func(e *Entry) { e.Details = cut(func(*Cut) {}) }, ""},
		"a cut of one byte":     {func(e *Entry) { e.Details = cut(func(c *Cut) { c.Length = 1 }) }, ""},
		"a cut of nothing":      {func(e *Entry) { e.Details = cut(func(c *Cut) { c.Length = 0 }) }, "details"},
		"the longest cut":       {func(e *Entry) { e.Details = cut(func(c *Cut) { c.Length = maxSeq }) }, ""},
		"a longer cut":          {func(e *Entry) { e.Details = cut(func(c *Cut) { c.Length = maxSeq + 1 }) }, "details"},
		"a cut of a long head":  {func(e *Entry) { e.Details = cut(func(c *Cut) { c.Head = strings.Repeat("x", 3*valueHead) }) }, ""},
		"a cut of a longer one": {func(e *Entry) { e.Details = cut(func(c *Cut) { c.Head = strings.Repeat("x", 3*valueHead+1) }) }, "details"},
		"a cut of bytes":        {func(e *Entry) { e.Details = cut(func(c *Cut) { c.Head = "\xff" }) }, "details"},
		"a cut of another sum":  {func(e *Entry) { e.Details = cut(func(c *Cut) { c.SHA256 = strings.ToUpper(c.SHA256) }) }, "details"},
	} {
		b, err := ready(c.change).Encode()
		var wrong *EntryError
		switch errors.As(err, &wrong); {
		case c.field == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.field != "" && (wrong == nil || wrong.Field != c.field):
			t.Errorf("%s: %s, %v, want an error about %s", name, b, err, c.field)
		case c.field == "":
			if _, err := DecodeEntry(b); err != nil {
				t.Errorf("%s: %s is not decoded: %v", name, b, err)
			}
		}
	}
}

// A text is kept whole up to its bound in JSON, and cut at one byte more.
//
// Attack: AUD-05
func TestTextsAreCutAtTheirBound(t *testing.T) {
	bytesOf := func(n int) string { return strings.Repeat("\xff", n) }
	letters := func(n int) string { return strings.Repeat("x", n) }
	escaped := func(n int) string {
		return strings.Repeat("\x00", n/6) + strings.Repeat(`"`, n%6/2) + strings.Repeat("x", n%2)
	}
	for name, c := range map[string]struct {
		text func(n int) string
		per  int // bytes of JSON for a byte of text that is not UTF-8
		set  func(e *Entry, s string)
		most int
	}{
		"a field":            {text: letters, per: 1, most: MaxField, set: func(e *Entry, s string) { e.Resource = s }},
		"a field of escapes": {text: escaped, per: 1, most: MaxField, set: func(e *Entry, s string) { e.Resource = s }},
		"a field of bytes":   {text: bytesOf, per: 2, most: MaxField, set: func(e *Entry, s string) { e.Resource = s }},
		"a value":            {text: letters, per: 1, most: MaxValue, set: func(e *Entry, s string) { e.Details = map[string]any{"a": s} }},
		"a value of escapes": {text: escaped, per: 1, most: MaxValue, set: func(e *Entry, s string) { e.Details = map[string]any{"a": s} }},
		"a value of bytes":   {text: bytesOf, per: 2, most: MaxValue, set: func(e *Entry, s string) { e.Details = map[string]any{"a": s} }},
	} {
		for over := range 2 {
			s := c.text(c.most/c.per + over)
			if n := stringSize(s) * c.per; utf8.ValidString(s) && n != c.most+over {
				t.Fatalf("%s: the test's text takes %d bytes", name, n)
			}
			b, err := ready(func(e *Entry) { c.set(e, s) }).Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeEntry(b)
			if err != nil {
				t.Fatal(err)
			}
			kept, cut, head := got.Resource, got.Cuts["resource"], fieldHead
			if strings.Contains(name, "value") {
				kept, _ = got.Details["a"].(string)
				cut, _ = got.Details["a"].(Cut)
				head = valueHead
			}
			whole := over == 0
			if (kept == s) != whole || (cut == Cut{}) != whole {
				t.Errorf("%s, %d over: kept %d bytes, cut %d", name, over, len(kept), cut.Length)
			}
			if !whole && (cut.Length != int64(len(s)) || cut.Head != strings.ToValidUTF8(s[:min(head, len(s))], "\uFFFD")) {
				t.Errorf("%s: the cut says %d bytes, head of %d", name, cut.Length, len(cut.Head))
			}
		}
	}
	for over := range 2 {
		scope := json.RawMessage(`"` + letters(MaxValue-2+over) + `"`)
		details := map[string]any{"a": letters(MaxDetails / 2), "b": letters(MaxDetails/2 - len(`{"a":"","b":""}`) + over)}
		b, err := ready(func(e *Entry) { e.Scope, e.Details = scope, details }).Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeEntry(b)
		if err != nil {
			t.Fatal(err)
		}
		if whole := over == 0; (got.Scope != nil) != whole || (got.Details != nil) != whole || (len(got.Cuts) == 0) != whole {
			t.Errorf("%d over: a scope of %d bytes, %d details, cuts %v", over, len(got.Scope), len(got.Details), got.Cuts)
		}
	}
}

// A head is as much of the text as fits, and no half of a character.
func TestHeadsEndAtACharacter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOfN(rapid.RuneFrom([]rune{'a', 'é', '€', '\U0001F511'}), 0, 12, -1).Draw(t, "s")
		n := rapid.IntRange(utf8.UTFMax, 20).Draw(t, "n")
		head := validHead(s, n)
		if !strings.HasPrefix(s, head) || !utf8.ValidString(head) || len(head) > n {
			t.Fatalf("%q of %q in %d bytes", head, s, n)
		}
		if rest := s[len(head):]; rest != "" {
			if _, next := utf8.DecodeRuneInString(rest); len(head)+next <= n {
				t.Fatalf("%q of %q, and there is room for more in %d bytes", head, s, n)
			}
		}
		mixed := string(rapid.SliceOfN(rapid.Byte(), 0, 24).Draw(t, "bytes"))
		if head := validHead(mixed, n); !utf8.ValidString(head) || len(head) > 3*n {
			t.Fatalf("%q of %q in %d bytes", head, mixed, n)
		}
	})
}

// The bounds of a number: digits and exponent beyond which nothing is counted.
func TestBoundsOfANumber(t *testing.T) {
	zeros := func(n int) string { return "0." + strings.Repeat("0", n-2) }
	for in, ok := range map[string]bool{
		zeros(400): true, zeros(401): false, "-" + zeros(399): true, "-" + zeros(400): false,
		"0e1000000": true, "0e1000001": false, "0e-1000000": true, "0e-1000001": false, "1e": false, "1e+": false, "1ex": false, "1e1.5": false, "1e+5": true,
	} {
		if _, got := parseDecimal(in); got != ok {
			t.Errorf("%s: %v", clip(in), got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		mantissa, exp := rapid.Int64Range(-99_999, 99_999).Filter(func(n int64) bool { return n != 0 }).Draw(t, "mantissa"), rapid.IntRange(-30, 30).Draw(t, "exp")
		plainly := strconv.FormatInt(mantissa, 10)
		spelt := fmt.Sprintf("%s%s%s%d", plainly, strings.Repeat("0", 3), rapid.SampledFrom([]string{"e", "E"}).Draw(t, "e"), exp-3)
		x, okX := parseDecimal(fmt.Sprintf("%se%d", plainly, exp))
		y, okY := parseDecimal(spelt)
		if !okX || !okY || x != y {
			t.Fatalf("%se%d is %+v, %s is %+v", plainly, exp, x, spelt, y)
		}
		if z, ok := parseDecimal(fmt.Sprintf("%se%d", plainly, exp+1)); !ok || z == x {
			t.Fatalf("ten times %+v is %+v", x, z)
		}
	})
}
