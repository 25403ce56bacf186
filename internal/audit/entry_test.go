package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"
)

// nasty are strings that an encoding likes to confuse.
var nasty = []string{
	"", "a", "b", "ab", "$", "$$", "$hex", "$cut", "$cuts", "$hex:ff", "$$hex", "ff", "ff00", "\xff", "\xff\x00", "\xfe", "\uFFFD", "\uFFFD\uFFFD",
	"\n", "\r\n", "\x00", "\x1b[31m", "\u2028", "\u2029", "\u0085", "\\n", `"`, `\`, `\"`, "\x7f", "<&>", "é", "e\u0301", "\U00010000", "\uE000", "\xed\xa0\x80", "null", "0", "{}", "user:ana",
}

func nastyString() *rapid.Generator[string] {
	return rapid.OneOf(rapid.SampledFrom(nasty), rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 6), func(b []byte) string { return string(b) }))
}

// nastyValue draws a value of Details in the form in which DecodeEntry returns it.
func nastyValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kind := rapid.IntRange(0, 7).Draw(t, "kind")
		switch {
		case kind == 0:
			return nil
		case kind == 1:
			return rapid.Bool().Draw(t, "bool")
		case kind == 2:
			return json.Number(strconv.FormatInt(rapid.Int64Range(-maxSeq, maxSeq).Draw(t, "int"), 10))
		case kind == 3:
			s, err := jcs.NumberToJSON(rapid.Float64().Draw(t, "float"))
			if err != nil {
				t.Fatal(err)
			}
			return json.Number(s)
		case kind == 4 && depth > 0:
			out := []any{}
			return append(out, rapid.SliceOfN(nastyValue(depth-1), 0, 3).Draw(t, "items")...)
		case kind <= 6 && depth > 0:
			return drawMap(t, depth-1, 0)
		}
		return nastyString().Draw(t, "string")
	})
}

func drawMap(t *rapid.T, depth, least int) map[string]any {
	return rapid.MapOfN(nastyString(), nastyValue(depth), least, 3).Draw(t, "map")
}

func drawEntry(t *rapid.T) *Entry {
	e := &Entry{
		ID:   rapid.SampledFrom([]string{"evt_a", "evt_b"}).Draw(t, "id"),
		Seq:  rapid.Int64Range(1, 3).Draw(t, "seq"),
		Time: testTime.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "ms")) * time.Millisecond),
		Type: rapid.SampledFrom(types).Draw(t, "type"), Outcome: rapid.SampledFrom([]string{Allowed, Denied, Failed}).Draw(t, "outcome"),
		Actor: rapid.OneOf(nastyString(), rapid.Just("x")).Filter(func(s string) bool { return s != "" }).Draw(t, "actor"),
	}
	for _, f := range e.fields() {
		if f.name != "actor" {
			*f.value = nastyString().Draw(t, f.name)
		}
	}
	if rapid.Bool().Draw(t, "reason?") {
		e.Reason = NewText([16]byte{byte(rapid.IntRange(0, 1).Draw(t, "salt"))}, nastyString().Draw(t, "reason"))
	}
	e.Scope = rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`{}`), json.RawMessage(`{"a":1}`), json.RawMessage(`{"a":"1"}`), json.RawMessage(`[]`), json.RawMessage(`{"$cut":{"length":5}}`)}).Draw(t, "scope")
	if d := drawMap(t, 2, 0); len(d) > 0 {
		e.Details = d
	}
	return e
}

// Invariant: A32
func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntry(t)
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeEntry(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("decoded another entry (-want +got):\n%s", cmp.Diff(e, got))
		}
		canonical, err := jcs.Transform(b)
		if err != nil || !bytes.Equal(canonical, b) {
			t.Fatalf("not in RFC 8785 form: %s, %v", b, err)
		}
		if len(b) > MaxEntry || !utf8.Valid(b) || bytes.ContainsAny(b, "\n\r\x00\x1b") {
			t.Fatalf("not one printable line: %q", b)
		}
	})
}

// Invariant: A32
func TestDifferentEntriesHaveDifferentBytes(t *testing.T) {
	seen, same := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		x := drawEntry(t)
		bx, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		y := drawEntry(t)
		switch rapid.IntRange(0, 3).Draw(t, "relation") {
		case 0: // one field differs at most
			*y = *x
			fields := y.fields()
			f := fields[rapid.IntRange(0, len(fields)-1).Draw(t, "field")]
			*f.value = nastyString().Draw(t, "value")
			if y.Actor == "" {
				y.Actor = "x"
			}
		case 1: // two fields have changed places
			*y = *x
			y.Request, y.Grant = x.Grant, x.Request
		case 2: // details that spell what x's details are written as
			*y = *x
			var shape struct{ Details map[string]any }
			d := json.NewDecoder(bytes.NewReader(bx))
			d.UseNumber()
			if err := d.Decode(&shape); err != nil {
				t.Fatal(err)
			}
			y.Details = nil
			if len(shape.Details) > 0 {
				y.Details = shape.Details
			}
			for _, f := range y.fields() {
				if !utf8.ValidString(*f.value) && f.name != "actor" {
					*f.value = ""
				}
			}
		}
		by, err := y.Encode()
		if err != nil {
			t.Fatal(err)
		}
		equal := reflect.DeepEqual(x, y)
		if equal != bytes.Equal(bx, by) {
			t.Fatalf("equal entries: %t, equal bytes: %t\n%s\n%s", equal, !equal, bx, by)
		}
		seen++
		if equal {
			same++
		}
	})
	if same == 0 || same == seen {
		t.Errorf("%d of %d pairs were equal: the test saw only one side", same, seen)
	}
}

// Invariant: A32
// Attack: AUD-05
func TestHostileTextIsOneEntryOfOneLine(t *testing.T) {
	hostile := map[string]string{
		"newline": "a\n{\"seq\":2}", "carriage return": "a\r\nb", "NUL": "a\x00b", "escape sequence": "\x1b]0;owned\x07\x1b[2J",
		"line separator": "a\u2028b\u2029c\u0085d", "invalid UTF-8": "a\xff\xfe\xed\xa0\x80", "bidi": "\u202egnp.exe",
		"long": strings.Repeat("x", 1<<20), "long and invalid": strings.Repeat("\xff", 1<<20), "long and escaped": strings.Repeat("\x00", 1<<20),
	}
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			e := &Entry{ID: "evt_1", Seq: 1, Time: testTime, Type: AccessDenied, Actor: text, OnBehalfOf: text, Request: text, Grant: text, Session: text, Resource: text,
				Outcome: Denied, Source: Source{IP: text, Channel: text}, Reason: NewText([16]byte{}, text),
				Scope: must[json.RawMessage](t)(json.Marshal(map[string]string{"scope": string([]rune(text))})), Details: map[string]any{"text": text, "list": []string{text}, strings.ToValidUTF8(validHead(text, 1000), "?"): 1}}
			b, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > MaxEntry {
				t.Errorf("%d bytes, more than %d", len(b), MaxEntry)
			}
			for _, c := range b {
				if c < 0x20 {
					t.Fatalf("control character %q in %.200q", c, b)
				}
			}
			if !utf8.Valid(b) {
				t.Error("not UTF-8")
			}
			got, err := DecodeEntry(b)
			if err != nil {
				t.Fatal(err)
			}
			again, err := got.Encode()
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("the decoded entry encodes to other bytes: %v", err)
			}
			if len(text) < 1000 {
				if got.Resource != text || got.Details["text"] != text {
					t.Errorf("the text did not survive: %q, %q", got.Resource, got.Details["text"])
				}
				return
			}
			sum := sha256.Sum256([]byte(text))
			cut := got.Cuts["resource"]
			if got.Resource != "" || cut.Length != int64(len(text)) || cut.SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("cut resource %q: %+v", got.Resource, cut)
			}
			if c, ok := got.Details["text"].(Cut); !ok || c.Length != int64(len(text)) || c.SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("cut detail: %+v", got.Details["text"])
			}
			if got.Cuts["scope"].Length < int64(len(text)) || got.Scope != nil {
				t.Errorf("cut scope: %+v", got.Cuts["scope"])
			}
		})
	}
}

// Attack: AUD-05
func TestTooManyDetailsAreCutAsAWhole(t *testing.T) {
	e := plain(1)
	e.Seq = 1
	e.Details = map[string]any{}
	for i := range 5000 {
		e.Details["key "+strconv.Itoa(i)] = "value"
	}
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeEntry(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > MaxEntry || got.Details != nil || got.Cuts["details"].Length < 5000*15 {
		t.Errorf("%d bytes, details %v, cuts %+v", len(b), got.Details, got.Cuts)
	}
	e.Details["key 7"] = "other"
	if c := must[[]byte](t)(e.Encode()); bytes.Equal(b, c) {
		t.Error("two entries that differ behind the cut have the same bytes")
	}
}

// Attack: AUD-05
func TestWhatDiffersBehindACutDiffers(t *testing.T) {
	long := func(last string) string { return strings.Repeat("x", MaxValue) + last }
	for name, set := range map[string]func(e *Entry, last string){
		"scope":    func(e *Entry, last string) { e.Scope = json.RawMessage(`{"a":"` + long(last) + `"}`) },
		"details":  func(e *Entry, last string) { e.Details = map[string]any{"a": long(last)} },
		"resource": func(e *Entry, last string) { e.Resource = long(last) },
		"actor":    func(e *Entry, last string) { e.Actor = "\xff" + long(last) },
	} {
		t.Run(name, func(t *testing.T) {
			var got [2][]byte
			for i, last := range []string{"a", "b"} {
				e := plain(1)
				e.Seq = 1
				set(e, last)
				got[i] = must[[]byte](t)(e.Encode())
			}
			if bytes.Equal(got[0], got[1]) {
				t.Error("two entries that differ behind the cut have the same bytes")
			}
		})
	}
}

func TestEncodeRefusesWhatIsNoEntry(t *testing.T) {
	type named struct{ X int }
	deep := any("x")
	for range maxDepth + 1 {
		deep = []any{deep}
	}
	for name, c := range map[string]struct {
		spoil func(*Entry)
		field string
	}{
		"no id":                 {func(e *Entry) { e.ID = "" }, "id"},
		"an id with a quote":    {func(e *Entry) { e.ID = `evt_"` }, "id"},
		"no seq":                {func(e *Entry) { e.Seq = 0 }, "seq"},
		"no time":               {func(e *Entry) { e.Time = time.Time{} }, "time"},
		"a year of five digits": {func(e *Entry) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "time"},
		"no type":               {func(e *Entry) { e.Type = "" }, "type"},
		"no actor":              {func(e *Entry) { e.Actor = "" }, "actor"},
		"no outcome":            {func(e *Entry) { e.Outcome = "" }, "outcome"},
		"another outcome":       {func(e *Entry) { e.Outcome = "approved" }, "outcome"},
		"a reason in clear":     {func(e *Entry) { e.Reason.Digest = "because I can" }, "reason"},
		"a broken scope":        {func(e *Entry) { e.Scope = json.RawMessage(`{"a":1,"a":2}`) }, "scope"},
		"an inexact scope":      {func(e *Entry) { e.Scope = json.RawMessage(`{"a":9007199254740993}`) }, "scope"},
		"bytes":                 {func(e *Entry) { e.Details = map[string]any{"a": []byte("secret")} }, "details"},
		"a struct":              {func(e *Entry) { e.Details = map[string]any{"a": named{1}} }, "details"},
		"a pointer":             {func(e *Entry) { e.Details = map[string]any{"a": &named{1}} }, "details"},
		"an error":              {func(e *Entry) { e.Details = map[string]any{"a": errors.New("secret")} }, "details"},
		"not a number":          {func(e *Entry) { e.Details = map[string]any{"a": math.NaN()} }, "details"},
		"infinity":              {func(e *Entry) { e.Details = map[string]any{"a": math.Inf(1)} }, "details"},
		"2^53":                  {func(e *Entry) { e.Details = map[string]any{"a": int64(1 << 53)} }, "details"},
		"2^53 unsigned":         {func(e *Entry) { e.Details = map[string]any{"a": uint64(1 << 53)} }, "details"},
		"a number of letters":   {func(e *Entry) { e.Details = map[string]any{"a": json.Number("1x")} }, "details"},
		"a huge exponent":       {func(e *Entry) { e.Details = map[string]any{"a": json.Number("1e-99999999999")} }, "details"},
		"a vanishing number":    {func(e *Entry) { e.Details = map[string]any{"a": json.Number("1e-400")} }, "details"},
		"a deep detail":         {func(e *Entry) { e.Details = map[string]any{"a": deep} }, "details"},
		"a long key":            {func(e *Entry) { e.Details = map[string]any{strings.Repeat("k", MaxKey+1): 1} }, "details"},
		"an invented cut":       {func(e *Entry) { e.Details = map[string]any{"a": Cut{Length: 5, SHA256: "x"}} }, "details"},
		"a cut of a kept field": {func(e *Entry) { e.Cuts = map[string]Cut{"resource": cutText("x", 1)} }, "cuts"},
		"a cut of no field":     {func(e *Entry) { e.Cuts = map[string]Cut{"time": cutText("x", 1)} }, "cuts"},
	} {
		t.Run(name, func(t *testing.T) {
			e := plain(1)
			e.Seq = 1
			if _, err := e.Encode(); err != nil {
				t.Fatalf("the unspoilt entry: %v", err)
			}
			c.spoil(e)
			b, err := e.Encode()
			ee, ok := err.(*EntryError)
			if !ok || ee.Field != c.field {
				t.Errorf("got %q, %v; want an error about %s", b, err, c.field)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes the value: %v", err)
			}
		})
	}
}

func TestDetailsOfGoTypes(t *testing.T) {
	type name string
	e := plain(1)
	e.Seq = 1
	e.Details = map[string]any{
		"named": name("n"), "strings": []string{"a", "b"}, "map": map[name]int{"b": 2, "a": 1}, "small": uint8(7), "f32": float32(0.5),
		"at": testTime.Add(999 * time.Microsecond), "for": 90 * time.Second, "raw": json.RawMessage(` { "b" : 1.0 , "a" : [ ] } `), "nil": nil, "array": [2]bool{true, false},
	}
	b := must[[]byte](t)(e.Encode())
	want := `"details":{"array":[true,false],"at":"2026-11-23T14:00:00.123Z","f32":0.5,"for":"1m30s","map":{"a":1,"b":2},"named":"n","nil":null,"raw":{"a":[],"b":1},"small":7,"strings":["a","b"]}`
	if !strings.Contains(string(b), want) {
		t.Errorf("got %s\nwant it to contain %s", b, want)
	}
}

// The bytes of an entry are for ever: this pins them.
func TestStoredForm(t *testing.T) {
	e := &Entry{ID: "evt_aaaa", Seq: 17, Time: time.Date(2026, 11, 23, 14, 0, 0, 999_999_999, time.FixedZone("", 3600)), Type: RequestApproved, Actor: "user:bo",
		Request: "req_b", Grant: "grt_c", Resource: "orders-db", Principal: "user:ana", Scope: json.RawMessage(`{"tables":["public.orders"], "actions":["select"]}`),
		Outcome: Allowed, Reason: NewText([16]byte{1}, "refund totals"), Source: Source{IP: "192.0.2.7", Channel: "api"}, Details: map[string]any{"$hex": "\xff", "rule": "on-call"}}
	want := `{"actor":"user:bo","details":{"$$hex":{"$hex":"ff"},"rule":"on-call"},"grant":"grt_c","id":"evt_aaaa","on_behalf_of":null,"outcome":"allowed",` +
		`"reason":{"digest":"` + e.Reason.Digest + `"},"request":"req_b","resource":"orders-db","scope":{"actions":["select"],"tables":["public.orders"]},"seq":17,"session":null,` +
		`"source":{"channel":"api","ip":"192.0.2.7"},"time":"2026-11-23T13:00:00.999Z","type":"request.approved"}`
	if got := string(must[[]byte](t)(e.Encode())); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	sum := sha256.Sum256([]byte("daypass-text v1\x00\x01" + strings.Repeat("\x00", 15) + "refund totals"))
	if e.Reason.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Errorf("reason %s", e.Reason.Digest)
	}
}

// Attack: AUD-14
func TestErasedTextLeavesTheProofWhole(t *testing.T) {
	m := newMemory(t)
	e := plain(1)
	e.Reason = NewText([16]byte{7}, "my mother is in hospital")
	a := m.append(e)
	if bytes.Contains(a.Entries[0], []byte("hospital")) {
		t.Fatal("the text is in the hashed bytes")
	}
	if NewText([16]byte{8}, "my mother is in hospital") == e.Reason {
		t.Error("the digest does not depend on the salt: it could be guessed")
	}
	line := must[[]byte](t)(ExportEvent(a.Entries[0], a.Leaf, nil, nil)) // text and salt are erased
	end := must[[]byte](t)(ExportEnd(m.checkpoint(), m.vkey))
	if _, err := VerifyExport(bytes.NewReader(bytes.Join([][]byte{line, end}, []byte("\n"))), VerifyOptions{Key: m.vkey}); err != nil {
		t.Errorf("after the erasure: %v", err)
	}
}

func TestDecodeEntryIsStrict(t *testing.T) {
	e := plain(1)
	e.Seq = 1
	good := string(must[[]byte](t)(e.Encode()))
	for name, b := range map[string]string{
		"nothing":          "",
		"white space":      good + " ",
		"newline":          good + "\n",
		"two":              good + good,
		"reordered":        strings.Replace(good, `"outcome":"allowed","reason":null`, `"reason":null,"outcome":"allowed"`, 1),
		"duplicate key":    strings.Replace(good, `"reason":null`, `"reason":null,"reason":null`, 1),
		"case of a key":    strings.Replace(good, `"actor"`, `"Actor"`, 1),
		"unknown key":      strings.Replace(good, `"actor"`, `"actoR":1,"actor"`, 1),
		"missing key":      strings.Replace(good, `"reason":null,`, ``, 1),
		"empty for null":   strings.Replace(good, `"grant":null`, `"grant":""`, 1),
		"escape":           strings.Replace(good, `user:ana`, `\u0075ser:ana`, 1),
		"number":           strings.Replace(good, `"seq":1`, `"seq":1.0`, 1),
		"time of an hour":  strings.Replace(good, `.123Z`, `.123+00:00`, 1),
		"microseconds":     strings.Replace(good, `.123Z`, `.123456Z`, 1),
		"null":             "null",
		"array":            "[]",
		"invalid UTF-8":    strings.Replace(good, `user:ana`, "user:\xff", 1),
		"replaced UTF-8":   strings.Replace(good, `"status":200`, `"status":{"$hex":"41"}`, 1),
		"upper-case hex":   strings.Replace(good, `"status":200`, `"status":{"$hex":"FF"}`, 1),
		"reserved key":     strings.Replace(good, `"path"`, `"$path"`, 1),
		"cut short":        strings.Replace(good, `"status":200`, `"status":{"$cut":{"head":"","length":0,"sha256":""}}`, 1),
		"hex of a field":   strings.Replace(good, `"details":{`, `"details":{"$hex":{"grant":"41"},`, 1),
		"details an array": strings.Replace(good, `"details":{"path":"/v1/orders/1","status":200}`, `"details":[]`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if b == good {
				t.Fatal("the case changes nothing")
			}
			if got, err := DecodeEntry([]byte(b)); err == nil {
				t.Errorf("took %s as %+v", b, got)
			}
		})
	}
}

// Go's order of strings is by bytes, RFC 8785's by UTF-16 code units.
func TestKeysSortByUTF16(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := map[string]any{}
		for _, k := range rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune{'a', 'é', '\uD7FF', '\uE000', '\uFFFF', '\U00010000', '\U0010FFFF'}), 0, 4, -1), 0, 6).Draw(t, "keys") {
			m[k] = nil
		}
		got, err := appendValue(nil, m, 0)
		if err != nil {
			t.Fatal(err)
		}
		want, err := jcs.Transform(got)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q, %v", got, want, err)
		}
	})
}

// Numbers that differ never get the same bytes, whichever way they are spelt.
func TestNumbersKeepTheirValue(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "-0.0e5": "0", "1.0": "1", "10e-1": "1", "1e3": "1000", "0.1": "0.1", "1E+2": "100", "9007199254740991": "9007199254740991", "1e21": "1e+21", "5e-324": "5e-324",
		"9007199254740993": "", "0.1000000000000000055": "", "1e400": "", "1e-400": "", "01": "", "1.": "", ".5": "", "+1": "", "0x1": "", "1_0": "", "": "", "-": "", "NaN": "", "1e": "",
	} {
		got, err := canonicalNumber(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("canonicalNumber(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}
