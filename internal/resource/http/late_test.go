package httpkind

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// What hangs up may come late, on a machine that gives the process no time.
// Here it never comes: no piece that arrives after the end passes all the same,
// in either direction.
//
// Invariant: A1, A4
func TestNoPiecePassesAfterTheEndThoughNothingHangsUp(t *testing.T) {
	send, got := make(chan string), make(chan string, 8)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /down", func(w http.ResponseWriter, r *http.Request) {
		for {
			select {
			case piece := <-send:
				_, _ = io.WriteString(w, piece)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("POST /up", func(_ http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 64)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				got <- string(buf[:n])
			}
			if err != nil {
				return
			}
		}
	})
	upstream := httptest.NewServer(mux)
	defer upstream.Close()
	open := func(t *testing.T, request string) (*site, net.Conn) {
		s := newSite(t, upstream.URL, siteOptions{free: true})
		_, token := s.grant(everything, 10*time.Minute)
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, request, token)
		return s, conn
	}
	over := func(s *site) {
		s.index.Close() // nobody is told of ends any more
		s.skew.Store(int64(time.Hour))
	}
	t.Run("to the client", func(t *testing.T) {
		s, conn := open(t, "GET /down HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer %s\r\n\r\n")
		send <- "first"
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		first := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first" {
			t.Fatalf("%q, %v", first, err)
		}
		over(s)
		send <- "second"
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err == nil {
			t.Errorf("after the end the client got %q, %v", rest, err)
		}
	})
	t.Run("to the service", func(t *testing.T) {
		s, conn := open(t, "POST /up HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		if piece := <-got; piece != "a" {
			t.Fatalf("the service got %q", piece)
		}
		over(s)
		fmt.Fprint(conn, "1\r\nb\r\n")
		_, _ = io.ReadAll(conn) // it is cut
		select {
		case piece := <-got:
			t.Errorf("after the end the service got %q", piece)
		case <-time.After(100 * time.Millisecond):
		}
	})
}
