package reactor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const patience = 10 * time.Second

func start(t testing.TB) *Loop {
	t.Helper()
	l, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// pair is a connection, of which near can join a loop.
func pair(t testing.TB) (near *Conn, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	near, ok := Of(other)
	if !ok {
		t.Fatal("TCP cannot join a loop")
	}
	t.Cleanup(func() { _, _ = c.Close(), near.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return near, c.(*net.TCPConn)
}

// on runs f on the loop and waits for it.
func (l *Loop) on(t testing.TB, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { defer close(done); f() }) {
		t.Fatal("the loop is closed")
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the loop is stuck")
	}
}

type owner func(c *Conn, can Readiness)

func (o owner) Ready(c *Conn, can Readiness) { o(c, can) }

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("not in time: " + what)
		}
	}
}

// Nothing is lost where a connection goes from one poller to the other, and it
// blocks, with its deadlines, only where it may.
func TestAConnectionGoesToALoopAndBack(t *testing.T) {
	l := start(t)
	near, far := pair(t)
	if _, err := far.Write([]byte("before ")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(near, b); err != nil || string(b) != "bef" {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []byte
	l.on(t, func() {
		if err := near.Join(l, owner(func(c *Conn, can Readiness) {
			b := make([]byte, 100)
			n, err := c.Read(b)
			if err != nil && !errors.Is(err, ErrEmpty) {
				t.Error(err)
			}
			mu.Lock()
			got = append(got, b[:n]...)
			mu.Unlock()
		})); err != nil {
			t.Error(err)
		}
	})
	_ = near.SetReadDeadline(time.Now().Add(-time.Hour)) // not here
	if _, err := far.Write([]byte("on it")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is read", func() bool { mu.Lock(); defer mu.Unlock(); return string(got) == "ore on it" })
	l.on(t, near.Leave)
	if _, err := near.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("its deadline does not hold after: %v", err)
	}
	_ = near.SetReadDeadline(time.Now().Add(patience))
	if _, err := far.Write([]byte("off")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(near, b); err != nil || string(b) != "off" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := near.Write([]byte("bye")); err != nil {
		t.Error(err)
	}
	if err := near.CloseWrite(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(far); err != nil || string(rest) != "bye" {
		t.Errorf("%q %v", rest, err)
	}
	if near.RemoteAddr().String() != far.LocalAddr().String() || near.LocalAddr().String() != far.RemoteAddr().String() {
		t.Error("its addresses are others")
	}
}

// What a socket does not take is kept, in order, and goes out when it does; what
// is left when a connection leaves its loop, then.
func TestWhatASocketDoesNotTakeIsKept(t *testing.T) {
	l := start(t)
	near, far := pair(t)
	all := make([]byte, 16<<20)
	_, _ = rand.Read(all)
	var asked atomic.Int32
	l.on(t, func() {
		if err := near.Join(l, owner(func(c *Conn, can Readiness) {
			if can&Writable == 0 {
				t.Error("called for nothing")
			}
			if asked.Add(1); asked.Load() > 3 {
				return // the rest is for later
			}
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
		})); err != nil {
			t.Error(err)
		}
		for rest := all; len(rest) > 0; rest = rest[len(rest)/2+len(rest)%2:] {
			if n, err := near.Write(rest[:len(rest)/2+len(rest)%2]); err != nil || n != len(rest)/2+len(rest)%2 {
				t.Error(n, err)
			}
		}
		if near.Unsent() == 0 {
			t.Error("the socket took all: nothing is tested")
		}
	})
	first := make([]byte, 0, len(all))
	for asked.Load() <= 3 { // how much a socket takes at once is the kernel's affair
		if len(first) > len(all)-2<<20 {
			t.Fatalf("asked %d times while %d bytes were read", asked.Load(), len(first))
		}
		first = first[:len(first)+64<<10]
		if _, err := io.ReadFull(far, first[len(first)-64<<10:]); err != nil {
			t.Fatal(err)
		}
	}
	left := make(chan error, 1)
	l.on(t, func() {
		near.Leave()
		go func() { left <- errors.Join(near.Flush(), near.Close()) }()
	})
	rest, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(append(first, rest...), all) {
		t.Errorf("%d bytes of %d, %v", len(first)+len(rest), len(all), err)
	}
	if err := <-left; err != nil {
		t.Error(err)
	}
}

// A dead connection whose owner does not listen must not keep the loop busy, and
// is told of when he listens again.
func TestADeadConnectionThatNobodyListensToIsQuiet(t *testing.T) {
	l := start(t)
	near, far := pair(t)
	var told atomic.Int32
	l.on(t, func() {
		if err := near.Join(l, owner(func(c *Conn, can Readiness) {
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, ErrEmpty) {
				t.Error(err)
			}
			told.Add(1)
			_ = c.Listen(false)
		})); err != nil {
			t.Error(err)
		}
		if err := near.Listen(false); err != nil {
			t.Error(err)
		}
	})
	_ = far.SetLinger(0)
	_ = far.Close()
	eventually(t, "the loop is deaf to it", func() (deaf bool) {
		l.on(t, func() { near.mu.Lock(); deaf = near.deaf; near.mu.Unlock() })
		return deaf
	})
	if told.Load() != 0 {
		t.Error("its owner was told though he did not listen")
	}
	l.on(t, func() {
		if err := near.Listen(true); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "he is told", func() bool { return told.Load() > 0 })
}

// Whoever closes a connection does it at once, whatever its loop is at, and no
// descriptor that is another's by then is touched.
func TestAnybodyMayCloseAtAnyTime(t *testing.T) {
	l := start(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 40 {
				near, far := pair(t)
				joined := make(chan error, 1)
				l.Post(func() {
					joined <- near.Join(l, owner(func(c *Conn, can Readiness) {
						b := make([]byte, 512)
						n, err := c.Read(b)
						if n > 0 {
							_, _ = c.Write(b[:n])
						}
						if err != nil && !errors.Is(err, ErrEmpty) {
							c.Leave()
						}
					}))
				})
				if err := <-joined; err != nil {
					t.Error(err)
					return
				}
				word := make([]byte, 300)
				_, _ = rand.Read(word)
				if _, err := far.Write(word); err != nil {
					t.Error(err)
				}
				back := make([]byte, 300)
				if _, err := io.ReadFull(far, back); err != nil || !bytes.Equal(word, back) {
					t.Errorf("another's bytes came back: %v", err)
				}
				_, _ = far.Write(word) // it may come while we close
				_ = near.SetLinger(0)
				if err := near.Close(); err != nil {
					t.Error(err)
				}
				l.Post(near.Leave)
				if _, err := io.Copy(io.Discard, far); err == nil {
					t.Error("an end that looks proper")
				}
			}
		})
	}
	group.Wait()
	l.on(t, func() {
		for _, c := range l.seats {
			if c != nil {
				t.Error("a place is taken for ever")
			}
		}
	})
}

// crypto/tls goes on where it was when it gets nothing in the middle of a
// record, and what it had read before the loop is not lost.
func TestTLSComesInPieces(t *testing.T) {
	l := start(t)
	config := certificate(t)
	rapid.Check(t, func(r *rapid.T) {
		near, far := pair(t)
		defer far.Close()
		say := rapid.SliceOfN(rapid.Byte(), 1, 40_000).Draw(r, "words")
		steps := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 30), rapid.IntRange(1, 20_000)), 1, 5).Draw(r, "steps")
		// A relay between both, which cuts records up.
		client, wire := net.Pipe()
		defer client.Close()
		go func() {
			b := make([]byte, 32<<10)
			for i := 0; ; i++ {
				n, err := wire.Read(b[:steps[i%len(steps)]])
				if _, werr := far.Write(b[:n]); err != nil || werr != nil {
					return
				}
			}
		}()
		go func() { _, _ = io.Copy(wire, far) }()
		server := tls.Server(near, config)
		theirs := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		done := make(chan error, 1)
		go func() {
			_, err := theirs.Write(say)
			done <- err
		}()
		if err := server.Handshake(); err != nil {
			r.Fatal(err)
		}
		got := make(chan []byte, 1)
		var all []byte
		read := func() {
			b := make([]byte, 1+len(say)/3)
			for {
				n, err := server.Read(b)
				if all = append(all, b[:n]...); len(all) == len(say) {
					select {
					case got <- all:
					default:
					}
				}
				if err != nil {
					if !errors.Is(err, ErrEmpty) && len(all) < len(say) {
						t.Error(err)
						got <- nil
					}
					return
				}
			}
		}
		l.on(t, func() {
			if err := near.Join(l, owner(func(*Conn, Readiness) { read() })); err != nil {
				t.Error(err)
			}
			read()
		})
		if err := <-done; err != nil {
			r.Fatal(err)
		}
		select {
		case b := <-got:
			if !bytes.Equal(b, say) {
				r.Fatal("other bytes")
			}
		case <-time.After(patience):
			r.Fatal("they do not come")
		}
		back := make([]byte, len(say))
		l.on(t, func() {
			if _, err := server.Write(say); err != nil {
				t.Error(err)
			}
			near.Leave()
		})
		go func() { _ = near.Flush() }()
		if _, err := io.ReadFull(theirs, back); err != nil || !bytes.Equal(back, say) {
			r.Fatalf("back: %v", err)
		}
		_ = near.Close()
	})
}

func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// Whoever has more to do than its turn allows gets one more turn when all others
// had theirs, and not more turns the longer it goes on.
func TestTurnsDoNotAddUp(t *testing.T) {
	l := start(t)
	near, far := pair(t)
	if _, err := far.Write([]byte("for ever")); err != nil {
		t.Fatal(err)
	}
	turns, most, rounds := 0, 0, 0
	done := make(chan struct{})
	var round func()
	round = func() {
		if rounds++; rounds > 1 { // many passed before the first of these
			most = max(most, turns)
		}
		if turns = 0; rounds > 100 {
			near.Leave()
			close(done)
			return
		}
		l.Post(round)
	}
	l.on(t, func() {
		if err := near.Join(l, owner(func(c *Conn, _ Readiness) {
			turns++
			l.Again(c)
		})); err != nil {
			t.Error(err)
		}
	})
	l.Post(round)
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the loop is stuck")
	}
	if most > 2 {
		t.Errorf("%d turns in one round", most)
	}
}

// Who owns a connection is told when somebody else closes it: nothing comes of
// it any more, and so no event either.
func TestAnOwnerIsToldOfAClose(t *testing.T) {
	l := start(t)
	near, _ := pair(t)
	told := make(chan error, 1)
	l.on(t, func() {
		if err := near.Join(l, owner(func(c *Conn, _ Readiness) {
			_, err := c.Read(make([]byte, 1))
			c.Leave()
			told <- err
		})); err != nil {
			t.Error(err)
		}
	})
	if err := near.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-told:
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("nobody was told")
	}
}

// What is written after a connection left its loop comes behind what was kept.
func TestWhatWasKeptGoesFirst(t *testing.T) {
	l := start(t)
	near, far := pair(t)
	all := make([]byte, 16<<20)
	_, _ = rand.Read(all)
	l.on(t, func() {
		if err := near.Join(l, owner(func(*Conn, Readiness) {})); err != nil {
			t.Error(err)
		}
		if _, err := near.Write(all[:len(all)-5]); err != nil {
			t.Error(err)
		}
		if near.Unsent() == 0 {
			t.Error("the socket took all: nothing is tested")
		}
		near.Leave()
	})
	go func() {
		_, err := near.Write(all[len(all)-5:])
		if err = errors.Join(err, near.Flush(), near.Close()); err != nil {
			t.Error(err)
		}
	}()
	if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, all) {
		t.Errorf("%d bytes of %d, %v", len(got), len(all), err)
	}
}
