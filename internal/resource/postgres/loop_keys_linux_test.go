package pgkind

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/gate"
	"github.com/daypass/daypass/internal/resource/postgres/reactor"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

// Each new key of TLS is answered with one. A client that sends them without
// end, and reads nothing, is not read any more: nothing piles up for it.
//
// Attack: RES-01, PG-14
func TestAClientThatReadsNoAnswersOfTLS(t *testing.T) {
	config, _, _ := certificate(t)
	s := aloneWith(t, &record{})
	s.g = &Gateway{target: nothing{}, now: time.Now, log: slog.New(slog.DiscardHandler), sessions: map[net.Conn]*session{}, visitors: newVisitors(1, 1)}
	s.g.cancels.init()
	defer s.g.carrier.close()
	s.resource, s.gate = &policy.Resource{ID: "orders-db"}, gate.Gate{Allowed: gate.Select}
	e := &exchange{small: true}
	client, near := e.pair(t)
	// Room for what the client sends: behind a window as small as one of loopback's
	// segments its kernel may send nothing for long.
	if err := errors.Join(control(near, unix.SO_RCVBUF, 1<<20), control(client, unix.SO_SNDBUF, 1<<20)); err != nil {
		t.Fatal(err)
	}
	up, server := e.pair(t)
	secrets := new(strings.Builder)
	s.raw, s.server = near, &pgconn.HijackedConn{Conn: up}
	s.client, _ = handshake(t, tls.Server(near, config), tls.Client(client, &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, KeyLogWriter: secrets,
	}))
	s.g.running.Add(1)
	go s.serve()
	go func() { // it takes all
		b := make([]byte, 1<<16)
		for {
			if _, err := server.Read(b); err != nil {
				return
			}
		}
	}()
	keys := keysOf(t, secrets.String())
	most := 0
send:
	for range 60 { // 5 MB, if it could
		var b []byte
		for range 200 {
			for range 16 { // crypto/tls takes no more of them without a word between
				b = keys.update(b)
			}
			b = keys.seal(b, 23, message('H', ""))
		}
		for began := time.Now(); len(b) > 0; {
			_ = client.SetWriteDeadline(time.Now().Add(time.Second))
			n, err := client.Write(b)
			b = b[n:]
			most = max(most, near.(*reactor.Conn).Unsent())
			if err != nil && (most > 0 || time.Since(began) > 5*time.Second) {
				break send // it is not read any more, rather than slowly
			}
		}
	}
	if most == 0 {
		// The client's kernel held back what it had to send: the loop listened, and
		// its socket had nothing.
		t.Skip("nothing was kept: nothing is tested")
	}
	if most > 8*largeBuffer {
		t.Errorf("%d bytes are kept for a client that reads nothing", most)
	}
	_ = client.Close()
	s.g.running.Wait()
}

// control sets an option of a socket.
func control(c net.Conn, option, value int) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, value) })
	return errors.Join(err, failed)
}

// sending is the keys of a client, TLS_AES_128_GCM_SHA256 (RFC 8446, 7.3).
type sending struct {
	t      *testing.T
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func keysOf(t *testing.T, log string) *sending {
	t.Helper()
	for line := range strings.Lines(log) {
		if rest, ok := strings.CutPrefix(line, "CLIENT_TRAFFIC_SECRET_0 "); ok {
			_, text, _ := strings.Cut(strings.TrimSpace(rest), " ")
			secret, err := hex.DecodeString(text)
			if err != nil || len(secret) != sha256.Size {
				t.Skip("another cipher was chosen")
			}
			s := &sending{t: t}
			s.use(secret)
			return s
		}
	}
	t.Fatal("no secret was logged")
	return nil
}

func (s *sending) use(secret []byte) {
	block, err := aes.NewCipher(s.label(secret, "key", 16))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		s.t.Fatal(err)
	}
	s.secret, s.iv, s.seq = secret, s.label(secret, "iv", 12), 0
}

func (s *sending) label(secret []byte, name string, size int) []byte {
	name = "tls13 " + name
	info := append([]byte{0, byte(size), byte(len(name))}, name...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), size)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// seal appends a record.
func (s *sending) seal(to []byte, kind byte, b []byte) []byte {
	nonce := append([]byte{}, s.iv...)
	for i, c := range binary.BigEndian.AppendUint64(nil, s.seq) {
		nonce[4+i] ^= c
	}
	s.seq++
	header := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(b)+1+16))
	return s.aead.Seal(append(to, header...), nonce, append(append([]byte{}, b...), kind), header)
}

// update appends a new key, for which one is wanted back.
func (s *sending) update(to []byte) []byte {
	to = s.seal(to, 22, []byte{24, 0, 0, 1, 1})
	s.use(s.label(s.secret, "traffic upd", sha256.Size))
	return to
}
