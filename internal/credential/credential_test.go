package credential

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID("req")
		if len(id) != 30 || !strings.HasPrefix(id, "req_") || id != strings.ToLower(id) || !ValidID("req", id) || ValidID("grt", id) || seen[id] {
			t.Fatalf("bad ID %q", id)
		}
		seen[id] = true
	}
	for _, s := range []string{
		"", "req", "req_", "req_5zkmnbq3yx7f2tq4c6h2dwa7v", "req_5zkmnbq3yx7f2tq4c6h2dwa7viaa", "REQ_5zkmnbq3yx7f2tq4c6h2dwa7vi", "req_5ZKMNBQ3YX7F2TQ4C6H2DWA7VI",
		"req-5zkmnbq3yx7f2tq4c6h2dwa7vi", "req_5zkmnbq3yx7f2tq4c6h2dwa7vj", "req_0zkmnbq3yx7f2tq4c6h2dwa7vi", "req_5zkmnbq3yx7f2tq4c6h2dwa=vi", "req_../../../../etc/passwd/../", "req_5zkmnbq3yx7f2tq4c6h2dwa7v\n",
	} {
		if ValidID("req", s) {
			t.Errorf("ValidID(%q)", s)
		}
	}
	if !ValidID("req", "req_5zkmnbq3yx7f2tq4c6h2dwa7vi") {
		t.Error("the documented ID is not valid")
	}
}

// IDs made in one instant stand together, later ones elsewhere, and no two are
// the same.
func TestIDsOfAnInstantStandTogether(t *testing.T) {
	const together = len("evt_") + 9 // 45 of the 48 bits of the time
	at := time.Date(2026, 2, 3, 4, 5, 6, 7e6, time.UTC)
	var many IDs
	first, seen := NewIDAt("evt", at), map[string]bool{}
	for i := range 2000 {
		id := NewIDAt("evt", at)
		if i%2 == 0 {
			id = many.At("evt", at)
		}
		if !ValidID("evt", id) || id[:together] != first[:together] || seen[id] {
			t.Fatalf("%q after %q", id, first)
		}
		seen[id] = true
	}
	if id := NewIDAt("evt", at.Add(time.Second)); id[:together] == first[:together] {
		t.Errorf("%q, a second after %q", id, first)
	}
	if id := NewIDAt("evt", time.Time{}); !ValidID("evt", id) {
		t.Errorf("%q of no time", id)
	}
}

// Each byte in each place of an ID is what base32 says, and each byte of its
// random part is random.
func TestEachByteOfAnID(t *testing.T) {
	const good = "5zkmnbq3yx7f2tq4c6h2dwa7vi"
	taken := 0
	for i := range len(good) {
		for c := range 256 {
			body := good[:i] + string([]byte{byte(c)}) + good[i+1:]
			raw, err := idEncoding.DecodeString(body)
			want := err == nil && len(raw) == idBytes && idEncoding.EncodeToString(raw) == body
			if got := ValidID("req", "req_"+body); got != want {
				t.Errorf("%q: %v, base32 says %v", body, got, want)
			}
			if want {
				taken++
			}
		}
	}
	if taken != 25*32+8 {
		t.Errorf("%d are taken", taken)
	}
	var many IDs
	for _, one := range []struct {
		from  int // of the random part
		fresh func() string
	}{
		{0, func() string { return NewID("req") }}, {6, func() string { return NewIDAt("req", time.Unix(1, 0)) }}, {6, func() string { return many.At("req", time.Unix(1, 0)) }},
	} {
		var seen [idBytes]map[byte]bool
		for range 300 {
			raw, err := idEncoding.DecodeString(one.fresh()[len("req_"):])
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range raw {
				if seen[i] == nil {
					seen[i] = map[byte]bool{}
				}
				seen[i][b] = true
			}
		}
		for i := range seen {
			if i >= one.from && len(seen[i]) < 100 || i < one.from && len(seen[i]) != 1 {
				t.Errorf("byte %d takes %d values in 300 IDs", i, len(seen[i]))
			}
		}
	}
}

func FuzzValidID(f *testing.F) {
	f.Add("req_5zkmnbq3yx7f2tq4c6h2dwa7vi")
	f.Add("req_aaaaaaaaaaaaaaaaaaaaaaaaab")
	f.Add("req_")
	f.Fuzz(func(t *testing.T, s string) {
		body, ok := strings.CutPrefix(s, "req_")
		raw, err := idEncoding.DecodeString(body)
		canonical := ok && err == nil && len(raw) == idBytes && idEncoding.EncodeToString(raw) == body
		if ValidID("req", s) != canonical {
			t.Errorf("ValidID(%q) = %v, base32 says %v", s, !canonical, canonical)
		}
	})
}

// Invariant: A21
// Attack: TOK-10
func TestSecretShowsNowhere(t *testing.T) {
	const text = "dpgt_swordfish"
	s := NewSecret(text)
	type inside struct {
		Shown  Secret
		hidden Secret
		At     *Secret
		Many   []Secret
	}
	in := inside{Shown: s, hidden: s, At: &s, Many: []Secret{s}}
	var all strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%w", "%10.3s"} {
		fmt.Fprintf(&all, verb+verb+verb+"\n", s, &s, in)
	}
	fmt.Fprintln(&all, s, in, fmt.Errorf("wrapped: %v", s), []any{s}, map[string]Secret{"a": s})
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, xml.Marshal} {
		for _, v := range []any{s, &s, in.Many} {
			b, err := marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
	}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	all.Write(b)
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("m", "s", s, "in", in, slog.Any("p", &s), slog.Group("g", "s", s))
	}
	all.Write(log.Bytes())
	for _, leak := range []string{"swordfish", "dpgt_", fmt.Sprintf("%x", "swordfish"), fmt.Sprintf("%X", "swordfish")} {
		if strings.Contains(all.String(), leak) {
			t.Errorf("%q shows in\n%s", leak, all.String())
		}
	}
	if n := strings.Count(all.String(), redacted); n < 30 {
		t.Errorf("%d redactions: the test looks in the wrong place", n)
	}
	if s.String() != redacted || s.GoString() != redacted || s.LogValue().String() != redacted {
		t.Errorf("%q, %q, %q", s.String(), s.GoString(), s.LogValue())
	}
	if b, err := s.MarshalText(); err != nil || string(b) != redacted {
		t.Errorf("%q, %v", b, err)
	}
	if s.Reveal() != text || s.IsZero() {
		t.Error("Reveal does not reveal")
	}
	if (Secret{}).Reveal() != "" || !(Secret{}).IsZero() || !NewSecret("").IsZero() {
		t.Error("the zero Secret is not empty")
	}
}

// Attack: TOK-14
func TestSecretEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if NewSecret(a).Equal(NewSecret(b)) != (a == b) || !NewSecret(a).Equal(NewSecret(strings.Clone(a))) {
			t.Fatalf("Equal(%q, %q)", a, b)
		}
	})
}
