package pack

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func draw(t *rapid.T) []Entry {
	text := func(name string) string {
		return rapid.OneOf(rapid.SampledFrom([]string{"", "user:ana", "session.query"}), rapid.String(), rapid.Just("\xff\x00")).Draw(t, name)
	}
	var out []Entry
	for range rapid.IntRange(1, 30).Draw(t, "n") {
		e := Entry{Bytes: rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")}
		if len(out) > 0 && rapid.Bool().Draw(t, "shared") {
			e.Columns = out[len(out)-1].Columns
		} else {
			e.Columns = &Columns{text("type"), text("actor"), text("on behalf of"), text("principal"), text("request"), text("resource")}
		}
		out = append(out, e)
	}
	return out
}

func same(x, y []Entry) bool {
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if *x[i].Columns != *y[i].Columns || !bytes.Equal(x[i].Bytes, y[i].Bytes) {
			return false
		}
	}
	return true
}

func TestReadIsTheInverseOfWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := draw(t)
		value, ok := Write(entries)
		if !ok {
			t.Fatal("not written")
		}
		got, err := Read(value)
		if err != nil || !same(entries, got) {
			t.Fatalf("%v: %v came back as %v", err, entries, got)
		}
		if _, err := Read(value[:rapid.IntRange(0, len(value)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a value without its end was read")
		}
		if _, err := Read(append(bytes.Clone(value), 0)); err == nil {
			t.Fatal("a value with something behind it was read")
		}
	})
}

func TestBounds(t *testing.T) {
	if _, ok := Write(nil); ok {
		t.Error("no entries were written")
	}
	columns := &Columns{Type: "session.query"}
	var most []Entry
	for range MaxEntries {
		most = append(most, Entry{columns, []byte("x")})
	}
	value, ok := Write(most)
	if got, err := Read(value); !ok || err != nil || !same(most, got) {
		t.Errorf("%d entries: %t %v", MaxEntries, ok, err)
	}
	if _, ok := Write(append(most, most[0])); ok {
		t.Error("more entries than there may be were written")
	}
	long := make([]byte, MaxBytes)
	if value, ok := Write([]Entry{{columns, long}}); !ok || len(value) > MaxBytes/10 {
		t.Errorf("the longest: %t, %d bytes", ok, len(value))
	} else if got, err := Read(value); err != nil || len(got) != 1 || len(got[0].Bytes) != MaxBytes {
		t.Errorf("the longest: %v", err)
	}
	if _, ok := Write([]Entry{{columns, long}, {columns, []byte("x")}}); ok {
		t.Error("more bytes than there may be were written")
	}
	if _, ok := Write([]Entry{{&Columns{Request: strings.Repeat("x", MaxBytes+1)}, nil}}); ok {
		t.Error("longer columns than there may be were written")
	}
}

// What did not come from Write is an error or some entries, never more.
func FuzzRead(f *testing.F) {
	for _, n := range []int{1, 2, 9} {
		var entries []Entry
		for i := range n {
			entries = append(entries, Entry{&Columns{Type: "session.query", Actor: fmt.Sprint("user:", i%3)}, fmt.Appendf(nil, `{"n":%d}`, i)})
		}
		value, _ := Write(entries)
		f.Add(value)
	}
	f.Add([]byte{})
	f.Add([]byte{format, 0})
	f.Add([]byte{format, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, value []byte) {
		entries, err := Read(value)
		if err != nil {
			return
		}
		again, ok := Write(entries)
		if !ok {
			t.Fatal("what was read cannot be written")
		}
		if got, err := Read(again); err != nil || !same(entries, got) {
			t.Fatalf("%v: %v came back as %v", err, entries, got)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	entries := make([]Entry, 512)
	c := &Columns{"session.query", "user:u1", "", "user:u1", "req_5zkmnbq3yx7f2tq4c6h2dwa7vi", "orders-db"}
	size := 0
	for i := range entries {
		entries[i] = Entry{c, fmt.Appendf(nil, `{"actor":"user:u1","details":{"bytes":15,"duration_ms":0.%d,"rows":1,"sql":"SELECT abalance FROM pgbench_accounts WHERE aid = %d;","tag":"SELECT 1"},"grant":"grt_5zkmnbq3yx7f2tq4c6h2dwa7vi","id":"evt_%026d","on_behalf_of":null,"outcome":"allowed","reason":null,"request":"req_5zkmnbq3yx7f2tq4c6h2dwa7vi","resource":"orders-db","scope":null,"seq":%d,"session":"ses_5zkmnbq3yx7f2tq4c6h2dwa7vi","source":{"channel":"gateway:postgres","ip":"127.0.0.1"},"time":"2026-11-28T03:00:00.%03dZ","type":"session.query"}`,
			100+i*7919%900, i*104729%100000, i*982451653%1000000007*1000003, 1000+i, i/16)}
		size += len(entries[i].Bytes)
	}
	value, _ := Write(entries)
	b.SetBytes(int64(size))
	for b.Loop() {
		Write(entries)
	}
	b.ReportMetric(float64(len(value))/float64(len(entries)), "B/entry")
}
