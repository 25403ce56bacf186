package pgkind

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func message(typ byte, body string) []byte {
	b := []byte{typ, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[1:], uint32(len(body)+4))
	return append(b, body...)
}

func first(code uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return append(binary.BigEndian.AppendUint32(b, code), body...)
}

const (
	sslRequest = 80877103
	version3   = 3 << 16
)

// dial sends bytes and returns what comes back until the connection ends.
func (d *desk) dial(b []byte) (string, time.Duration) {
	d.t.Helper()
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	_ = c.SetDeadline(start.Add(patience))
	_, _ = c.Write(b)
	got, err := io.ReadAll(c)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		d.t.Errorf("%.60q: the connection stays open", b)
	}
	return string(got), time.Since(start)
}

// Attack: PG-01, PG-02, PG-03, PG-04, PG-08, PG-15
func TestHostileBeginnings(t *testing.T) {
	d := newDesk(t, deskOptions{limits: resource.Limits{HeaderTimeout: 400 * time.Millisecond}})
	p := d.pass(readOrders, time.Hour)
	startup := string(first(version3, "user\x00"+p.id+"\x00database\x00"+d.database+"\x00\x00"))
	for name, c := range map[string]struct {
		send, want string
		until      bool // the deadline
	}{
		"silence":                        {"", "", true},
		"half a length":                  {"\x00\x00", "", true},
		"half a packet":                  {startup[:20], "", true},
		"garbage":                        {"GET / HTTP/1.1\r\n\r\n", "08P01", false},
		"a length below 8":               {"\x00\x00\x00\x04", "08P01", false},
		"a length of 2 GiB":              {"\x7f\xff\xff\xff\x00\x03\x00\x00", "08P01", false},
		"in clear":                       {startup, "28000", false},
		"TLS asked for, then nothing":    {string(first(sslRequest, "")), "S", true},
		"bytes before TLS":               {string(first(sslRequest, "")) + startup, "S", false},
		"TLS that is none":               {"\x16\x03\x01\x00\x05hello", "", false},
		"protocol 2":                     {string(first(2<<16, "")), "0A000", false},
		"a cancel request of nobody":     {string(first(80877102, "\x00\x00\x00\x01\x00\x00\x00\x02")), "", false},
		"a cancel request without a key": {string(first(80877102, "")), "08P01", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, took := d.dial([]byte(c.send))
			// After an S only TLS may follow: an alert of it at most.
			if c.want == "S" && !strings.HasPrefix(got, "S") || c.want == "S" && strings.Contains(got, "SCRAM") || c.want != "S" && !strings.Contains(got, c.want) || c.want == "" && len(got) > 7 {
				t.Errorf("%q", got)
			}
			if c.until != (took > 300*time.Millisecond) || took > 3*time.Second {
				t.Errorf("closed after %v", took)
			}
			if strings.Contains(got, "SCRAM") {
				t.Error("it asks for a proof")
			}
		})
	}
	if len(d.gw.all()) != 0 {
		t.Error("a session is left")
	}
}

// Who a client is to the database, the gateway alone says.
//
// Invariant: A26
// Attack: PG-04
func TestStartupParametersAreAListOfTheirOwn(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	for name, value := range map[string]string{"options": "-c role=postgres", "search_path": "x", "role": "postgres", "session_authorization": "postgres", "replication": "database", "statement_timeout": "0", "client_encoding": "SJIS"} {
		config, err := pgx.ParseConfig(d.dsn(p.id, p.token))
		if err != nil {
			t.Fatal(err)
		}
		config.RuntimeParams[name] = value
		_, err = pgx.ConnectConfig(context.Background(), config)
		e, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || e.Code != "0A000" && e.Code != "22023" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(d.rec.entries) != 0 {
		t.Error("somebody came as far as the guard")
	}
}

// TLS may begin at once, for clients that say what they speak (PostgreSQL 17).
//
// Attack: PG-01, PG-02
func TestDirectTLS(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	c := d.connect(p, "sslnegotiation=direct")
	if got := answer(c, "select 1"); got != "1" {
		t.Error(got)
	}
	raw, err := tls.Dial("tcp", d.addr, &tls.Config{RootCAs: d.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	_, _ = raw.Write(first(version3, "user\x00"+p.id+"\x00\x00"))
	got, _ := io.ReadAll(raw)
	if !strings.Contains(string(got), "08P01") || strings.Contains(string(got), "SCRAM") {
		t.Errorf("without ALPN: %q", got)
	}
	if _, err := tls.Dial("tcp", d.addr, &tls.Config{RootCAs: d.roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}); err == nil {
		t.Error("it speaks h2")
	}
}

// The proof is bound to the certificate that the client saw.
func TestChannelBinding(t *testing.T) {
	d := newDesk(t, deskOptions{})
	p := d.pass(readOrders, time.Hour)
	if got := answer(d.connect(p, "channel_binding=require"), "select 1"); got != "1" {
		t.Error(got)
	}
	cmd := d.psql(p, "select 2;")
	cmd.Env = append(cmd.Environ(), "PGCHANNELBINDING=require")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "2\n" {
		t.Errorf("psql: %v %s", err, out)
	}
}

// Attack: PG-03, PG-08, PG-09
func TestHostileClients(t *testing.T) { onBothWays(t, testHostileClients) }

func testHostileClients(t *testing.T) {
	d := newDesk(t, deskOptions{plain: true})
	p := d.pass(readOrders, time.Hour)
	for name, send := range map[string][]byte{
		"a function call":         message('F', "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		"an unknown type":         message('y', ""),
		"a password":              message('p', "x\x00"),
		"a server's message":      message('Z', "I"),
		"a length of 3":           {'Q', 0, 0, 0, 3},
		"a length of 2 GiB":       {'d', 0x7f, 0xff, 0xff, 0xff},
		"a negative length":       {'d', 0xff, 0xff, 0xff, 0xff},
		"a statement of 17 MiB":   {'Q', 1, 0x10, 0, 0},
		"a name that never ends":  message('B', strings.Repeat("x", 4000)),
		"a query with more":       message('Q', "select 1\x00select 2\x00"),
		"a startup packet":        first(version3, "user\x00postgres\x00\x00"),
		"TLS":                     {0x16, 3, 1, 0, 5, 'h', 'e', 'l', 'l', 'o'},
		"a query within a COPY":   append(message('Q', "copy orders to stdout; select 1\x00"), message('y', "")...),
		"a describe of something": message('D', "Xx\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			h := d.hijack(p)
			if got := h.ask(send); got != "FATAL" && got != "closed" {
				t.Errorf("it got %q", got)
			}
		})
	}
	// Half a message, and then nothing, keeps nobody from anything.
	half := d.hijack(p)
	_, _ = half.conn.Write(message('Q', "select 1\x00")[:8])
	if got := answer(d.connect(p), "select 1"); got != "1" {
		t.Error(got)
	}
	// A client that sends byte by byte is slow, no more.
	slow := d.hijack(p)
	for _, b := range message('Q', "select 'slow'\x00") {
		_, _ = slow.conn.Write([]byte{b})
		time.Sleep(time.Millisecond)
	}
	if got := slow.read(); got != "ReadyForQuery" {
		t.Errorf("%q", got)
	}
}

// hijacked is a session that has logged in, as bytes.
type hijacked struct {
	conn  net.Conn
	front *pgproto3.Frontend
	err   *pgproto3.ErrorResponse
}

func (d *desk) hijack(p pass) *hijacked {
	d.t.Helper()
	c := d.connect(p)
	h, err := c.PgConn().Hijack()
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = h.Conn.Close() })
	_ = h.Conn.SetDeadline(time.Now().Add(patience))
	return &hijacked{conn: h.Conn, front: h.Frontend}
}

func (h *hijacked) ask(b []byte) string {
	_, _ = h.conn.Write(b)
	return h.read()
}

// read reads to the next ReadyForQuery, or to the end.
func (h *hijacked) read() string {
	for {
		m, err := h.front.Receive()
		if err != nil {
			return "closed"
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			copied := *m
			h.err = &copied
			if m.Severity == "FATAL" {
				return "FATAL"
			}
		case *pgproto3.ReadyForQuery:
			return "ReadyForQuery"
		}
	}
}

// evil is a target whose server says what a test wants it to.
type evil struct{ says chan []byte }

func (e *evil) check(context.Context, *policy.Resource, *Scope, json.RawMessage) error { return nil }

func (e *evil) cancelBackend(context.Context, *policy.Resource, string, uint32) error { return nil }

func (e *evil) cut(*policy.Resource, string) <-chan error {
	done := make(chan error, 1)
	done <- nil
	return done
}

func (e *evil) dialUpstream(context.Context, *policy.Resource, string, map[string]string) (*pgconn.HijackedConn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	c, err := l.Accept() // it waits there already
	if err != nil {
		return nil, err
	}
	go func() {
		defer c.Close()
		b := make([]byte, 4096)
		if _, err := c.Read(b); err != nil { // a statement came
			return
		}
		_, _ = c.Write(<-e.says)
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.Copy(io.Discard, c)
	}()
	return &pgconn.HijackedConn{Conn: near, ParameterStatuses: map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on"}, TxStatus: 'I'}, nil
}

// Invariant: A1
// Attack: PG-14, PG-09, PG-07
func TestHostileServers(t *testing.T) { onBothWays(t, testHostileServers) }

func testHostileServers(t *testing.T) {
	e := &evil{says: make(chan []byte, 1)}
	d := newDesk(t, deskOptions{plain: true, target: e})
	p := d.pass(readOrders, time.Hour)
	join := func(all ...[]byte) []byte {
		var out []byte
		for _, one := range all {
			out = append(out, one...)
		}
		return out
	}
	rows := message('T', "\x00\x00")
	for name, c := range map[string]struct {
		says []byte
		want string // what the client sees; "" for a FATAL of ours or a closed connection
	}{
		"an unknown type":            {message('y', ""), ""},
		"a length of 3":              {[]byte{'D', 0, 0, 0, 3}, ""},
		"a length of 2 GiB":          {[]byte{'D', 0x80, 0, 0, 0}, ""},
		"a request to log in":        {message('R', "\x00\x00\x00\x03"), ""},
		"another key":                {message('K', "\x00\x00\x00\x01\x00\x00\x00\x02"), ""},
		"replication":                {message('W', "\x00\x00\x00"), ""},
		"another encoding":           {message('S', "client_encoding\x00SJIS\x00"), ""},
		"backslashes":                {message('S', "standard_conforming_strings\x00off\x00"), ""},
		"an answer to nothing asked": {join(message('1', ""), message('Z', "I")), ""},
		"a second end":               {join(message('C', "SELECT 0\x00"), message('Z', "I"), message('Z', "I")), "ReadyForQuery"},
		"rows after an error":        {join(message('E', "SERROR\x00C22012\x00Mx\x00\x00"), message('D', "\x00\x00")), ""},
		"no state":                   {message('Z', ""), ""},
		"an error without a code":    {join(message('E', "Mnothing\x00\x00"), message('Z', "I")), "ReadyForQuery"},
		"an error that never ends":   {join(message('E', strings.Repeat("M", 100)), message('Z', "I")), "closed"}, // by the client, which cannot read it
		"half a message":             {join(rows, []byte{'D', 0, 0, 1, 0, 'x'}), ""},
		"a tag that never ends":      {message('C', strings.Repeat("x", 20000)), ""},
		"a row of 4 MiB":             {join(rows, message('D', "\x00\x01\x00\x40\x00\x00"+strings.Repeat("x", 4<<20)), message('C', "SELECT 1\x00"), message('Z', "I")), "ReadyForQuery"},
	} {
		t.Run(name, func(t *testing.T) {
			h := d.hijack(p)
			e.says <- c.says
			got := h.ask(message('Q', "select 1\x00"))
			if c.want == "" && got != "FATAL" && got != "closed" || c.want != "" && got != c.want {
				t.Errorf("the client sees %q", got)
			}
			_ = h.conn.Close()
		})
	}
	eventually(t, "all sessions are over", func() bool { return d.guard.Counts().Sessions == 0 })
}

// Attack: PG-10
func TestCancelRequests(t *testing.T) { onBothWays(t, testCancelRequests) }

func testCancelRequests(t *testing.T) {
	d := newDesk(t, deskOptions{plain: true})
	p := d.pass(readOrders, time.Hour)
	c := d.connect(p)
	sleep := func() chan string {
		done := make(chan string, 1)
		go func() { done <- answer(c, "select pg_sleep(3)") }()
		eventually(t, "it sleeps", func() bool {
			return d.value("select count(*) from pg_stat_activity where query = 'select pg_sleep(3)' and state = 'active' and usename = '"+roleOf(p.id)+"'") == "1"
		})
		return done
	}
	pid, key := c.PgConn().PID(), c.PgConn().SecretKey()
	backend := d.value("select pid from pg_stat_activity where usename = '" + roleOf(p.id) + "'")
	if fmt.Sprint(pid) == backend {
		t.Error("the client knows the number of its backend")
	}
	done := sleep()
	for _, guess := range [][]byte{{1, 2, 3, 4}, append(key[:3:3], key[3]+1), append(key[:4:4], 0)} {
		if got, _ := d.dial(first(80877102, string(binary.BigEndian.AppendUint32(nil, pid))+string(guess))); got != "" {
			t.Errorf("a guess is answered with %q", got)
		}
	}
	if err := c.PgConn().CancelRequest(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != "57014" {
		t.Errorf("its own key: %q", got)
	}
}

// Attack: PG-10
func TestGuessesOfCancelKeysAreBounded(t *testing.T) {
	var c cancels
	c.init()
	one := &session{}
	key := []byte(c.add(one, 4))
	process := binary.BigEndian.Uint32(key)
	peer, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	now := time.Now()
	for i := range cancelBurst {
		if c.find(process, []byte("abcd"), peer, now) != nil {
			t.Fatalf("guess %d finds a session", i)
		}
	}
	if c.find(process, key[4:], peer, now) != nil {
		t.Error("who guesses without end is heard")
	}
	if c.find(process, key[4:], other, now) != one {
		t.Error("others are not heard")
	}
	if c.find(process, key[4:], peer, now.Add(cancelEvery)) != one || c.find(process, key[4:], peer, now.Add(cancelEvery)) != nil {
		t.Error("later there is not one more try")
	}
	c.remove(string(key))
	if c.find(process, key[4:], other, now) != nil {
		t.Error("a key outlives its session")
	}
	for i := range cancelPeers + 10 {
		c.find(process, nil, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), now)
	}
	if len(c.tries) > cancelPeers {
		t.Errorf("%d addresses are remembered", len(c.tries))
	}
	c.find(process, nil, netip.MustParsePrefix("198.51.100.1/32"), now.Add(time.Minute))
	if len(c.tries) != 1 {
		t.Errorf("%d addresses are remembered for ever", len(c.tries))
	}
}

// Invariant: A37
func TestConnectionsAreBounded(t *testing.T) {
	d := newDesk(t, deskOptions{plain: true, limits: resource.Limits{Connections: 5, ConnectionsPerPeer: 3}})
	p := d.pass(readOrders, time.Hour)
	for range 3 {
		d.connect(p)
	}
	if _, err := d.try(d.dsn(p.id, p.token)); err == nil {
		t.Error("a fourth connection from one address is let in")
	}
}
