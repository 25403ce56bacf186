package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
)

// resourceHost is where the gateway serves the orders.
const resourceHost = "orders-api.localhost"

// answered is what came back from the gateway.
type answered struct {
	status  int
	header  http.Header
	body    string
	problem api.Problem
}

// transport connects to the gateway whatever the name: *.localhost need not
// resolve here.
func (w *World) transport() *http.Client {
	gateway := w.Gateway()
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, gateway)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

func (w *World) request(ctx context.Context, method, path, token string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+resourceHost+":"+port(w.Gateway())+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return w.transport().Do(r)
}

// call makes one call through the gateway.
func (w *World) call(ctx context.Context, method, path, token string) (answered, error) {
	resp, err := w.request(ctx, method, path, token)
	if err != nil {
		return answered{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answered{}, err
	}
	a := answered{status: resp.StatusCode, header: resp.Header, body: strings.TrimSpace(string(body))}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		err = json.Unmarshal(body, &a.problem)
	}
	return a, err
}

// flow is an open stream.
type flow struct {
	lines int
	ended chan time.Time // when the last byte or the cut came
}

// open opens the stream of orders and reads it until it is cut.
func (w *World) open(ctx context.Context, token string) (*flow, error) {
	resp, err := w.request(ctx, http.MethodGet, "/v1/orders/stream", token) //nolint:bodyclose // closed by the goroutine that reads it
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("the stream answered %s", resp.Status)
	}
	f := &flow{ended: make(chan time.Time, 1)}
	first := make(chan struct{})
	go func() {
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data:") {
				if f.lines++; f.lines == 1 {
					close(first)
				}
			}
		}
		f.ended <- time.Now()
	}()
	select {
	case <-first:
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}
