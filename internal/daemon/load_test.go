package daemon_test

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// gauge reads one of the server's metrics.
func (s *server) gauge(name string) float64 {
	s.t.Helper()
	text := string(s.call("", "GET", "/metrics", nil).is(200).body)
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	if found == nil {
		s.t.Fatalf("there is no %s", name)
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// TestSlowloris: while hundreds of peers hold connections open, on the API and
// on the gateway, and send next to nothing, an administrator revokes.
//
// Invariant: A37, A38
// Attack: RES-01, RES-08
func TestSlowloris(t *testing.T) {
	s := serve(t)
	var grants []string
	var token string
	for range 10 {
		r, secret := s.pass(time.Hour)
		grants, token = append(grants, r.Grant.ID), secret
	}
	for i := range 500 {
		for _, addr := range []string{s.api, s.gate} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			switch i % 3 {
			case 0: // idle
			case 1:
				fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: open-api.localhost\r\nX-A: ")
			case 2:
				fmt.Fprintf(conn, "POST /v1/requests HTTP/1.1\r\nHost: open-api.localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", mint("dpat_"))
			}
		}
	}
	s.through(token, "GET", "open-api", "/x").is(200)
	var took []time.Duration
	for _, id := range grants {
		began := time.Now()
		s.http.CloseIdleConnections() // each comes by a connection of its own
		s.call("user:ada", "POST", "/v1/grants/"+id+"/revoke", m{"reason": "attack"}).is(200)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("amid 1000 connections a revocation took at most %v", took[len(took)-1])
	if slowest := took[len(took)-1]; slowest > 2*time.Second {
		t.Errorf("a revocation took %v", slowest)
	}
	s.through(token, "GET", "open-api", "/x").is(401)
	// Those that never finish a header are not kept.
	if testing.Short() {
		return
	}
	soon(t, "unfinished calls are cut off", func() bool { return s.gauge("process_open_fds") < 800 })
}

// TestAborted: a thousand streams that their clients break off leave nothing
// behind.
//
// Attack: RES-04
func TestAborted(t *testing.T) {
	s := serve(t)
	_, token := s.pass(time.Hour)
	abort := func(n int) {
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				for range n / 20 {
					conn, err := net.Dial("tcp", s.gate)
					if err != nil {
						t.Error(err)
						return
					}
					fmt.Fprintf(conn, "GET /stream HTTP/1.1\r\nHost: open-api.localhost\r\nAuthorization: Bearer %s\r\n\r\n", token)
					_, _ = conn.Read(make([]byte, 256))
					_ = conn.(*net.TCPConn).SetLinger(0) // a reset, not an end
					conn.Close()
				}
			})
		}
		group.Wait()
	}
	abort(40)
	soon(t, "the first streams are gone", func() bool { return s.gauge("daypass_sessions") == 0 })
	goroutines, files := s.gauge("go_goroutines"), s.gauge("process_open_fds")
	abort(1000)
	soon(t, "all streams are gone", func() bool {
		return s.gauge("daypass_sessions") == 0 && s.gauge("go_goroutines") <= goroutines+20 && s.gauge("process_open_fds") <= files+20
	})
	t.Logf("goroutines %.0f → %.0f, files %.0f → %.0f", goroutines, s.gauge("go_goroutines"), files, s.gauge("process_open_fds"))
	s.through(token, "GET", "open-api", "/x").is(200)
	s.verify()
}
