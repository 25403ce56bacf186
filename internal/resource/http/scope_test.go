package httpkind

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"
)

// Attack: REQ-07
func TestParseScope(t *testing.T) {
	for raw, want := range map[string]string{
		`{"paths":["/b","/a/**","/b"],"methods":["HEAD","GET","GET"]}`: `{"methods":["GET","HEAD"],"paths":["/a/**","/b"]}`,
		`{"methods":["PUT"],"paths":["/%61%2a/x%20y/"]}`:               `{"methods":["PUT"],"paths":["/a%2A/x%20y/"]}`,
		`{"methods":["GET"],"paths":["/"]}`:                            `{"methods":["GET"],"paths":["/"]}`,
		`{"methods":["GET"],"paths":["/a&b'c","/A"]}`:                  `{"methods":["GET"],"paths":["/A","/a&b%27c"]}`,
	} {
		s, err := parseScope([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := string(s.JSON()); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
		if canonical, err := jcs.Transform(s.JSON()); err != nil || string(canonical) != string(s.JSON()) {
			t.Errorf("%s is not RFC 8785: %s %v", s.JSON(), canonical, err)
		}
	}
	for _, raw := range []string{
		``, `null`, `[]`, `"x"`, `{}`, `{"methods":["GET"]}`, `{"paths":["/"]}`, `{"methods":[],"paths":["/"]}`, `{"methods":["GET"],"paths":[]}`,
		`{"methods":["get"],"paths":["/"]}`, `{"methods":["*"],"paths":["/"]}`, `{"methods":["TRACE"],"paths":["/"]}`, `{"methods":["CONNECT"],"paths":["/"]}`,
		`{"methods":["GET"],"paths":["/"],"x":1}`, `{"methods":["GET"],"methods":["GET"],"paths":["/"]}`, `{"Methods":["GET"],"paths":["/"]}`,
		`{"methods":["GET"],"paths":["/"]} x`, `{"methods":"GET","paths":["/"]}`, `{"methods":["GET"],"paths":[1]}`, `{"methods":["GET"],"paths":[null]}`,
		`{"methods":["GET"],"paths":["a"]}`, `{"methods":["GET"],"paths":[""]}`, `{"methods":["GET"],"paths":["/a/../b"]}`, `{"methods":["GET"],"paths":["/a//b"]}`,
		`{"methods":["GET"],"paths":["/a*"]}`, `{"methods":["GET"],"paths":["/***"]}`, `{"methods":["GET"],"paths":["/**/**"]}`, `{"methods":["GET"],"paths":["/a?b"]}`,
		`{"methods":["GET"],"paths":["/{id}"]}`, `{"methods":["GET"],"paths":["/%2e%2e/a"]}`, `{"methods":["GET"],"paths":["/a%2fb"]}`, `{"methods":["GET"],"paths":["/a;b"]}`,
		`{"methods":["GET"],"paths":["/%"]}`, `{"methods":["GET"],"paths":["/é"]}`, `{"methods":["GET"],"paths":["` + strings.Repeat("/a", 33) + `"]}`,
		`{"methods":["GET"],"paths":["/` + strings.Repeat("a", 2000) + `"]}`,
	} {
		if s, err := parseScope([]byte(raw)); err == nil {
			t.Errorf("%.80s was taken as %s", raw, s.JSON())
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no string
	}{
		{"/v1/orders/**", "/v1/orders /v1/orders/ /v1/orders/1 /v1/orders/1/items/", "/v1/ordersx /v1 /v2/orders/1 /V1/orders"},
		{"/v1/orders/*", "/v1/orders/1", "/v1/orders /v1/orders/ /v1/orders/1/ /v1/orders/1/2"},
		{"/**", "/ /a /a/ /a/b/c", ""},
		{"/*", "/a", "/ /a/ /a/b"},
		{"/**/x", "/x /a/x /x/x /a/b/x", "/x/ /xx /x/a"},
		{"/a/**/b/*/c", "/a/b/1/c /a/b/b/1/c /a/q/b/b/c", "/a/b/c /a/b/1/2/c"},
		{"/", "/", "/a"},
		{"/a/", "/a/", "/a /a/b"},
	} {
		p, err := parsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for want, paths := range map[bool]string{true: c.yes, false: c.no} {
			for _, path := range strings.Fields(paths) {
				segments, _, err := canonicalPath(path)
				if err != nil {
					t.Fatal(err)
				}
				if p.match(segments) != want {
					t.Errorf("%s matches %s: %v, want %v", c.pattern, path, !want, want)
				}
			}
		}
	}
}

// naive is matching by the definition.
func (p pattern) naive(s []string) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	if p[0].kind == anyCount {
		return p[1:].naive(s) || len(s) > 0 && p.naive(s[1:])
	}
	return len(s) > 0 && p[0].takes(s[0]) && p[1:].naive(s[1:])
}

var drawPattern = rapid.Custom(func(t *rapid.T) pattern {
	raw := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "**"}), 1, 5).Draw(t, "parts"), "/") +
		rapid.SampledFrom([]string{"", "", "", "/"}).Draw(t, "slash")
	p, err := parsePattern(raw)
	if err != nil {
		p, _ = parsePattern("/a/**")
	}
	return p
})

// paths are all paths of at most six segments over the letters that patterns
// are drawn from and one that no pattern names, with and without a last slash.
var paths = func() [][]string {
	all := [][]string{{""}}
	level := [][]string{{}}
	for range 6 {
		var next [][]string
		for _, p := range level {
			for _, s := range []string{"a", "b", "z"} {
				q := append(slices.Clone(p), s)
				next = append(next, q)
				all = append(all, q, append(slices.Clone(q), ""))
			}
		}
		level = next
	}
	return all
}()

func TestMatchIsWhatItsDefinitionSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPattern.Draw(t, "pattern")
		for _, path := range paths[:400] {
			if p.match(path) != p.naive(path) {
				t.Fatalf("%s and %q: %v", p, path, p.match(path))
			}
		}
		again, err := parsePattern(p.String())
		if err != nil || !slices.Equal(again, p) {
			t.Fatalf("%s reads back as %s, %v", p, again, err)
		}
	})
}

// Inclusion is exact: patterns of at most five parts differ, if at all, on a
// path of at most six segments... which is all that are tried.
//
// Attack: REQ-07
func TestCoversIsInclusion(t *testing.T) {
	yes, no := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawPattern.Draw(t, "p")
		others := rapid.SliceOfN(drawPattern, 1, 4).Draw(t, "others")
		got := p.within(others)
		var outside []string
		for _, path := range paths {
			if p.match(path) && !slices.ContainsFunc(others, func(o pattern) bool { return o.match(path) }) {
				outside = path
				break
			}
		}
		if got && outside != nil {
			t.Fatalf("%s within %s: %v, but %q is not", p, others, got, outside)
		}
		if !got && outside == nil {
			t.Fatalf("%s is not within %s, but every path tried is", p, others)
		}
		if got {
			yes++
		} else {
			no++
		}
	})
	if yes == 0 || no == 0 {
		t.Errorf("%d included, %d not", yes, no)
	}
}

func TestInclusionKnownCases(t *testing.T) {
	for _, c := range []struct {
		p, others string
		want      bool
	}{
		{"/**", "/ /*/**", true},
		{"/**", "/*/**", false},
		{"/**", "/** /x", true},
		{"/a/*", "/a/**", true},
		{"/a/**", "/a/*", false},
		{"/a/**", "/a /a/ /a/*/**", true},
		{"/a/*/c", "/*/b/c", false},
		{"/*/b", "/** ", true},
		{"/**/a/**", "/**", true},
		{"/**/a", "/a /*/**/a", true},
		{"/a/b", "/*/* /x", true},
		{"/*/*", "/a/* /*/b", false},
		{"/", "/*", false},
		{"/" + strings.Repeat("**/a/*/", 9) + "**/b", "/" + strings.Repeat("**/*/a/", 9) + "**/c", false}, // gives up rather than blow up
	} {
		p, err := parsePattern(c.p)
		if err != nil {
			t.Fatal(err)
		}
		var others []pattern
		for _, o := range strings.Fields(c.others) {
			q, err := parsePattern(o)
			if err != nil {
				t.Fatal(err)
			}
			others = append(others, q)
		}
		if got := p.within(others); got != c.want {
			t.Errorf("%s within %s: %v", c.p, c.others, got)
		}
	}
}

func TestCoversIsAPartialOrder(t *testing.T) {
	scope := rapid.Custom(func(t *rapid.T) *Scope {
		m := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"GET", "HEAD", "POST"}), 1, 2, rapid.ID).Draw(t, "methods")
		var paths []string
		for _, p := range rapid.SliceOfN(drawPattern, 1, 3).Draw(t, "paths") {
			paths = append(paths, p.String())
		}
		s, err := newScope(m, paths)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := scope.Draw(t, "a"), scope.Draw(t, "b"), scope.Draw(t, "c")
		if !a.Covers(a) {
			t.Fatal("not reflexive")
		}
		if a.Covers(b) && b.Covers(c) && !a.Covers(c) {
			t.Fatal("not transitive")
		}
		if a.Covers(b) {
			for _, m := range b.fields.Methods {
				for _, path := range paths[:300] {
					if b.allows(m, path) && !a.allows(m, path) {
						t.Fatalf("%s covers %s but not %s %q", a, b, m, path)
					}
				}
			}
		}
	})
	if a, _ := newScope([]string{"GET"}, []string{"/**"}); a.Covers(nil) {
		t.Error("covers a scope of another kind")
	}
}

// Attack: REQ-07
func FuzzParseScope(f *testing.F) {
	for _, s := range []string{`{"methods":["GET"],"paths":["/a/**","/%2a"]}`, `{"methods":[],"paths":null}`, `{"a":1}`, `{"methods":["GET"],"paths":["/\u0000"]}`, "{"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseScope(raw)
		if err != nil {
			return
		}
		if !json.Valid(s.JSON()) {
			t.Fatalf("%q: invalid JSON %q", raw, s.JSON())
		}
		again, err := parseScope(s.JSON())
		if err != nil || string(again.JSON()) != string(s.JSON()) || !again.Covers(s) || !s.Covers(again) {
			t.Fatalf("%q: %s is not its own canonical form: %v", raw, s.JSON(), err)
		}
		if canonical, err := jcs.Transform(s.JSON()); err != nil || string(canonical) != string(s.JSON()) {
			t.Fatalf("%s is not RFC 8785: %v", s.JSON(), err)
		}
	})
}
