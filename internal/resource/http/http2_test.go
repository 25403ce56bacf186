package httpkind

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/live"
)

// Invariant: A4
func TestHTTP2StreamsAreCutOneByOne(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{tls: true})
	client := s.client()
	open := func(token, path string) *http.Response {
		t.Helper()
		req, _ := http.NewRequest("GET", s.url(path), nil)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.ProtoMajor != 2 {
			t.Fatalf("protocol %s", res.Proto)
		}
		return res
	}
	id, token := s.grant(everything, time.Hour)
	_, other := s.grant(everything, time.Hour)
	cut, stays := open(token, "/sse"), open(other, "/sse")
	defer cut.Body.Close()
	defer stays.Body.Close()
	end := time.Now()
	s.index.End(id, s.now(), live.ReasonRevoked)
	_, err := io.Copy(io.Discard, cut.Body)
	if late := time.Since(end); late > bound {
		t.Errorf("cut after %v", late)
	}
	if err == nil {
		t.Error("the response looked complete")
	}
	<-u.gone
	time.Sleep(bound) // beyond every timer of the cut
	if _, err := io.ReadFull(stays.Body, make([]byte, 200)); err != nil {
		t.Errorf("a stream of another grant was cut too: %v", err)
	}
	// A long poll gets its answer.
	id, token = s.grant(everything, time.Hour)
	go func() {
		for u.open.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		s.index.End(id, s.now(), live.ReasonRevoked)
	}()
	if res := open(token, "/poll"); res.StatusCode != 401 {
		t.Errorf("%d", res.StatusCode)
	}
	// A stream whose client takes nothing.
	id, token = s.grant(everything, time.Hour)
	blocked := open(token, "/flood")
	defer blocked.Body.Close()
	time.Sleep(300 * time.Millisecond)
	end = time.Now()
	s.index.End(id, s.now(), live.ReasonRevoked)
	eventually(t, "the blocked stream is closed", func() bool { return s.guard.Counts().Sessions == 1 })
	if late := time.Since(end); late > bound {
		t.Errorf("cut after %v", late)
	}
}

// Attack: HTT-07
func TestHTTP2StreamsThatAreResetAtOnce(t *testing.T) {
	u := newStreams(t)
	s := newSite(t, u.url, siteOptions{tls: true})
	client := s.client()
	_, token := s.grant(everything, time.Hour)
	var most atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 250 {
				ctx, cancel := context.WithCancel(context.Background())
				req, _ := http.NewRequestWithContext(ctx, "GET", s.url("/poll"), nil)
				req.Header.Set("Authorization", "Bearer "+token)
				time.AfterFunc(time.Duration(i%5)*time.Millisecond, cancel)
				if res, err := client.Do(req); err == nil {
					_ = res.Body.Close()
				}
				cancel()
				if n := int64(s.guard.Counts().Sessions); n > most.Load() {
					most.Store(n)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 250 {
		t.Errorf("%d sessions at once", most.Load())
	}
	eventually(t, "all are over", func() bool { return s.guard.Counts().Sessions == 0 && u.open.Load() == 0 })
	if res, _ := s.do("GET", "/missing", token); res.StatusCode != 404 {
		t.Errorf("%d", res.StatusCode)
	}
}

// HTTP/2 would let a stream be reset while what it sent before waits in the
// kernel's buffers, behind a client that reads nothing, or slowly.
//
// Invariant: A4
func TestAnHTTP2ConnectionThatIsBehindIsCutWhole(t *testing.T) {
	u := newStreams(t)
	cases := []struct{ path, how string }{{"/flood", "nothing"}, {"/flood", "slowly"}}
	if runtime.GOOS == "linux" { // elsewhere what the kernel holds cannot be told
		cases = append(cases, struct{ path, how string }{"/burst", "slowly"})
	}
	for _, c := range cases {
		t.Run(c.path+" "+c.how, func(t *testing.T) {
			s := newSite(t, u.url, siteOptions{tls: true})
			id, token := s.grant(everything, time.Hour)
			reader := &lazy{stop: make(chan struct{})}
			defer close(reader.stop)
			tr := &http.Transport{
				ForceAttemptHTTP2: true,
				HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerStream: 4<<20 - 1, MaxReceiveBufferPerConnection: 4<<20 - 1},
				DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					c, err := net.Dial("tcp", s.addr)
					if err != nil {
						return nil, err
					}
					_ = c.(*net.TCPConn).SetReadBuffer(4096)
					reader.Conn = c
					t := tls.Client(reader, &tls.Config{RootCAs: s.root, ServerName: "orders-api.gw.test", NextProtos: []string{"h2"}})
					return t, t.HandshakeContext(ctx)
				},
			}
			defer tr.CloseIdleConnections()
			req, _ := http.NewRequest("GET", s.url(c.path), nil)
			req.Header.Set("Authorization", "Bearer "+token)
			res, err := (&http.Client{Transport: tr}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			reader.mode.Store(c.how)
			go func() { _, _ = io.Copy(io.Discard, res.Body) }()
			time.Sleep(300 * time.Millisecond)
			end := time.Now()
			s.index.End(id, s.now(), live.ReasonRevoked)
			eventually(t, "the connection is gone", func() bool { return len(s.connections()) == 0 })
			if late := time.Since(end); late > bound {
				t.Errorf("cut after %v", late)
			}
			time.Sleep(2 * bound)
			if last := time.Unix(0, reader.last.Load()).Sub(end); last > bound {
				t.Errorf("a byte came %v after the end", last)
			}
		})
	}
}

// lazy is a connection whose reads can be made to stop, or to take their time.
type lazy struct {
	net.Conn
	mode atomic.Value // of string
	last atomic.Int64 // Unix nanoseconds of the last byte
	stop chan struct{}
}

func (c *lazy) Read(p []byte) (int, error) {
	switch mode, _ := c.mode.Load().(string); mode {
	case "nothing":
		<-c.stop
		return 0, io.ErrUnexpectedEOF
	case "slowly":
		time.Sleep(20 * time.Millisecond)
		p = p[:min(len(p), 8<<10)]
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.last.Store(time.Now().UnixNano())
	}
	return n, err
}
