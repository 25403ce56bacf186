package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func frame(typ byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(body)+4)), body...)
}

// seen is what a reader of parts makes of a stream.
type seen struct {
	forwarded []byte
	kept      []string // type and body of each message that is gathered
	counts    map[byte]int
	err       error
}

// scan feeds a stream to a scanner in chunks that end at cuts, in a buffer that is
// overwritten after each, and checks what must hold of every part.
func scan(t interface{ Fatalf(string, ...any) }, s *Scanner, stream []byte, cuts []int) seen {
	out := seen{counts: map[byte]int{}}
	from := 0
	for _, to := range append(slices.Clone(cuts), len(stream)) {
		buffer := bytes.Clone(stream[from:to])
		from = to
		for rest := buffer; len(rest) > 0; {
			part, after, err := s.Next(rest)
			if err != nil {
				out.err = err
				if _, _, again := s.Next([]byte("S\x00\x00\x00\x04")); again != err {
					t.Fatalf("a scanner went on after %v", err)
				}
				return out
			}
			if len(after) >= len(rest) {
				t.Fatalf("no progress at %q", rest)
			}
			if taken := len(rest) - len(after); part.Type != 0 && !part.Held && !bytes.Equal(part.Raw, rest[:taken]) {
				t.Fatalf("a part that is not held is not what was taken")
			}
			if part.Type == 0 && part.Raw != nil || part.Whole != s.Boundary() && part.Type != 0 {
				t.Fatalf("part %+v at boundary %v", part, s.Boundary())
			}
			if s.Run > 0 && part.Count > s.Run {
				t.Fatalf("%d messages in a run of at most %d", part.Count, s.Run)
			}
			out.forwarded = append(out.forwarded, part.Raw...)
			if part.Count > 0 {
				out.counts[part.Type] += part.Count
				if head := s.rules[part.Type].head; head > 0 {
					body := part.Body
					if !part.Whole && len(body) < head {
						t.Fatalf("%q: %d bytes of its head", part.Type, len(body))
					}
					out.kept = append(out.kept, string(part.Type)+string(body[:min(len(body), head)]))
				}
			}
			rest = after
		}
		for i := range buffer {
			buffer[i] = 0xee // whoever kept a part of it sees this
		}
	}
	return out
}

// reference is the stream cut by the definition.
func reference(r *rules, stream []byte) seen {
	out := seen{counts: map[byte]int{}}
	for len(stream) >= header {
		typ, length := stream[0], binary.BigEndian.Uint32(stream[1:])
		if !r[typ].known || length < 4 || int(length)-4 > r[typ].limit {
			out.err = errors.New("bad")
			return out
		}
		end := min(int(length)+1, len(stream))
		head := r[typ].head
		if end-header < min(head, int(length)-4) {
			return out // not enough of it
		}
		out.forwarded = append(out.forwarded, stream[:end]...)
		out.counts[typ]++
		if head > 0 {
			body := stream[header:end]
			out.kept = append(out.kept, string(typ)+string(body[:min(len(body), head)]))
		}
		stream = stream[end:]
	}
	return out
}

func agree(t interface{ Fatalf(string, ...any) }, fresh func() *Scanner, stream []byte, cuts []int, run int) {
	s := fresh()
	s.Run = run
	got, want := scan(t, s, stream, cuts), reference(s.rules, stream)
	if (got.err == nil) != (want.err == nil) || !bytes.Equal(got.kept2(), want.kept2()) {
		t.Fatalf("cuts %v: %v, want %v", cuts, got, want)
	}
	for typ, n := range want.counts {
		if got.counts[typ] != n {
			t.Fatalf("%d messages %q, want %d", got.counts[typ], typ, n)
		}
	}
	if !bytes.HasPrefix(stream, got.forwarded) {
		t.Fatalf("forwarded what was not sent")
	}
	// A header alone of a message that streams may or may not be on its way.
	if n := len(want.forwarded) - len(got.forwarded); n != 0 {
		t.Fatalf("%d bytes forwarded, want %d", len(got.forwarded), len(want.forwarded))
	}
}

func (s seen) kept2() []byte {
	var b []byte
	for _, k := range s.kept {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(k))), k...)
	}
	return b
}

// Attack: PG-08
func TestAnySplitOfAStreamGivesTheSameMessages(t *testing.T) {
	for name, fresh := range map[string]func() *Scanner{"client": Clients, "server": Servers} {
		t.Run(name, func(t *testing.T) {
			var types []byte
			for typ, r := range fresh().rules {
				if r.known {
					types = append(types, byte(typ))
				}
			}
			messages := 0
			rapid.Check(t, func(t *rapid.T) {
				var stream []byte
				for range rapid.IntRange(1, 12).Draw(t, "messages") {
					typ := rapid.SampledFrom(types).Draw(t, "type")
					size := rapid.OneOf(rapid.IntRange(0, 12), rapid.IntRange(1000, 1100), rapid.IntRange(9990, 10_010)).Draw(t, "size")
					for range rapid.SampledFrom([]int{1, 1, 1, 5}).Draw(t, "times") {
						stream = append(stream, frame(typ, bytes.Repeat([]byte{typ ^ byte(size)}, size))...)
						messages++
					}
				}
				cuts := rapid.SliceOfN(rapid.IntRange(0, len(stream)), 0, 20).Draw(t, "cuts")
				slices.Sort(cuts)
				agree(t, fresh, stream, cuts, rapid.IntRange(0, 3).Draw(t, "run"))
			})
			if messages == 0 {
				t.Fatal("no message was scanned")
			}
		})
	}
}

// Invariant: A28
// Attack: PG-08, PG-09
func TestBadFramesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		s    *Scanner
		in   []byte
		code string
	}{
		"length 0":               {Clients(), []byte("Q\x00\x00\x00\x00"), CodeProtocol},
		"length 3":               {Clients(), []byte("Q\x00\x00\x00\x03"), CodeProtocol},
		"length 3 of a row":      {Servers(), []byte("D\x00\x00\x00\x03"), CodeProtocol},
		"negative":               {Clients(), []byte("Q\xff\xff\xff\xff"), CodeProtocol},
		"negative, server":       {Servers(), []byte("D\xff\xff\xff\xff"), CodeProtocol},
		"2^31":                   {Clients(), []byte("d\x80\x00\x00\x00"), CodeProtocol},
		"1 GiB":                  {Servers(), []byte("d\x40\x00\x00\x04"), CodeProtocol},
		"query beyond 16 MiB":    {Clients(), []byte("Q\x01\x00\x00\x05"), CodeProtocol},
		"parse beyond 16 MiB":    {Clients(), []byte("P\x01\x00\x00\x05"), CodeProtocol},
		"long Sync":              {Clients(), []byte("S\x00\x00\x27\x15"), CodeProtocol},
		"function call":          {Clients(), []byte("F\x00\x00\x00\x04"), CodeFeature},
		"password in a session":  {Clients(), []byte("p\x00\x00\x00\x04"), CodeProtocol},
		"CopyBoth":               {Servers(), []byte("W\x00\x00\x00\x04"), CodeFeature},
		"function result":        {Servers(), []byte("V\x00\x00\x00\x04"), CodeProtocol},
		"negotiation in session": {Servers(), []byte("v\x00\x00\x00\x04"), CodeProtocol},
		"startup packet":         {Clients(), []byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"), CodeProtocol},
	} {
		for cut := range len(c.in) {
			s := &Scanner{rules: c.s.rules}
			got := scan(t, s, c.in, []int{cut})
			var e *Error
			if !errors.As(got.err, &e) || e.Code != c.code || e.Severity != SeverityFatal || len(got.forwarded) > 0 {
				t.Errorf("%s, cut at %d: %v, %q forwarded", name, cut, got.err, got.forwarded)
			}
		}
	}
}

// Attack: PG-08
func TestMemoryGrowsWithWhatCameNotWithWhatWasAnnounced(t *testing.T) {
	s := Clients()
	if _, _, err := s.Next([]byte("Q\x00\xff\xff\xffselect")); err != nil {
		t.Fatal(err)
	}
	if cap(s.hold) > 1024 {
		t.Errorf("%d bytes for 11", cap(s.hold))
	}
	// And it is given back after a long statement.
	s = Clients()
	long := frame('Q', make([]byte, 1<<20))
	for _, chunk := range [][]byte{long[:100], long[100:], frame('S', nil)} {
		if _, _, err := s.Next(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if cap(s.hold) > kept {
		t.Errorf("%d bytes kept", cap(s.hold))
	}
}

func fuzz(f *testing.F, fresh func() *Scanner) {
	f.Add([]byte("Q\x00\x00\x00\x0dselect 1\x00S\x00\x00\x00\x04"), []byte{3, 1})
	f.Add([]byte("D\x00\x00\x00\x05xD\x00\x00\x00\x05yC\x00\x00\x00\x06a\x00Z\x00\x00\x00\x05I"), []byte{6, 6, 2})
	f.Add([]byte("B\x00\x00\x04\x10a\x00b\x00"), []byte{1})
	f.Fuzz(func(t *testing.T, stream, splits []byte) {
		var cuts []int
		at := 0
		for _, n := range splits {
			if at += int(n); at > len(stream) {
				break
			}
			cuts = append(cuts, at)
		}
		agree(t, fresh, stream, cuts, len(splits)%4)
	})
}

func FuzzClientFrames(f *testing.F) { fuzz(f, Clients) }

func FuzzServerFrames(f *testing.F) { fuzz(f, Servers) }

// BenchmarkRows scans the rows of a large result as they are read, 32 KiB a time.
func BenchmarkRows(b *testing.B) {
	chunk := bytes.Repeat(frame('D', make([]byte, 115)), 270)
	s := Servers()
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		for rest := chunk; len(rest) > 0; {
			_, after, err := s.Next(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = after
		}
	}
}

// BenchmarkTransaction scans what both sides send for one small query.
func BenchmarkTransaction(b *testing.B) {
	query := frame('Q', []byte("SELECT abalance FROM pgbench_accounts WHERE aid = 4711;\x00"))
	answer := slices.Concat(frame('T', make([]byte, 29)), frame('D', make([]byte, 7)), frame('C', []byte("SELECT 1\x00")), frame('Z', []byte("I")))
	c, s := Clients(), Servers()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.Next(query); err != nil {
			b.Fatal(err)
		}
		for rest := answer; len(rest) > 0; {
			_, after, err := s.Next(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = after
		}
	}
}
