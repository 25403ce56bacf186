package audit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/daypass/daypass/api"
)

// What is wrong with a line of an export is said of that line: that the next
// one does not follow would lead an auditor astray.
//
// Invariant: A31
// Attack: AUD-01
func TestFaultsOfAnExportAreToldInWords(t *testing.T) {
	m := exportLog(t)
	lines := slices.Collect(bytes.Lines(exportOf(t, m)))
	end := string(lines[4])
	edit := func(i int, f func(*api.Event)) []byte {
		var ev api.Event
		if err := json.Unmarshal(lines[i], &ev); err != nil {
			t.Fatal(err)
		}
		f(&ev)
		out := slices.Clone(lines)
		out[i] = append(must[[]byte](t)(json.Marshal(ev)), '\n')
		return bytes.Join(out, nil)
	}
	ending := func(with string) []byte { return append(bytes.Join(lines[:4], nil), with...) }
	salt := strings.Repeat("00", 16)
	other := "another reason"
	for _, c := range []struct {
		name   string
		export []byte
		want   string
	}{
		{"whole", bytes.Join(lines, nil), ""},
		{"without its last line break", bytes.TrimSuffix(bytes.Join(lines, nil), []byte("\n")), ""},
		{"bytes of no entry", edit(1, func(e *api.Event) { e.Leaf.Bytes = "{}" }), "entry 2: its hashed bytes are not those of an entry: audit entry: time"},
		{"another resource", edit(1, func(e *api.Event) { e.Resource = &other }), "entry 2: its line is not what its hashed bytes say: resource differs"},
		{"another actor", edit(3, func(e *api.Event) { e.Actor = "user:bo" }), "entry 4: its line is not what its hashed bytes say: actor differs"},
		{"another order of keys", bytes.Replace(bytes.Join(lines, nil), []byte(`"outcome":"allowed","reason":null`), []byte(`"reason":null,"outcome":"allowed"`), 1), "entry 2: its line is not what its hashed bytes say"},
		{"another place", edit(3, func(e *api.Event) { e.Leaf.Index = 7 }), "entry 4: is filed under leaf 7 from entry 4, where leaf 2 begins"},
		{"another reason", edit(0, func(e *api.Event) { e.Reason = &other }), "entry 1: its reason is not the text that was recorded"},
		{"a reason where none was", edit(3, func(e *api.Event) { e.Reason = &other }), "entry 4: its line shows a reason or a salt where its hashed bytes have none"},
		{"a salt where no reason was", edit(3, func(e *api.Event) { e.Leaf.ReasonSalt = salt }), "entry 4: its line shows a reason or a salt"},
		{"a salt of 15 bytes", edit(0, func(e *api.Event) { e.Leaf.ReasonSalt = salt[2:] }), "entry 1: its reason_salt is not 32 hex digits"},
		{"a salt of 17 bytes", edit(0, func(e *api.Event) { e.Leaf.ReasonSalt = salt + "00" }), "entry 1: its reason_salt is not 32 hex digits"},
		{"a salt and something", edit(0, func(e *api.Event) { e.Leaf.ReasonSalt = salt + "zz" }), "entry 1: its reason_salt is not 32 hex digits"},
		{"a salt in capitals", edit(0, func(e *api.Event) { e.Leaf.ReasonSalt = strings.Repeat("AB", 16) }), "entry 1: its reason is not the text that was recorded"},
		{"a blank in the last line", ending(strings.Replace(end, `,"key"`, `, "key"`, 1)), "entry 5: the last line is not as it was written"},
		{"a key more in the last line", ending(strings.Replace(end, `,"key"`, `,"x":1,"key"`, 1)), "entry 5: the last line is not as it was written"},
		{"a key in another case", ending(strings.Replace(end, `"key"`, `"Key"`, 1)), "entry 5: the last line is not as it was written"},
		{"half a last line", ending(end[:len(end)/2]), "entry 5: the last line is not as it was written"},
		{"no last line", ending(""), "entry 5: is missing, or the last line with the checkpoint is"},
		{"two last lines", ending(end + end), "entry 5: something follows the checkpoint"},
		{"a key that is none", ending(strings.Replace(end, `"key":"`, `"key":"x`, 1)), "cannot be vouched for"},
	} {
		_, err := VerifyExport(bytes.NewReader(c.export), VerifyOptions{Key: m.vkey})
		says(t, c.name, err, c.want)
		if c.name == "a key that is none" {
			_, err := VerifyExport(bytes.NewReader(c.export), VerifyOptions{})
			says(t, c.name+", and no other", err, "entry 1: cannot be vouched for: reading the audit verifier key")
		}
	}
	_, err := VerifyExport(bytes.NewReader(nil), VerifyOptions{Key: "x"})
	says(t, "a trusted key that is none", err, "reading the audit verifier key")
	_, err = VerifyExport(bytes.NewReader(bytes.Join(lines, nil)), VerifyOptions{Checkpoints: [][]byte{m.checkpoint()}})
	says(t, "a checkpoint without a key", err, "name the trusted key")
}

// A line may be as long as is read, and no longer.
func TestLongestLineOfAnExport(t *testing.T) {
	for over := range 2 {
		line := bytes.Repeat([]byte("x"), MaxLine+over)
		_, err := VerifyExport(bytes.NewReader(line), VerifyOptions{})
		if over == 0 {
			says(t, "the longest line", err, "its line is not an event")
		} else {
			says(t, "a longer line", err, "its line is longer than 1048576 bytes")
		}
	}
}

// The end of an export is signed with the key that it names. A key that was
// rotated out vouches for old checkpoints, and for no new end.
//
// Invariant: A31
// Attack: AUD-03
func TestARetiredKeyEndsNoExport(t *testing.T) {
	m := exportLog(t)
	kept := m.checkpoint() // by the key that was
	older := m.vkey
	oldEnd := m.checkpoint()
	m.signer, m.vkey = newKey(t, 7)
	lines := slices.Collect(bytes.Lines(exportOf(t, m)))
	opts := VerifyOptions{Key: m.vkey, OlderKeys: []string{older}, Checkpoints: [][]byte{kept}}
	if report, err := VerifyExport(bytes.NewReader(bytes.Join(lines, nil)), opts); err != nil || report.Checkpoints != 2 {
		t.Errorf("after a rotation: %+v, %v", report, err)
	}
	lines[4] = must[[]byte](t)(ExportEnd(oldEnd, m.vkey))
	for name, opts := range map[string]VerifyOptions{"pinned": opts, "by its own word": {}} {
		_, err := VerifyExport(bytes.NewReader(bytes.Join(lines, nil)), opts)
		says(t, name, err, "a checkpoint is not valid")
	}
	opts.OlderKeys = []string{"x"}
	_, err := VerifyExport(bytes.NewReader(bytes.Join(lines, nil)), opts)
	says(t, "an older key that is none", err, "reading the audit verifier key")
}

// What is refused as an entry is refused for what it is, in few words.
func TestDecodeSaysWhy(t *testing.T) {
	good := string(must[[]byte](t)(ready(func(*Entry) {}).Encode()))
	with := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("no %s to change", from)
		}
		return strings.Replace(good, from, to, 1)
	}
	for b, want := range map[string]string{
		good:                            "",
		"x":                             "entry: is not an encoded entry",
		strings.Repeat("x", MaxEntry):   "entry: is not an encoded entry",
		strings.Repeat("x", MaxEntry+1): "entry: is longer than 65536 bytes",
		with(`.123Z`, `x`):              `time: "2026-11-23T14:00:01x" is not a time`,
		with(`2026-11`, strings.Repeat("9", 500)):                                                 `9…" is not a time`,
		with(`"outcome":"allowed"`, `"outcome":"`+strings.Repeat("x", 500)+`"`):                   `"` + strings.Repeat("x", 40) + `…" is not allowed, denied or failed`,
		with(`"status":200`, `"status":{"$hex":"zz"}`):                                            "details: encoding/hex: invalid byte",
		with(`"status":200`, `"status":{"$hex":"ffz"}`):                                           "details: encoding/hex",
		with(`"status":200`, `"status":[{"$hex":"zz"}]`):                                          "details: encoding/hex: invalid byte",
		with(`"details":{`, `"details":{"$hex":{"grant":"zz"},`):                                  "details: encoding/hex: invalid byte",
		with(`"details":{`, `"details":{"$cuts":{"grant":{"head":"","length":"x","sha256":""}},`): "details: the length of a cut value is not a number",
		with(`"status":200`, `"status":{"$cut":{"head":"","length":"x","sha256":""}}`):            "details: the length of a cut value is not a number",
		with(`"path"`, `"$path"`):                                                                 `details: the key "$path" is reserved`,
		with(`"path"`, `"$hex:zz"`):                                                               "details: encoding/hex: invalid byte",
		with(`"details":{"path":"/v1/orders/1","status":200}`, `"details":[]`):                    "details: is not an object",
		with(`"seq":1`, `"seq":1.0`):                                                              "is not an encoded entry",
		with(`"grant":null`, `"grant":""`):                                                        "entry: is not in the canonical form",
	} {
		_, err := DecodeEntry([]byte(b))
		says(t, clip(b), err, want)
	}
	for _, write := range []func() error{
		func() error { _, err := ExportEvent([]byte("{}"), Leaf{}, nil, nil); return err },
		func() error { _, err := EventOf([]byte("{}"), nil, nil); return err },
		func() error {
			_, err := DecodeEntry([]byte(with(`"details":{"path":"/v1/orders/1","status":200},`, ``)))
			return err
		},
	} {
		says(t, "no entry", write(), "audit entry: ")
	}
	_, err := DecodeEntry([]byte(with(`"details":{"path":"/v1/orders/1","status":200},`, ``)))
	says(t, "no details", err, "details: EOF")
	_, err = ready(func(e *Entry) { e.Scope = json.RawMessage(strings.Repeat("[", 33) + strings.Repeat("]", 33)) }).Encode()
	says(t, "a deep scope", err, "scope: nested deeper than 32")
	for in, want := range map[string]string{"1x": `"1x" is not a JSON number`, "1e400": "out of range: write it as a string", "9007199254740993": "more digits than a double holds"} {
		_, err := canonicalNumber(in)
		says(t, in, err, want)
	}
	if got := string(must[[]byte](t)(ready(func(e *Entry) { e.Scope = json.RawMessage("7") }).Encode())); !strings.Contains(got, `"scope":7,`) {
		t.Errorf("a scope of one byte: %s", got)
	}
}

// Bytes that are no text are kept as they are while they fit, whatever else is
// among them, and a head of them ends where the text does.
//
// Attack: AUD-05
func TestBytesAmongText(t *testing.T) {
	mixed := "\xff" + strings.Repeat("\x00", 3000) // as JSON it would be too long, as hex it is not
	e := ready(func(e *Entry) { e.Details = map[string]any{"a": mixed} })
	got, err := DecodeEntry(must[[]byte](t)(e.Encode()))
	if err != nil || got.Details["a"] != mixed {
		t.Errorf("%.40q, %v", got.Details["a"], err)
	}
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{
		{"xx" + strings.Repeat("\x80", 300), 256, "xx\uFFFD"},
		{"aaaa\xf0\x80\x80\x80\x80\x80", 8, "aaaa\uFFFD"},
		{"aaaa\U0001F511", 8, "aaaa\U0001F511"},
		{"aaaa\U0001F511", 7, "aaaa"}, {"aaaa\U0001F511", 6, "aaaa"}, {"aaaa\U0001F511", 5, "aaaa"}, {"aaaa\U0001F511", 4, "aaaa"},
	} {
		if got := validHead(c.s, c.n); got != c.want {
			t.Errorf("%q in %d: %q", clip(c.s), c.n, got)
		}
	}
}

// The order of keys, where that of bytes and that of UTF-16 part.
func TestKeysInOrder(t *testing.T) {
	want := []string{"", "a", "aa", "a\U00010000", "a\U0010FFFF", "a\uE000", "a\uFFFF", "b", "é", "\uD7FF", "\U00010000", "\U00010001", "\U0010FFFF", "\U0010FFFFa", "\uE000", "\uFFFF"}
	for i, x := range want {
		for j, y := range want {
			c := compareUTF16(x, y)
			if (c < 0) != (i < j) || (c > 0) != (i > j) {
				t.Errorf("%q and %q: %d", x, y, c)
			}
		}
	}
}
