package pgkind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/resource/postgres/gate"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

// pieces is a connection that gives what it has in pieces, and keeps what is
// written to it.
type pieces struct {
	net.Conn // nil: nothing else is called
	left     []byte
	size     func() int
	written  bytes.Buffer
	check    func()
}

func (p *pieces) SetReadDeadline(time.Time) error { return nil }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(len(p.left), p.size())])
	p.left = p.left[n:]
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error) {
	n, err := p.written.Write(b)
	p.check()
	return n, err
}

// alone is a session without a client and a server.
func alone(t testing.TB) *session {
	t.Helper()
	return aloneWith(t, &record{})
}

func aloneWith(t testing.TB, rec *record) *session {
	t.Helper()
	index := live.New(time.Now)
	t.Cleanup(index.Close)
	index.Put(live.Grant{ID: "grt_1", Principal: "user:ana", Resource: "orders-db", Scope: json.RawMessage("{}"), StartsAt: time.Now().Add(-time.Minute)}, time.Now().Add(time.Hour))
	secret, hash := credential.NewToken(credential.GrantToken)
	index.PutCredential(live.Credential{Hash: live.Hash(hash), Grant: "grt_1", Kind: live.KindToken})
	guard := gateway.New(index, rec, time.Now, false)
	guarded, err := guard.Open(context.Background(), gateway.Attempt{
		Gateway: "postgres", Secret: secret.Reveal(), Prefix: credential.GrantToken, Resource: "orders-db", Allow: func(*live.Grant) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{g: &Gateway{now: time.Now}, guard: guarded, grant: guarded.Grant}
	s.ops.init('I')
	return s
}

// whole reports whether b ends with a whole message.
func whole(b []byte) bool {
	scan := wire.Servers()
	for len(b) > 0 {
		_, rest, err := scan.Next(b)
		if err != nil {
			return false
		}
		b = rest
	}
	return scan.Idle()
}

// However the server's bytes arrive, the client gets the same ones, but for the
// errors that stand for refused statements; and whenever something of the
// gateway's own could go out, it would stand between two messages.
//
// Attack: PG-08, PG-14
func TestPiecesOfMessagesComeTogether(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := alone(t)
		var in, want []byte
		for range rapid.IntRange(1, 5).Draw(r, "queries") {
			p := op{kind: 'Q', text: textOf([]byte("x")), at: time.Now()}
			if rapid.IntRange(0, 3).Draw(r, "refused") == 0 {
				p.refusal = &gate.Refusal{Code: "42501", Message: "no"}
				in = append(in, message('E', "SERROR\x00VERROR\x00C42601\x00Msyntax error at or near \"?\"\x00\x00")...)
				want = (&wire.Error{Severity: "ERROR", Code: "42501", Message: "no"}).AppendError(want)
			} else {
				head := message('T', "\x00\x00")
				in, want = append(in, head...), append(want, head...)
				for range rapid.IntRange(0, 12).Draw(r, "rows") {
					size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 3*largeBuffer), rapid.IntRange(largeBuffer-20, largeBuffer+20)).Draw(r, "size")
					row := message(rapid.SampledFrom([]byte("DNd")).Draw(r, "type"), string(bytes.Repeat([]byte{byte('a' + size%26)}, size)))
					in, want = append(in, row...), append(want, row...)
				}
				tail := message('C', "SELECT 1\x00")
				in, want = append(in, tail...), append(want, tail...)
			}
			ready := message('Z', "I")
			in, want = append(in, ready...), append(want, ready...)
			if err := s.ops.push(p); err != nil {
				r.Fatal(err)
			}
		}
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 9), rapid.IntRange(1, 2*largeBuffer)), 1, 20).Draw(r, "pieces")
		n := 0
		server := &pieces{left: in, size: func() int { n++; return sizes[n%len(sizes)] }}
		client := &pieces{}
		seen := 0
		client.check = func() { seen++ }
		s.client, s.server = client, &pgconn.HijackedConn{Conn: server}
		if err := s.fromServer(); err != nil {
			r.Fatalf("%v", err)
		}
		if !bytes.Equal(client.written.Bytes(), want) {
			r.Fatalf("%d bytes, not the %d that should be", client.written.Len(), len(want))
		}
		if s.partial || seen == 0 {
			r.Fatal("it ends within a message")
		}
	})
}

// Where a server falls silent at any byte, a message of the gateway's own would
// not be taken for a part of the server's.
func TestAFarewellStandsBetweenMessages(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := alone(t)
		if err := s.ops.push(op{kind: 'Q', text: textOf([]byte("x")), at: time.Now()}); err != nil {
			r.Fatal(err)
		}
		in := message('T', "\x00\x00")
		for range rapid.IntRange(1, 6).Draw(r, "rows") {
			size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 3*largeBuffer)).Draw(r, "size")
			in = append(in, message('D', string(make([]byte, size)))...)
		}
		in = in[:rapid.IntRange(0, len(in)).Draw(r, "until")]
		step := rapid.IntRange(1, 2*largeBuffer).Draw(r, "piece")
		server, client := &pieces{left: in, size: func() int { return step }}, &pieces{check: func() {}}
		s.client, s.server = client, &pgconn.HijackedConn{Conn: server}
		if err := s.fromServer(); err != nil && !errors.Is(err, io.EOF) {
			r.Fatal(err)
		}
		if whole(client.written.Bytes()) == s.partial {
			r.Fatalf("partial is %v", s.partial)
		}
		if !bytes.HasPrefix(in, client.written.Bytes()) {
			r.Fatal("other bytes")
		}
	})
}
