package pgkind

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/daypass/daypass/internal/resource/postgres/gate"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
	"github.com/jackc/pgx/v5/pgconn"
)

// Whatever a client sends, in whatever pieces: what reaches the server are
// messages that are known, and statements that the gate has let through or the
// one that stands for a refused one.
//
// Invariant: A28
// Attack: PG-07, PG-08, PG-09
func FuzzFromClient(f *testing.F) {
	seeds := [][]byte{
		message('Q', "select 1\x00"), message('Q', "listen x\x00"), message('Q', "select 1; set role postgres\x00"), message('Q', "select $$'\x00"),
		append(message('P', "s\x00select 1\x00\x00\x00"), message('B', "\x00s\x00\x00\x00\x00\x00\x00\x00")...),
		append(message('P', "\x00listen x\x00\x00\x00"), message('E', "\x00\x00\x00\x00\x00")...),
		append(message('E', "\x00\x00\x00\x00\x00"), message('S', "")...), append(message('d', "1\t2\n"), message('c', "")...),
		message('F', "\x00"), message('p', "x\x00"), message('X', ""), message('D', "Ss\x00"), message('C', "Pp\x00"), message('H', ""), message('f', "no\x00"),
	}
	for _, a := range seeds {
		for _, b := range seeds {
			f.Add(append(bytes.Clone(a), b...), uint16(7))
			f.Add(append(bytes.Clone(a), b...), uint16(999))
		}
		f.Add(a, uint16(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint16) {
		s := alone(t)
		s.gate = gate.Gate{Allowed: gate.Select}
		s.ops.close() // nobody answers: do not wait for it
		client := &pieces{left: in, size: func() int { return int(step) + 1 }}
		server := &pieces{check: func() {}}
		s.client, s.server = client, &pgconn.HijackedConn{Conn: server}
		if err := s.fromClient(); err == nil {
			t.Fatal("it ends without a reason")
		} else if _, ours := errors.AsType[*wire.Error](err); !ours && !errors.Is(err, io.EOF) && !errors.Is(err, errLeft) && !errors.Is(err, errProtocol) && !errors.Is(err, errStopped) {
			t.Fatal(err)
		}
		scan := wire.Clients()
		for rest := server.written.Bytes(); len(rest) > 0; {
			part, next, err := scan.Next(rest)
			if err != nil {
				t.Fatalf("the server got what is no message: %v", err)
			}
			rest = next
			if part.Count == 0 || part.Type != wire.Query && part.Type != wire.Parse {
				continue
			}
			if !part.Whole {
				t.Fatal("the server got part of a statement")
			}
			var sql []byte
			if part.Type == wire.Query {
				sql, err = wire.ReadQuery(part.Body)
			} else {
				var m wire.Prepared
				m, err = wire.ReadParse(part.Body)
				sql = m.SQL
			}
			if err != nil {
				t.Fatal(err)
			}
			if again, refusal := s.gate.Check(sql); string(sql) != placeholder && (refusal != nil || !bytes.Equal(again, sql)) {
				t.Fatalf("%q went out: %v", sql, refusal)
			}
		}
	})
}
