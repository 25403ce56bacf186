//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// proxying loads the HTTP gateway with one token, beside the standard
// library's reverse proxy that checks nothing, before the same upstream.
func (b *bench) proxying(ctx context.Context) error {
	b.report.note(b.out, "Gateway: GET of an answer of 1 KiB through the gateway with a live token, beside httputil.ReverseProxy alone in a process of its own before the same upstream; wrk, %d connections.", connections)
	answer := filepath.Join(b.work, "upstream")
	if err := os.WriteFile(answer, []byte("Content-Type: text/plain\n\n"+strings.Repeat("daypass ", 128)), 0o600); err != nil {
		return err
	}
	upstream, err := startBare(ctx, "answer", answer)
	if err != nil {
		return err
	}
	defer upstream.stop()
	naked, err := startBare(ctx, "proxy", "http://"+upstream.addr)
	if err != nil {
		return err
	}
	defer naked.stop()
	w, err := newWorld(filepath.Join(b.work, "proxy"), "http://"+upstream.addr, few, few)
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
	_, token, err := s.grant(ctx, client, "user:u1", "res-0", map[string]any{"duration": "1h"})
	if err != nil {
		return err
	}
	if err := w.write("requests", []byte(token+"\n")); err != nil {
		return err
	}
	args := []string{"GET", "/v1/some/thing", w.path("requests"), "res-0.localhost"}
	var ours, theirs []load
	for range b.scale.rounds {
		them, err := b.wrk(ctx, "http://"+naked.addr, b.scale.round, args...)
		us, err2 := b.wrk(ctx, "http://"+s.gate, b.scale.round, args...)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		ours, theirs = append(ours, us), append(theirs, them)
	}
	us, them := middle(ours), middle(theirs)
	ratio := us.perSecond / them.perSecond
	b.report.check(b.out, "HTTP gateway, of httputil.ReverseProxy", "≥ 0.7", fmt.Sprintf("%.2f (%.0f/s of %.0f/s)", ratio, us.perSecond, them.perSecond), ratio >= 0.7,
		"each request is decided, recorded and registered as a session before a byte is forwarded")
	b.report.tell(b.out, "HTTP gateway, p50 and p99", fmt.Sprintf("%s and %s, the proxy alone %s and %s", us.p50, us.p99, them.p50, them.p99))
	return nil
}
