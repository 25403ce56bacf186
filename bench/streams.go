//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// perGrant is how many streams share one grant, and one client's address: a
// gateway takes a thousand connections from each.
const perGrant = 100

// cutting opens streams through the gateway whose grants all end at one
// instant, and measures how long after it the last byte came and the last
// connection was closed.
func (b *bench) cutting(ctx context.Context) error {
	n := b.scale.streams
	b.report.note(b.out, "Streams: %d connections through the gateway, %d a grant, each getting a piece from its upstream five times a second, all grants scheduled to end at the same instant.", n, perGrant)
	upstream, err := startBare(ctx, "stream", "200ms")
	if err != nil {
		return err
	}
	defer upstream.stop()
	w, err := newWorld(filepath.Join(b.work, "streams"), "http://"+upstream.addr, few, few)
	if err != nil {
		return err
	}
	defer w.remove()
	s, err := b.start(ctx, w, b.binary)
	if err != nil {
		return err
	}
	defer s.stop()
	client := newClient()
	defer client.CloseIdleConnections()
	starts := time.Now().Add(2 * time.Second).Truncate(time.Second)
	lasts := 4*time.Second + time.Duration(n/200)*time.Second
	ends := starts.Add(lasts)
	var grants []string
	for range n / perGrant {
		id, _, err := s.grant(ctx, client, "user:u1", "res-0", map[string]any{"duration": lasts.String(), "start_at": starts.UTC().Format(time.RFC3339)})
		if err != nil {
			return err
		}
		grants = append(grants, id)
	}
	time.Sleep(time.Until(starts) + 100*time.Millisecond)
	var tokens []string
	for _, id := range grants {
		token, err := s.issue(ctx, client, "user:u1", id)
		if err != nil {
			return err
		}
		tokens = append(tokens, token)
	}
	return b.cut(s.gate, tokens, n, ends)
}

// cut opens n streams and waits for the end of all.
func (b *bench) cut(gate string, tokens []string, n int, ends time.Time) error {
	var mu sync.Mutex
	var lastByte, closed []time.Duration
	var failed error
	var group sync.WaitGroup
	slots := make(chan struct{}, 64) // of those that are being opened
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			which := i % len(tokens)
			last, over, err := stream(gate, which, tokens[which], func() { <-slots })
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			lastByte, closed = append(lastByte, last.Sub(ends)), append(closed, over.Sub(ends))
		})
	}
	opened := time.Until(ends)
	group.Wait()
	if failed != nil || opened < 0 {
		return errors.Join(failed, fmt.Errorf("%d of %d streams, opened %s before their end", len(closed), n, opened))
	}
	early := slices.Min(closed)
	if early < 0 {
		return fmt.Errorf("a stream ended %s too early", -early)
	}
	const limit = "two cores tell all sessions and close two connections for each, while as many clients read"
	b.report.check(b.out, fmt.Sprintf("%d streams, last byte after their end", n), "≤ 200 ms", slices.Max(lastByte).Round(time.Millisecond).String(), slices.Max(lastByte) <= 200*time.Millisecond, limit)
	b.report.check(b.out, fmt.Sprintf("%d streams, last one closed after their end", n), "≤ 200 ms", slices.Max(closed).Round(time.Millisecond).String(), slices.Max(closed) <= 200*time.Millisecond, limit)
	return nil
}

// stream reads one stream to its end, as one of the clients, and returns when
// its last byte came and when it was closed. open is called as soon as it
// flows, or failed to.
func stream(gate string, client int, token string, open func()) (last, over time.Time, err error) {
	once := sync.OnceFunc(open)
	defer once()
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+client%250))}
	conn, err := (&net.Dialer{Timeout: 10 * time.Second, LocalAddr: from}).DialContext(context.Background(), "tcp", gate)
	if err != nil {
		return last, over, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := fmt.Fprintf(conn, "GET /stream HTTP/1.1\r\nHost: res-0.localhost\r\nAuthorization: Bearer %s\r\n\r\n", token); err != nil {
		return last, over, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return last, over, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return last, over, fmt.Errorf("a stream was answered with %d %s", resp.StatusCode, why)
	}
	piece := make([]byte, 512)
	for {
		n, err := resp.Body.Read(piece)
		if n > 0 {
			last = time.Now()
			once()
		}
		if err != nil {
			return last, time.Now(), nil
		}
	}
}
