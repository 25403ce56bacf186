package audit

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawStatement(t *rapid.T) *Statement {
	some := func(name string) string {
		return rapid.OneOf(rapid.Just(""), nastyString(), rapid.SampledFrom([]string{
			"select abalance from pgbench_accounts where aid = 7", "SELECT 1", "42501",
			strings.Repeat("\x01", MaxValue/6), strings.Repeat("\x01", MaxValue/6+1), strings.Repeat("é", MaxValue/2), strings.Repeat("x", MaxValue), strings.Repeat("\xff", MaxValue),
		})).Draw(t, name)
	}
	return &Statement{
		SQL: some("sql"), Length: rapid.IntRange(0, 3).Draw(t, "length"), Unsure: rapid.Bool().Draw(t, "unsure"), Intent: rapid.SampledFrom([]string{"", "", "run", "prepare"}).Draw(t, "intent"),
		Tag: some("tag"), SQLState: some("sqlstate"), Refused: some("refused"),
		Rows: rapid.Int64Range(-maxSeq, maxSeq).Draw(t, "rows"), Bytes: rapid.Int64Range(0, maxSeq).Draw(t, "bytes"),
		Duration: rapid.OneOf(
			rapid.Map(rapid.Int64Range(0, 2_000_000), func(us int64) time.Duration { return time.Duration(us) * time.Microsecond }),
			rapid.Map(rapid.Int64(), func(n int64) time.Duration { return time.Duration(n) }),
		).Draw(t, "duration"),
		Part: rapid.IntRange(0, 3).Draw(t, "part"), Unfinished: rapid.Bool().Draw(t, "unfinished"),
	}
}

// A statement has the bytes that the map has which it stands for, whatever is in
// it, and it comes back as that map.
//
// Invariant: A32
func TestAStatementIsItsDetails(t *testing.T) {
	cut, plain := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntry(t)
		if rapid.Bool().Draw(t, "plain") {
			e = ready(func(*Entry) {})
		}
		if rapid.Bool().Draw(t, "long field") {
			e.Resource = strings.Repeat("r", MaxField+1)
		}
		e.Type, e.Details, e.Statement = SessionQuery, nil, drawStatement(t)
		got, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		long := *e
		long.Details, long.Statement = e.Statement.Details(), nil
		want, err := long.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("typed:\n%s\nas a map:\n%s", got, want)
		}
		back, err := DecodeEntry(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := back.Encode()
		if err != nil || !bytes.Equal(again, got) || back.Statement != nil {
			t.Fatalf("%s came back as %s, %v", got, again, err)
		}
		if bytes.Contains(got, []byte(cutKey)) {
			cut++
		} else {
			plain++
		}
	})
	if cut == 0 || plain == 0 {
		t.Errorf("%d were cut, %d were not", cut, plain)
	}
}

// Every field of a statement is on record.
func TestEveryFieldOfAStatementIsOnRecord(t *testing.T) {
	e := ready(func(*Entry) {})
	e.Details, e.Statement = nil, &Statement{}
	empty, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(e.Statement).Elem()
	for i := range v.NumField() {
		e.Statement = &Statement{}
		switch f := reflect.ValueOf(e.Statement).Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Bool:
			f.SetBool(true)
		default:
			f.SetInt(12_345_678)
		}
		if b, err := e.Encode(); err != nil || bytes.Equal(b, empty) {
			t.Errorf("%s is not told: %v", v.Type().Field(i).Name, err)
		}
	}
	e.Details = map[string]any{"sql": "select 1"}
	if _, err := e.Encode(); err == nil {
		t.Error("an entry with two kinds of details was encoded")
	}
	e.Details, e.Statement = nil, &Statement{Rows: maxSeq + 1}
	if _, err := e.Encode(); err == nil {
		t.Error("a number that a double does not hold was encoded")
	}
}

func BenchmarkEncodeStatement(b *testing.B) {
	e := ready(func(*Entry) {})
	e.Type, e.Scope, e.Details = SessionQuery, nil, nil
	s := &Statement{SQL: "SELECT abalance FROM pgbench_accounts WHERE aid = 84213;", Tag: "SELECT 1", Rows: 1, Bytes: 15, Duration: 113 * time.Microsecond}
	for _, how := range []string{"typed", "map"} {
		b.Run(how, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Statement, e.Details = s, nil
				if how == "map" {
					e.Statement, e.Details = nil, s.Details()
				}
				if _, err := e.Encode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
