package dial

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// Attack: HTT-09, WHK-08
func TestCheckHost(t *testing.T) {
	for _, host := range []string{
		"", ".", "localhost", "LOCALHOST", "localhost.", "a.localhost", "x.LocalHost.",
		"metadata", "metadata.google.internal", "METADATA.google.internal.", "metadata.goog", "instance-data.ec2.internal",
		"169.254.169.254", "169.254.0.1", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192",
		"0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1",
		"::", "[::]", "fe80::1", "fe80::1%lo", "[fe80::1]", "febf::1", "fec0::1", "ff02::1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42",
		"::ffff:169.254.169.254", "[::ffff:a9fe:a9fe]", "::ffff:0.0.0.0", "::ffff:127.0.0.1", "::ffff:7f00:1",
		"2002:a9fe:a9fe::1", "2002:7f00:1::", "64:ff9b::169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::a00:1",
		"2001:0:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:5601:5601", // Teredo: server, and client inverted
		"::169.254.169.254", "::127.0.0.1", "2001:db8::5efe:169.254.169.254", "2001:db8::200:5efe:127.0.0.1",
	} {
		if err := CheckHost(host); !errors.Is(err, ErrRefused) {
			t.Errorf("CheckHost(%q) = %v, want a refusal", host, err)
		}
	}
	for _, host := range []string{
		"127.0.0.1", "127.8.8.8", "::1", "[::1]", "10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1", "fd12:3456::1",
		"93.184.216.34", "2606:2800:220::1", "::ffff:10.0.0.1", "2002:a00:1::1", "64:ff9b::10.0.0.1", "2001:db8::5efe:10.0.0.1",
		"orders.internal", "metadata.example.com", "localhost.example.com", "notlocalhost",
	} {
		if err := CheckHost(host); err != nil {
			t.Errorf("CheckHost(%q) = %v", host, err)
		}
	}
	if err := CheckHost("localhost"); !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("the refusal of localhost does not say what to write: %v", err)
	}
}

// listen serves one byte per connection on loopback and returns its address.
func listen(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("x"))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func reach(t *testing.T, d *Dialer, addr string) error {
	t.Helper()
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

// Attack: HTT-09
func TestLoopbackOnlyByLiteral(t *testing.T) {
	addr := listen(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(addr)
	for _, d := range []*Dialer{New(addr), New("127.0.0.1"), New("orders.internal", "127.0.0.1")} {
		if err := reach(t, d, addr); err != nil {
			t.Errorf("a literal that was named: %v", err)
		}
	}
	for name, d := range map[string]*Dialer{
		"nothing named": New(), "another port": New("127.0.0.1:1"), "another address": New("127.0.0.2"), "the name": New("localhost", "localhost:"+port),
		"mapped form": New("::ffff:127.0.0.1"),
	} {
		if err := reach(t, d, addr); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	all := New("127.0.0.1", "::1", "::ffff:127.0.0.1")
	for _, other := range []string{"localhost:" + port, "LocalHost.:" + port, "[::ffff:127.0.0.1]:" + port, ":" + port, "0.0.0.0:" + port, "[::]:" + port} {
		if err := reach(t, all, other); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want a refusal", other, err)
		}
	}
	// Spellings of 127.0.0.1 that some resolvers take; none may connect.
	for _, other := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1"} {
		all.resolver = fakeDNS(t, func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })
		if err := reach(t, all, other+":"+port); err == nil {
			t.Errorf("%s: connected", other)
		}
	}
	for _, network := range []string{"udp", "unix", "ip", ""} {
		if _, err := all.DialContext(t.Context(), network, addr); !errors.Is(err, ErrRefused) {
			t.Errorf("network %q: %v", network, err)
		}
	}
}

// Attack: HTT-09, WHK-08
func TestNamesAreCheckedWhereTheyResolveTo(t *testing.T) {
	addr := listen(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(addr)
	for _, to := range []string{"127.0.0.1", "127.0.0.53", "::1", "169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "100.100.100.200", "fd00:ec2::254", "0.0.0.0", "64:ff9b::a9fe:a9fe"} {
		d := New("127.0.0.1", "::1") // that the literal is allowed does not help a name
		d.resolver = fakeDNS(t, func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(to)} })
		if err := reach(t, d, "orders.example.com:"+port); !errors.Is(err, ErrRefused) {
			t.Errorf("a name for %s: %v, want a refusal", to, err)
		}
	}
}

// A name that answers well to whoever checks it first and then changes its
// mind: each look-up is followed by a check of what it gave.
//
// Attack: HTT-09, WHK-08
func TestRebindingName(t *testing.T) {
	addr := listen(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(addr)
	var turned atomic.Bool
	d := New("127.0.0.1")
	d.resolver = fakeDNS(t, func(string) []netip.Addr {
		if turned.Load() {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	})
	const name = "rebind.example.com"
	before, err := d.resolver.LookupHost(t.Context(), name)
	if err != nil || len(before) != 1 || CheckHost(before[0]) != nil {
		t.Fatalf("the first look-up should look harmless: %v, %v", before, err)
	}
	turned.Store(true)
	if err := reach(t, d, name+":"+port); !errors.Is(err, ErrRefused) {
		t.Errorf("after the name changed: %v, want a refusal", err)
	}
}

// The check sits on connect(2): an address that passes is really dialled, and
// one refused among several does not spoil the others.
func TestRefusedAddressIsPassedOver(t *testing.T) {
	d := New()
	var tried []string
	for _, a := range []string{"169.254.169.254:80", "10.1.2.3:80"} {
		if d.checkConnect(a, false) == nil {
			tried = append(tried, a)
		}
	}
	if len(tried) != 1 || tried[0] != "10.1.2.3:80" {
		t.Errorf("passed: %v", tried)
	}
	if err := d.checkConnect("no address", true); !errors.Is(err, ErrRefused) {
		t.Errorf("garbage: %v", err)
	}
}

func FuzzCheckHost(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "::ffff:169.254.169.254", "localhost.", "2002:a9fe:a9fe::", "fe80::1%x", "[::1]", "metadata", "a.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := CheckHost(s)
		if a, ok := parseLiteral(s); ok && err == nil {
			if u := a.Unmap(); u.IsLinkLocalUnicast() || u.IsMulticast() || u.IsUnspecified() {
				t.Errorf("%q passed", s)
			}
		}
		if n := strings.ToLower(s); err == nil && (n == "localhost" || n == "localhost.") {
			t.Errorf("%q passed", s)
		}
	})
}

// fakeDNS is a resolver whose server answers every question with what answer
// says (A for IPv4, AAAA for the others).
func fakeDNS(t *testing.T, answer func(name string) []netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer func() { _ = server.Close() }()
			var size [2]byte // a stream, so length-prefixed as over TCP (RFC 1035 §4.2.2)
			if _, err := io.ReadFull(server, size[:]); err != nil {
				return
			}
			q := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(server, q); err != nil {
				return
			}
			reply := dnsReply(q, answer)
			_, _ = server.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
		}()
		return client, nil
	}}
}

// dnsReply answers the one question in q.
func dnsReply(q []byte, answer func(string) []netip.Addr) []byte {
	end, name := 12, ""
	for q[end] != 0 {
		name += string(q[end+1:end+1+int(q[end])]) + "."
		end += 1 + int(q[end])
	}
	question := q[12 : end+5]
	kind := binary.BigEndian.Uint16(q[end+1:])
	var records []byte
	count := 0
	for _, a := range answer(name) {
		want, data := uint16(28), a.AsSlice()
		if a.Is4() {
			want = 1
		}
		if kind != want {
			continue
		}
		count++
		records = append(records, 0xc0, 12)
		records = binary.BigEndian.AppendUint16(records, want)
		records = append(records, 0, 1, 0, 0, 0, 0)
		records = binary.BigEndian.AppendUint16(records, uint16(len(data)))
		records = append(records, data...)
	}
	out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, byte(count), 0, 0, 0, 0}, question...)
	return append(out, records...)
}
