package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func packet(code uint32, rest string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	return append(binary.BigEndian.AppendUint32(b, code), rest...)
}

// params is the body of a StartupMessage.
func params(pairs ...string) string {
	return strings.Join(append(pairs, "", ""), "\x00")[:len(strings.Join(pairs, "\x00"))+2]
}

func TestFirstPackets(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want Request
	}{
		"tls":        {packet(codeSSL, ""), AskTLS},
		"gssenc":     {packet(codeGSSENC, ""), AskEncryption},
		"cancel":     {packet(codeCancel, "\x00\x00\x00\x07abcd"), AskCancel},
		"cancel 3.2": {packet(codeCancel, "\x00\x00\x00\x07"+strings.Repeat("k", 32)), AskCancel},
		"session":    {packet(196608, params("user", "ana")), AskSession},
	} {
		// What follows is not read: it is for TLS to make sense of.
		r := bytes.NewReader(append(bytes.Clone(c.in), "after"...))
		got, err := ReadFirst(iotest.OneByteReader(r))
		if err != nil || got.Request != c.want || r.Len() != len("after") {
			t.Errorf("%s: %+v %v, %d bytes left", name, got, err, r.Len())
		}
		if c.want == AskCancel && (got.Process != 7 || len(got.Key) != len(c.in)-12) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Invariant: A28
// Attack: PG-01, PG-04, PG-05
func TestBadFirstPackets(t *testing.T) {
	for name, in := range map[string][]byte{
		"short":                    {0, 0, 0, 7, 0, 0, 0},
		"huge":                     {0x7f, 0xff, 0xff, 0xff},
		"an HTTP request":          []byte("GET / HTTP/1.1\r\n"),
		"tls with more":            packet(codeSSL, "x"),
		"gssenc with more":         packet(codeGSSENC, "x"),
		"cancel without a key":     packet(codeCancel, "\x00\x00\x00\x07"),
		"cancel with a short key":  packet(codeCancel, "\x00\x00\x00\x07abc"),
		"cancel with a long key":   packet(codeCancel, "\x00\x00\x00\x07"+strings.Repeat("k", 257)),
		"version 2":                packet(131072, params("user", "ana")),
		"version 4":                packet(4<<16, params("user", "ana")),
		"unknown code":             packet(1234<<16|5681, ""),
		"no terminator":            packet(196608, "user\x00ana"),
		"no parameters":            packet(196608, ""),
		"name without value":       packet(196608, "user\x00ana\x00database\x00"),
		"bytes after":              packet(196608, params("user", "ana")+"x"),
		"user twice":               packet(196608, params("user", "ana", "user", "bob")),
		"setting twice, by case":   packet(196608, params("user", "ana", "datestyle", "iso", "DateStyle", "iso")),
		"not UTF-8":                packet(196608, params("user", "an\xff")),
		"no user":                  packet(196608, params("database", "x")),
		"empty user":               packet(196608, params("user", "", "database", "x")),
		"USER":                     packet(196608, params("USER", "ana")),
		"replication":              packet(196608, params("user", "ana", "replication", "true")),
		"replication=database":     packet(196608, params("user", "ana", "replication", "database")),
		"options: role":            packet(196608, params("user", "ana", "options", "-c role=x")),
		"options: after a good":    packet(196608, params("user", "ana", "options", "-c geqo=off -c role=x")),
		"role":                     packet(196608, params("user", "ana", "role", "x")),
		"session_authorization":    packet(196608, params("user", "ana", "session_authorization", "x")),
		"search_path":              packet(196608, params("user", "ana", "search_path", "x")),
		"statement_timeout":        packet(196608, params("user", "ana", "statement_timeout", "0")),
		"ignore_system_indexes":    packet(196608, params("user", "ana", "ignore_system_indexes", "on")),
		"SJIS":                     packet(196608, params("user", "ana", "client_encoding", "SJIS")),
		"LATIN1":                   packet(196608, params("user", "ana", "client_encoding", "latin1")),
		"strings off":              packet(196608, params("user", "ana", "standard_conforming_strings", "off")),
		"digits":                   packet(196608, params("user", "ana", "extra_float_digits", "4")),
		"strange characters":       packet(196608, params("user", "ana", "TimeZone", "UTC;x")),
		"a value beyond all bound": packet(196608, params("user", "ana", "application_name", strings.Repeat("x", 257))),
	} {
		first, err := ReadFirst(bytes.NewReader(in))
		if err == nil {
			_, err = first.Session()
		}
		var e *Error
		if !errors.As(err, &e) || e.Severity != SeverityFatal || len(e.Code) != 5 || e.Message == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadFirst(strings.NewReader("\x00\x00\x00\x09\x00\x03")); err == nil {
		t.Error("half a packet was taken")
	}
}

// Invariant: A25
// Attack: PG-04, PG-05
func TestStartupParameters(t *testing.T) {
	pins := map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on"}
	for name, c := range map[string]struct {
		version uint32
		pairs   []string
		want    Session
		more    map[string]string
		tells   bool
	}{
		"least":      {196608, []string{"user", "ana"}, Session{User: "ana", Database: "ana", Version: Version30}, nil, false},
		"as written": {196608, []string{"user", " Ana ", "database", "dbname=x host=evil"}, Session{User: " Ana ", Database: "dbname=x host=evil", Version: Version30}, nil, false},
		"psql": {196608, []string{"user", "ana", "database", "orders", "application_name", "psql", "client_encoding", "UTF8"},
			Session{User: "ana", Database: "orders", Version: Version30}, map[string]string{"application_name": "psql"}, false},
		"JDBC": {196608, []string{"user", "ana", "database", "orders", "client_encoding", "UTF8", "DateStyle", "ISO", "TimeZone", "Europe/Berlin", "extra_float_digits", "2"},
			Session{User: "ana", Database: "orders", Version: Version30}, map[string]string{"DateStyle": "ISO", "TimeZone": "Europe/Berlin", "extra_float_digits": "2"}, false},
		"asyncpg":               {196608, []string{"user", "ana", "database", "orders", "client_encoding", "'utf-8'"}, Session{User: "ana", Database: "orders", Version: Version30}, nil, false},
		"psql without a locale": {196608, []string{"user", "ana", "client_encoding", "SQL_ASCII"}, Session{User: "ana", Database: "ana", Version: Version30}, nil, false},
		"harmless":              {196608, []string{"user", "ana", "options", "", "replication", "off", "standard_conforming_strings", "ON", "timezone", "<+01>-01"}, Session{User: "ana", Database: "ana", Version: Version30}, map[string]string{"TimeZone": "<+01>-01"}, false},
		"3.2":                   {196610, []string{"user", "ana"}, Session{User: "ana", Database: "ana", Version: Version32}, nil, false},
		"3.9":                   {196617, []string{"user", "ana"}, Session{User: "ana", Database: "ana", Version: Version32}, nil, true},
		"extension":             {196608, []string{"user", "ana", "_pq_.x", "1"}, Session{User: "ana", Database: "ana", Version: Version30, Unsupported: []string{"_pq_.x"}}, nil, true},
	} {
		first, err := ReadFirst(bytes.NewReader(packet(c.version, params(c.pairs...))))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := first.Session()
		want := maps.Clone(pins)
		maps.Copy(want, c.more)
		if err != nil || got.User != c.want.User || got.Database != c.want.Database || got.Version != c.want.Version || !slices.Equal(got.Unsupported, c.want.Unsupported) || !maps.Equal(got.Params, want) || got.Negotiates(first) != c.tells {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	if Version30.KeySize() != 4 || Version32.KeySize() != 32 {
		t.Error("lengths of cancel keys")
	}
}

func FuzzFirst(f *testing.F) {
	f.Add(packet(196610, params("user", "ana", "_pq_.x", "1"))[4:])
	f.Add(packet(codeCancel, "\x00\x00\x00\x07abcd")[4:])
	f.Fuzz(func(t *testing.T, in []byte) {
		first, err := ParseFirst(in)
		if err != nil || first.Request != AskSession {
			return
		}
		s, err := first.Session()
		if err != nil {
			return
		}
		// What was taken is in the packet, word for word.
		if s.User == "" || !bytes.Contains(in, []byte("user\x00"+s.User+"\x00")) || s.Params["client_encoding"] != "UTF8" || s.Params["standard_conforming_strings"] != "on" {
			t.Fatalf("%q: %+v", in, s)
		}
		for name := range s.Params {
			if _, ok := settings[fold(name)]; !ok {
				t.Fatalf("%q is passed on", name)
			}
		}
	})
}
