//go:build unix

package daemon_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// ends counts the grants of user:ana that the store holds as ended.
func (s *server) ends(t *testing.T) (n int) {
	t.Helper()
	store, err := sqlite.OpenReadOnly(context.Background(), s.dataFolder())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	err = store.View(context.Background(), func(tx *sqlstore.Tx) (err error) {
		n, err = tx.CountRequests(sqlstore.RequestFilter{Requester: "user:ana", GrantStates: []access.GrantState{access.Ended}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// crowded is s for many clients at once.
func crowded(s *server) *server {
	crowd := *s
	crowd.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	return &crowd
}

// raiseTo gives this process enough file descriptors.
func raiseTo(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= n {
		return
	}
	limit.Cur, limit.Max = n, max(limit.Max, n)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("this test opens %d files: %v", n, err)
	}
}

// dialFrom connects from one of many addresses of loopback.
func dialFrom(n int, addr string) (net.Conn, error) {
	from := netip.AddrFrom4([4]byte{127, 7, byte(n / 200), byte(1 + n%200)})
	dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	return dialer.Dial("tcp", addr)
}
