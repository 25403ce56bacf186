package pgkind

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/gate"
	"github.com/daypass/daypass/internal/resource/postgres/reactor"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

// exchange is what a client says to a server, and how their bytes are cut.
type exchange struct {
	says             []byte
	rows, size       int
	cutIn, cutOut    []int // bytes at a time
	small            bool  // sockets that hold little
	clientTLS, dbTLS bool
	full             int // every so many questions after its room the record has none; 0: never
}

// passed is what came of it.
type passed struct {
	toClient, toServer []byte
	record             []string
}

// However the bytes of both sides are cut, whatever sockets take of them, and
// whether the record has room or not: a loop and two goroutines pass the same on
// and record the same.
//
// Invariant: A20, A28
// Attack: PG-07, PG-08, PG-09, PG-14
func TestALoopAndGoroutinesDoTheSame(t *testing.T) {
	config, _, _ := certificate(t)
	withheldSome := false
	rapid.Check(t, func(r *rapid.T) {
		var e exchange
		for range rapid.IntRange(1, 6).Draw(r, "steps") {
			e.says = append(e.says, rapid.SampledFrom([][]byte{
				message('Q', "select 1\x00"), message('Q', "select 1; select 2\x00"), message('Q', "listen x\x00"), message('Q', "wrong\x00"),
				bytes.Join([][]byte{message('P', "s\x00select 3\x00\x00\x00"), message('B', "\x00s\x00\x00\x00\x00\x00\x00\x00"), message('D', "P\x00"), message('E', "\x00\x00\x00\x00\x00"), message('S', "")}, nil),
				bytes.Join([][]byte{message('P', "\x00listen y\x00\x00\x00"), message('B', "\x00\x00\x00\x00\x00\x00\x00\x00"), message('S', "")}, nil),
				bytes.Repeat(append(message('B', "\x00s\x00\x00\x00\x00\x00\x00\x00"), message('E', "\x00\x00\x00\x00\x00")...), 700),
				append(message('Q', "select '"+strings.Repeat("x", 70_000)+"'\x00"), message('S', "")...),
				append(message('Q', "select '"+strings.Repeat("x", 2*aTurn)+"'\x00"), message('S', "")...), // looked at beside the loop
				message('S', ""),
			}).Draw(r, "step")...)
		}
		e.says = append(append(e.says, message('S', "")...), message('X', "")...)
		e.rows = rapid.IntRange(0, 5).Draw(r, "rows")
		e.size = rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 3*largeBuffer)).Draw(r, "size")
		cut := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 2*largeBuffer)), 1, 8)
		e.cutIn, e.cutOut = cut.Draw(r, "cuts of the client"), cut.Draw(r, "cuts of the server")
		e.small = rapid.Bool().Draw(r, "small sockets")
		e.clientTLS, e.dbTLS = rapid.Bool().Draw(r, "TLS"), rapid.Bool().Draw(r, "TLS to the server")
		e.full = rapid.SampledFrom([]int{0, 0, 1, 2, 5}).Draw(r, "full")
		loop, rode, asked, err := e.run(t, config, false)
		if err != nil {
			r.Fatalf("on a loop: %v", err)
		}
		goroutines, walked, _, err := e.run(t, config, true)
		if err != nil {
			r.Fatalf("on goroutines: %v", err)
		}
		if !rode || walked {
			r.Fatal("one of them took the other's way")
		}
		withheldSome = withheldSome || asked > 0
		if !bytes.Equal(loop.toClient, goroutines.toClient) {
			r.Fatalf("the client got %d bytes, and %d", len(loop.toClient), len(goroutines.toClient))
		}
		if a, b := withoutFlush(r, loop.toServer), withoutFlush(r, goroutines.toServer); !bytes.Equal(a, b) {
			r.Fatalf("the server got %d bytes, and %d", len(a), len(b))
		}
		if a, b := strings.Join(loop.record, "\n"), strings.Join(goroutines.record, "\n"); a != b {
			r.Fatalf("the record:\n%s\nand:\n%s", a, b)
		}
		if len(loop.toClient) == 0 {
			r.Fatal("nothing passed")
		}
	})
	if !withheldSome {
		t.Error("the record always had room: nothing of that is tested")
	}
}

// withoutFlush is what a client sent to a server, without what the gateway adds
// to make it answer.
func withoutFlush(t *rapid.T, b []byte) []byte {
	var out []byte
	for scan := wire.Clients(); len(b) > 0; {
		part, rest, err := scan.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		if b = rest; part.Type != wire.Flush {
			out = append(out, part.Raw...)
		}
	}
	return out
}

// run has a session carry e. It reports whether a loop did, and how often the
// record had no room.
func (e *exchange) run(t *testing.T, config *tls.Config, goroutines bool) (p passed, rode bool, refused int64, err error) {
	t.Helper()
	rec := &record{}
	var asked, none atomic.Int64
	rec.room = func() bool {
		if e.full > 0 && asked.Add(1)%int64(e.full) == 0 {
			none.Add(1)
			return false
		}
		return true
	}
	s := aloneWith(t, rec)
	s.g = &Gateway{now: time.Now, log: slog.New(slog.DiscardHandler), sessions: map[net.Conn]*session{}, visitors: newVisitors(1, 1)}
	s.g.cancels.init()
	s.g.carrier.off = goroutines
	defer s.g.carrier.close()
	s.resource, s.gate = &policy.Resource{ID: "orders-db"}, gate.Gate{Allowed: gate.Select}
	clientFar, clientNear := e.pair(t)
	serverNear, serverFar := e.pair(t)
	s.raw, s.client = clientNear, clientNear
	s.server = &pgconn.HijackedConn{Conn: serverNear}
	client, server := clientFar, serverFar
	if e.clientTLS {
		s.client, client = handshake(t, tls.Server(clientNear, config), tls.Client(clientFar, &tls.Config{InsecureSkipVerify: true}))
	}
	if e.dbTLS {
		server, s.server.Conn = handshake(t, tls.Server(serverFar, config), tls.Client(serverNear, &tls.Config{InsecureSkipVerify: true}))
	}
	s.g.running.Add(1)
	go s.serve()
	go func() { _ = inPieces(client, e.says, e.cutIn) }()
	served := make(chan []byte, 1)
	go func() { served <- e.serve(server) }()
	p.toClient, err = io.ReadAll(client)
	_ = client.Close()
	p.toServer = <-served
	s.g.running.Wait()
	for _, one := range rec.of(audit.SessionQuery) {
		delete(one.Details, "duration_ms")
		p.record = append(p.record, fmt.Sprint(one.Outcome, one.Details))
	}
	return p, s.wake != nil, none.Load(), err
}

// pair is a connection of which both ends could join a loop.
func (e *exchange) pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{x, y} {
		_ = c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { _ = c.Close() })
		if e.small {
			_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
			_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10)
		}
	}
	a, _ = reactor.Of(x)
	b, _ = reactor.Of(y)
	return a, b
}

func handshake(t *testing.T, server, client *tls.Conn) (net.Conn, net.Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return server, client
}

func inPieces(to io.Writer, b []byte, sizes []int) error {
	for i := 0; len(b) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(b))
		if len(b) > 1<<20 || n < 16 && len(b) > 4096 {
			n = min(n*512, len(b)) // in time
		}
		if _, err := to.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// serve answers as PostgreSQL would, until the client leaves, and returns what
// it was sent.
func (e *exchange) serve(c net.Conn) []byte {
	defer c.Close()
	var got []byte
	scan, b, skipping := wire.Clients(), make([]byte, 8192), false
	for {
		n, err := c.Read(b)
		if err != nil {
			return got
		}
		got = append(got, b[:n]...)
		var out []byte
		left := false
		for rest := b[:n]; len(rest) > 0 && !left; {
			part, next, err := scan.Next(rest)
			if err != nil {
				return got
			}
			rest, left = next, part.Type == wire.Terminate
			if part.Count > 0 && (!skipping || part.Type == wire.Sync) {
				out, skipping = e.answer(out, part, skipping)
			}
		}
		if inPieces(c, out, e.cutOut) != nil || left {
			return got
		}
	}
}

func (e *exchange) answer(out []byte, part wire.Part, skipping bool) ([]byte, bool) {
	result := func() {
		out = append(out, message('T', "\x00\x00")...)
		for range e.rows {
			out = append(out, message('D', "\x00\x00"+strings.Repeat("r", e.size))...)
		}
		out = append(out, message('C', fmt.Sprintf("SELECT %d\x00", e.rows))...)
	}
	mistake := message('E', "SERROR\x00VERROR\x00C42601\x00Msyntax error\x00\x00")
	switch part.Type {
	case wire.Query:
		sql, _ := wire.ReadQuery(part.Body)
		switch {
		case bytes.Equal(sql, []byte(placeholder)), bytes.HasPrefix(sql, []byte("wrong")):
			out = append(out, mistake...)
		case bytes.Contains(sql, []byte(";")):
			result()
			result()
		default:
			result()
		}
		out = append(out, message('Z', "I")...)
	case wire.Parse:
		if m, _ := wire.ReadParse(part.Body); bytes.Equal(m.SQL, []byte(placeholder)) {
			return append(out, mistake...), true
		}
		out = append(out, message('1', "")...)
	case wire.Bind:
		out = append(out, message('2', "")...)
	case wire.Describe:
		out = append(out, message('n', "")...)
	case wire.Execute: // of which there are many
		out = append(append(out, message('D', "\x00\x00r")...), message('C', "SELECT 1\x00")...)
	case wire.Sync:
		out, skipping = append(out, message('Z', "I")...), false
	}
	return out, skipping
}

// A session rides where it can, and a strict one does not: it waits.
func TestWhoRides(t *testing.T) {
	for _, c := range []struct {
		name, more       string
		plain, off, want bool
	}{
		{"TLS", "", false, false, true}, {"in clear", "", true, false, true}, {"strict", "record: strict", true, false, false}, {"switched off", "", true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			goroutines = c.off
			defer func() { goroutines = false }()
			d := newDesk(t, deskOptions{plain: c.plain, more: c.more})
			p := d.pass(readOrders, time.Hour)
			if got := answer(d.connect(p), "select 1"); got != "1" {
				t.Fatal(got)
			}
			s := d.gw.all()[0]
			s.mu.Lock()
			defer s.mu.Unlock()
			if rides := s.wake != nil; rides != c.want {
				t.Errorf("rides: %v", rides)
			}
		})
	}
}
