package daemon_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/daemon"
)

// BenchmarkTokenCheck is an introspection of a live token over HTTP, at 16
// connections that stay open, beside a bare handler that reads the same body
// and answers as many bytes. Both are in this process, client included.
func BenchmarkTokenCheck(b *testing.B) {
	s := files(b)
	cfg, err := config.Load(s.path("daypass.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	d, err := daemon.Start(context.Background(), daemon.Options{Config: cfg})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = d.Shutdown(context.Background()) }()
	s.api = strings.TrimPrefix(d.URL(), "http://")
	_, token := s.pass(time.Hour)
	form := url.Values{"token": {token}}.Encode()
	answer := s.form("service:ci-deploy", "/oauth/introspect", "token", token).is(200).body

	bare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	plain := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	})}
	go func() { _ = plain.Serve(bare) }()
	defer plain.Close()

	post := func(path, kind, body string) []byte {
		return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			path, s.api, s.tokens["service:ci-deploy"], kind, len(body), body)
	}
	introspect := post("/oauth/introspect", "application/x-www-form-urlencoded", form)
	b.Run("bare", func(b *testing.B) { ask16(b, bare.Addr().String(), introspect) })
	b.Run("introspection", func(b *testing.B) { ask16(b, s.api, introspect) })
}

// ask16 sends one request over and over on 16 connections.
func ask16(b *testing.B, addr string, request []byte) {
	b.SetParallelism(8) // of two cores
	b.ReportAllocs()
	var failed atomic.Bool
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for pb.Next() {
			_, _ = c.Write(request)
			if err := skip(in); err != nil && !failed.Swap(true) {
				b.Error(err)
				return
			}
		}
	})
}

// skip reads one 200 with a Content-Length.
func skip(in *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("%s", line)
		}
		if len(line) == 2 {
			break
		}
		if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length = 0
			for _, c := range bytes.TrimSpace(n) {
				length = length*10 + int(c-'0')
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("no Content-Length")
	}
	_, err := in.Discard(length)
	return err
}
