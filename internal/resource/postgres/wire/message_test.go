package wire

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestMessagesAreReadAsTheyWereWritten(t *testing.T) {
	e := &Error{Severity: SeverityFatal, Code: CodeShutdown, Message: "terminating connection", Detail: "it ended", Hint: "Ask again."}
	key := bytes.Repeat([]byte{9}, 32)
	stream := slices.Concat(e.AppendError(nil), e.AppendNotice(nil), AppendParameterStatus(nil, "TimeZone", "UTC"), AppendKeyData(nil, 7, key), AppendReady(nil, 'T'))
	var got []byte
	s := Servers()
	for rest := stream; len(rest) > 0; {
		part, after, err := s.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest, got = after, append(got, part.Type)
		switch part.Type {
		case ErrorResponse, NoticeResponse:
			if read := ReadError(part.Body); *read != *e {
				t.Errorf("%+v", read)
			}
		case ParameterStatus:
			if name, value, err := ReadParameterStatus(part.Body); err != nil || name != "TimeZone" || value != "UTC" {
				t.Errorf("%s %s %v", name, value, err)
			}
		case KeyData:
			if process, k, err := ReadKeyData(part.Body); err != nil || process != 7 || !bytes.Equal(k, key) {
				t.Errorf("%d %x %v", process, k, err)
			}
		case ReadyForQuery:
			if status, err := ReadReady(part.Body); err != nil || status != 'T' {
				t.Errorf("%c %v", status, err)
			}
		}
	}
	if string(got) != "ENSKZ" {
		t.Errorf("%q", got)
	}
}

func TestStatementsAreReadAsTheyWereWritten(t *testing.T) {
	m := Prepared{Name: []byte("s1"), SQL: []byte("select $1"), Types: []byte("\x00\x01\x00\x00\x00\x17")}
	part, _, err := Clients().Next(m.AppendParse(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ReadParse(part.Body); err != nil || string(got.Name) != "s1" || string(got.SQL) != "select $1" || !bytes.Equal(got.Types, m.Types) {
		t.Errorf("%+v %v", got, err)
	}
	if part, _, err = Clients().Next(AppendQuery(nil, []byte("select 1"))); err != nil {
		t.Fatal(err)
	}
	if sql, err := ReadQuery(part.Body); err != nil || string(sql) != "select 1" {
		t.Errorf("%s %v", sql, err)
	}
	if first, err := ReadFirst(bytes.NewReader(AppendCancel(nil, 7, []byte("abcd")))); err != nil || first.Request != AskCancel || first.Process != 7 || string(first.Key) != "abcd" {
		t.Errorf("%+v %v", first, err)
	}
	// The names of a Bind are found in the first bytes of one that is long.
	long := frame('B', append([]byte("portal\x00s1\x00"), make([]byte, 1<<20)...))
	if part, _, err = Clients().Next(long[:2000]); err != nil || part.Whole {
		t.Fatal(part.Whole, err)
	}
	if got, err := ReadBind(part.Body); err != nil || string(got.Name) != "portal" || string(got.Statement) != "s1" {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := ReadExecute([]byte("portal\x00\x00\x00\x00\x00")); err != nil || string(got.Name) != "portal" {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := ReadTarget([]byte("Ss1\x00")); err != nil || got.Kind != 'S' || string(got.Name) != "s1" {
		t.Errorf("%+v %v", got, err)
	}
	if mechanism, data, err := ReadSASL([]byte("SCRAM-SHA-256\x00\x00\x00\x00\x02n,")); err != nil || mechanism != ScramPlain || string(data) != "n," {
		t.Errorf("%s %s %v", mechanism, data, err)
	}
	if password, err := ReadPassword([]byte("secret\x00")); err != nil || password != "secret" {
		t.Error(err)
	}
	if body, err := ReadAnswer(bytes.NewReader(frame('p', []byte("secret\x00")))); err != nil || string(body) != "secret\x00" {
		t.Error(err)
	}
}

// Invariant: A28
// Attack: PG-03, PG-14
func TestBadMessagesAreRefused(t *testing.T) {
	for name, f := range map[string]func() error{
		"query with a zero byte in it": func() error { _, err := ReadQuery([]byte("select 1\x00; listen x\x00")); return err },
		"query without an end":         func() error { _, err := ReadQuery([]byte("select 1")); return err },
		"parse without types":          func() error { _, err := ReadParse([]byte("a\x00b\x00")); return err },
		"parse with fewer types":       func() error { _, err := ReadParse([]byte("a\x00b\x00\x00\x02\x00\x00\x00\x17")); return err },
		"parse with a zero byte":       func() error { _, err := ReadParse([]byte("a\x00b\x00; listen x\x00\x00\x00")); return err },
		"bind with a long name":        func() error { _, err := ReadBind(bytes.Repeat([]byte("x"), maxNames)); return err },
		"execute without rows":         func() error { _, err := ReadExecute([]byte("a\x00")); return err },
		"describe of nothing":          func() error { _, err := ReadTarget(nil); return err },
		"describe of a table":          func() error { _, err := ReadTarget([]byte("Ta\x00")); return err },
		"close with more":              func() error { _, err := ReadTarget([]byte("Sa\x00b\x00")); return err },
		"SASL without a length":        func() error { _, _, err := ReadSASL([]byte("SCRAM-SHA-256\x00")); return err },
		"SASL without data":            func() error { _, _, err := ReadSASL([]byte("SCRAM-SHA-256\x00\xff\xff\xff\xff")); return err },
		"empty password":               func() error { _, err := ReadPassword([]byte("\x00")); return err },
		"short key":                    func() error { _, _, err := ReadKeyData([]byte("\x00\x00\x00\x07abc")); return err },
		"setting without a value":      func() error { _, _, err := ReadParameterStatus([]byte("a\x00")); return err },
		"odd status":                   func() error { _, err := ReadReady([]byte("X")); return err },
		"query where a proof belongs":  func() error { _, err := ReadAnswer(strings.NewReader("Q\x00\x00\x00\x0dselect 1\x00")); return err },
		"endless proof":                func() error { _, err := ReadAnswer(strings.NewReader("p\x7f\xff\xff\xff")); return err },
		"SJIS":                         func() error { return CheckSetting("client_encoding", "SJIS") },
		"strings off":                  func() error { return CheckSetting("standard_conforming_strings", "off") },
	} {
		var e *Error
		if err := f(); !errors.As(err, &e) || e.Severity != SeverityFatal || e.Code != CodeProtocol {
			t.Errorf("%s: %v", name, err)
		}
	}
	if CheckSetting("client_encoding", "UTF8") != nil || CheckSetting("TimeZone", "SJIS") != nil {
		t.Error("a good setting was refused")
	}
}

// Attack: PG-14
func TestErrorsOfAHostileServer(t *testing.T) {
	for in, want := range map[string]Error{
		"":                            {},
		"\x00":                        {},
		"M":                           {},
		"Mcut":                        {Message: "cut"},
		"SFEHLER\x00VERROR\x00C42501": {Severity: "ERROR", Code: "42501"},
		"VERROR\x00SFEHLER\x00\x00Mx": {Severity: "ERROR"},
		"Zwhat\x00Mx\x00\x00":         {Message: "x"},
	} {
		if got := ReadError([]byte(in)); *got != want {
			t.Errorf("%q: %+v", in, got)
		}
	}
	e := (&Error{Severity: SeverityError, Code: CodePrivilege, Message: "a\x00Cb"}).AppendError(nil)
	if got := ReadError(e[header:]); got.Message != "aCb" || got.Code != CodePrivilege {
		t.Errorf("a zero byte in a message makes fields: %+v", got)
	}
}

func TestRowsOfTags(t *testing.T) {
	for in, want := range map[string]int64{
		"SELECT 5\x00": 5, "INSERT 0 7\x00": 7, "COPY 12\x00": 12, "BEGIN\x00": -1, "CREATE TABLE\x00": -1, "UPDATE 0\x00": 0,
		"SELECT -1\x00": -1, "SELECT 99999999999999999999\x00": -1, "": -1, "SELECT 5": 5, "5\x00": -1,
	} {
		tag, rows, counted := ReadTag([]byte(in))
		if counted != (want >= 0) || counted && rows != want || string(tag) != strings.TrimSuffix(in, "\x00") {
			t.Errorf("%q: %s %d %v", in, tag, rows, counted)
		}
	}
}

func FuzzBodies(f *testing.F) {
	f.Add([]byte("a\x00b\x00\x00\x01\x00\x00\x00\x17"))
	f.Add([]byte("SERROR\x00C42501\x00Mno\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if m, err := ReadParse(in); err == nil && !bytes.Equal(m.AppendParse(nil)[header:], in) {
			t.Fatalf("%q is read as %+v", in, m)
		}
		if sql, err := ReadQuery(in); err == nil && !bytes.Equal(AppendQuery(nil, sql)[header:], in) {
			t.Fatalf("%q is read as %q", in, sql)
		}
		if e := ReadError(in); e.Code != "" && e.Severity != "" && *ReadError(e.AppendError(nil)[header:]) != *e {
			t.Fatalf("%q is read as %+v", in, e)
		}
		// Of the others, that they end is what is looked at.
		ReadTag(in)
		ReadBind(in)
		ReadTarget(in)
		ReadExecute(in)
		ReadSASL(in)
		ReadKeyData(in)
		ReadParameterStatus(in)
	})
}
