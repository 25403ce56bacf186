package daemon_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// upstream is the guarded service. It keeps what it gets.
type upstream struct {
	*httptest.Server
	key string

	mu  sync.Mutex
	got []received
}

type received struct {
	method, uri, host string
	header            http.Header
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{key: "orders-key-" + rand.Text()}
	u.Server = httptest.NewServer(u)
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.got = append(u.got, received{r.Method, r.RequestURI, r.Host, r.Header.Clone()})
	u.mu.Unlock()
	control := http.NewResponseController(w)
	switch r.URL.Path {
	case "/stream": // a line every 20 ms, for ever
		for n := 0; r.Context().Err() == nil; n++ {
			if _, err := fmt.Fprintf(w, "line %d\n", n); err != nil || control.Flush() != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	case "/idle": // the header, then nothing
		_ = control.Flush()
		<-r.Context().Done()
	case "/flood": // as much as the client takes
		block := make([]byte, 64<<10)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	case "/echo": // a WebSocket as far as a proxy looks at it: every byte comes back
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, buffered, err := control.Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, buffered)
	case "/away":
		http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
	default:
		w.Header().Set("Set-Cookie", "app=1")
		fmt.Fprintf(w, "%s %s", r.Method, r.RequestURI)
	}
}

// last is the newest request that it got, and how many it got in all.
func (u *upstream) last() (received, int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.got) == 0 {
		return received{}, 0
	}
	return u.got[len(u.got)-1], len(u.got)
}
