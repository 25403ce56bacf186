package daemon_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/daypass/daypass/api"
)

// machines are three network namespaces in a row: client, gateway, upstream.
// Everything stays inside them.
type machines struct {
	t                         *testing.T
	client, gateway, upstream string
}

func (m *machines) run(args ...string) {
	m.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		m.t.Fatalf("this test makes network namespaces (run it as root; make setup installs iproute2 and nftables): %v: %v: %s", args, err, out)
	}
}

// worlds counts those that were made: their names are the machine's.
var worlds atomic.Int32

func newMachines(t *testing.T) *machines {
	t.Helper()
	id := fmt.Sprintf("d%d%c", os.Getpid(), 'a'+worlds.Add(1)-1)
	m := &machines{t: t, client: id + "c", gateway: id + "g", upstream: id + "u"}
	for _, ns := range []string{m.client, m.gateway, m.upstream} {
		m.run("ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
		m.run("ip", "-n", ns, "link", "set", "lo", "up")
	}
	for i, ns := range []string{m.client, m.upstream} {
		there, here := fmt.Sprintf("%sv%d", id, i), fmt.Sprintf("%sw%d", id, i)
		m.run("ip", "link", "add", there, "netns", ns, "type", "veth", "peer", "name", here, "netns", m.gateway)
		m.run("ip", "-n", ns, "addr", "add", fmt.Sprintf("10.77.%d.2/24", i), "dev", there)
		m.run("ip", "-n", m.gateway, "addr", "add", fmt.Sprintf("10.77.%d.1/24", i), "dev", here)
		m.run("ip", "-n", ns, "link", "set", there, "up")
		m.run("ip", "-n", m.gateway, "link", "set", here, "up")
	}
	return m
}

// vanish has a machine drop whatever comes in and goes out: nobody is told.
func (m *machines) vanish(ns string) {
	m.t.Helper()
	for _, line := range []string{
		"add table inet gone",
		"add chain inet gone in { type filter hook input priority 0; policy drop; }",
		"add chain inet gone out { type filter hook output priority 0; policy drop; }",
	} {
		m.run("ip", "netns", "exec", ns, "nft", line)
	}
}

func (m *machines) back(ns string) {
	m.t.Helper()
	m.run("ip", "netns", "exec", ns, "nft", "delete table inet gone")
}

// in runs f on a thread that is in a namespace; sockets that f makes stay in
// it.
func (m *machines) in(ns string, f func() error) {
	m.t.Helper()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		handle, err := os.Open("/run/netns/" + ns)
		if err == nil {
			err = unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET)
			_ = handle.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		m.t.Fatalf("in %s: %v", ns, err)
	}
}

// dial connects from a machine, by hand: the resolver and the Go dialer may
// use other threads.
func (m *machines) dial(ns, addr string) net.Conn {
	m.t.Helper()
	var conn net.Conn
	m.in(ns, func() error {
		to, err := net.ResolveTCPAddr("tcp4", addr)
		if err != nil {
			return err
		}
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), addr)
		defer f.Close()
		conn, err = net.FileConn(f)
		return err
	})
	m.t.Cleanup(func() { conn.Close() })
	return conn
}

// TestVanishedPeers: a client, and then an upstream, is gone without a word,
// while connections through the gateway are idle, streaming and upgraded. Their
// sessions end within half a minute; those whose grant ends first end with it.
// A client that is there and merely reads nothing is left alone.
//
// Invariant: A4, A37
// Attack: RES-04
func TestVanishedPeers(t *testing.T) {
	t.Parallel()
	world := newMachines(t)
	s := files(t)
	// The service, in a namespace of its own.
	up := &upstream{}
	service := &http.Server{Handler: up}
	world.in(world.upstream, func() error {
		l, err := listenConfig.Listen(t.Context(), "tcp4", "10.77.1.2:80")
		if err == nil {
			go func() { _ = service.Serve(l) }()
		}
		return err
	})
	t.Cleanup(func() { _ = service.Close() })
	s.write("catalog.yaml", aCatalog(s.tokens, "http://10.77.1.2:80", s.path("orders.key")))
	s.write("daypass.yaml", "listen: 127.0.0.1:0\ndata: ./data\ncatalog: ./catalog.yaml\ngateways:\n  http: {listen: \"10.77.0.1:0\", domain: localhost, tls: off}\n")
	// The server, in a third one; its API is reached from inside it.
	s.write("inside", fmt.Sprintf("#!/bin/sh\nexec ip netns exec %s %s \"$@\"\n", world.gateway, s.program))
	if err := os.Chmod(s.path("inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	plain := s.program
	s.program = s.path("inside")
	s.start()
	s.program = plain
	s.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: dialIn(world, world.gateway)}}

	r, token := s.pass(time.Hour)
	brief, short := s.pass(10 * time.Second)
	sorts := []string{"idle", "stream", "echo"}
	open := func(ns, what, token string) *bufio.Reader {
		c := world.dial(ns, s.gate)
		more := ""
		if what == "echo" {
			more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		}
		fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: open-api.localhost\r\nAuthorization: Bearer %s\r\n%s\r\n", what, token, more)
		in := bufio.NewReader(c)
		if what == "flood" {
			return in
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 200 && resp.StatusCode != 101 {
			t.Fatalf("%s: %v %v", what, resp, err)
		}
		return in
	}
	sessions := func() map[string]int {
		n := map[string]int{}
		for _, item := range decode[api.List[api.Session]](s.call("user:ada", "GET", "/v1/sessions", nil).is(200)).Items {
			n[item.Grant+" "+item.Source]++
		}
		return n
	}
	for _, what := range sorts {
		open(world.client, what, token)
		open(world.client, what, short)
	}
	// One that is there and does not read, from the gateway's own machine.
	open(world.gateway, "flood", token)
	here := r.Grant.ID + " 10.77.0.1"
	soon(t, "all are open", func() bool { n := sessions(); return len(n) == 3 && n[here] == 1 })
	world.vanish(world.client)
	gone := time.Now()
	waitGone := func(id string, bound time.Time) time.Duration {
		for {
			if sessions()[id] == 0 {
				return time.Since(gone)
			}
			if time.Now().After(bound) {
				t.Errorf("%v after the client vanished, and %v after its bound, there are sessions: %v", time.Since(gone), time.Since(bound), sessions())
				return time.Since(gone)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	end := brief.Grant.ExpiresAt.Time
	first := waitGone(brief.Grant.ID+" 10.77.0.2", end.Add(cutBound+500*time.Millisecond))
	took := waitGone(r.Grant.ID+" 10.77.0.2", gone.Add(30*time.Second))
	if sessions()[here] != 1 {
		t.Error("a client that is there and reads nothing was given up")
	}
	t.Logf("the client vanished: its sessions were given up after %v, those whose grant ended after %v (%v after its end)", took.Round(time.Millisecond), first.Round(time.Millisecond), gone.Add(first).Sub(end).Round(time.Millisecond))
	world.back(world.client)

	for _, what := range sorts {
		open(world.client, what, token)
	}
	// Now the service: what it streams stops, and nobody says so.
	world.vanish(world.upstream)
	gone = time.Now()
	took = waitGone(r.Grant.ID+" 10.77.0.2", gone.Add(30*time.Second))
	t.Logf("the service vanished: the sessions were given up after %v", took.Round(time.Millisecond))
	code, out := s.daypass("audit", "verify", "--data", s.dataFolder())
	if code != 0 || !strings.HasPrefix(out, "whole: ") {
		t.Errorf("audit verify ended with %d: %s", code, out)
	}
}

var listenConfig net.ListenConfig

// dialIn is a dialer for an http.Client whose connections begin in a
// namespace.
func dialIn(m *machines, ns string) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, _, addr string) (net.Conn, error) { return m.dial(ns, addr), nil }
}
