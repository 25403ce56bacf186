package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// Invariant: A32
func FuzzDecodeEntry(f *testing.F) {
	m := exportLog(f)
	for _, r := range m.rows {
		f.Add(r.Bytes)
	}
	long := plain(1)
	long.Seq, long.Resource, long.Actor = 1, string(bytes.Repeat([]byte("x"), 5000)), "\xff"
	long.Scope = json.RawMessage(`{"a":[1,-0.5e-7,"` + string(bytes.Repeat([]byte("y"), MaxValue)) + `"]}`)
	long.Details = map[string]any{"cut": string(bytes.Repeat([]byte("z"), MaxValue+1)), "\xff": "\xfe"}
	b, err := long.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		again, err := e.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("decoded %q, encoded %q, %v", b, again, err)
		}
		for _, c := range b {
			if c < 0x20 {
				t.Fatalf("took a control character: %q", b)
			}
		}
		OCSF(e, "")
	})
}

// What a caller puts into an entry is never lost and never confused.
//
// Invariant: A32
func FuzzEncodeEntry(f *testing.F) {
	f.Add("user:ana", "orders", "path", "/v1", []byte(`{"a":1}`))
	f.Add("$hex", "\xff", "$cut", "\xff\x00", []byte(`{"a":1.50}`))
	f.Add("\n", "\u2028", "$hex:ff", "$$", []byte(`null`))
	f.Fuzz(func(t *testing.T, actor, resource, key, value string, scope []byte) {
		e := &Entry{ID: "evt_a", Seq: 1, Time: testTime, Type: AccessDenied, Actor: actor, Resource: resource, Outcome: Denied, Scope: scope, Details: map[string]any{key: value, "list": []string{value, key}}}
		b, err := e.Encode()
		if err != nil {
			e.Scope = nil
			if _, err2 := e.Encode(); err2 == nil {
				return // it was the scope
			}
			if actor == "" || len(key) > MaxKey {
				return
			}
			t.Fatalf("hostile text kept itself out of the record: %v", err)
		}
		got, err := DecodeEntry(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if _, cut := got.Cuts["resource"]; !cut && got.Resource != resource {
			t.Fatalf("resource %q became %q", resource, got.Resource)
		}
		if s, ok := got.Details[key].(string); ok && key != "list" && s != value {
			t.Fatalf("detail %q became %q", value, s)
		}
		if len(b) > MaxEntry || bytes.ContainsAny(b, "\n\r\x00") {
			t.Fatalf("not one line of at most %d bytes: %q", MaxEntry, b)
		}
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	m := testLog(f)
	good := m.checkpoint()
	f.Add(good)
	f.Add([]byte("a\n0\n\nseq 0\n\n— a AAAAAA=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := OpenCheckpoint(b, m.vkey)
		if err != nil {
			return
		}
		// Without the key nobody makes another one: what opens is ours, with
		// signatures by strangers beside it at most.
		text, signature, _ := bytes.Cut(good, []byte("\n\n"))
		if !bytes.HasPrefix(b, text) || !bytes.Contains(b, signature) || c.Head != m.head {
			t.Fatalf("opened %q", b)
		}
	})
}

// Invariant: A31
func FuzzVerifyExport(f *testing.F) {
	m := exportLog(f)
	good := exportOf(f, m)
	f.Add(good)
	f.Add(unescapeHTML(f, good))
	f.Add([]byte(`{"checkpoint":"","key":""}`))
	f.Add(good[:bytes.IndexByte(good, '\n')+1])
	f.Fuzz(func(t *testing.T, b []byte) {
		report, err := VerifyExport(bytes.NewReader(b), VerifyOptions{Key: m.vkey})
		if err == nil {
			if report.Head != m.head || report.Root != m.oracle(len(m.leaves)) {
				t.Fatalf("took %q as %+v", b, report)
			}
			return
		}
		var fault *Fault
		if !errors.As(err, &fault) || fault.Seq < 1 {
			t.Fatalf("an error that names no entry: %v", err)
		}
		VerifyExport(bytes.NewReader(b), VerifyOptions{}) // must not panic
	})
}
