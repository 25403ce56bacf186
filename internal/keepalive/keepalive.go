// Package keepalive notices peers that vanished without a word: a cable that
// was pulled, a laptop that fell asleep, a firewall that forgot. Whoever
// listens or dials does so with its settings, and asks Lost of connections on
// which something waits to be acknowledged, for there TCP sends no probes.
// Unsent is for who must know, at an end, whether all has arrived.
//
// It refuses to judge peers that are merely slow: one that answers, and be it
// only that its window is closed, is there.
package keepalive

import (
	"context"
	"net"
	"time"
)

// Bound is within how long the connection of a vanished peer is given up.
const Bound = 30 * time.Second

const (
	idle     = 10 * time.Second // without a word until the first probe
	interval = 5 * time.Second
	count    = 3

	// Every is how often Lost is to be asked.
	Every = 4 * time.Second
	// silence is how long something may wait to be acknowledged without any
	// sign of the peer.
	silence = 15 * time.Second
)

// Config finds peers that vanished from an idle connection, within 25 s.
func Config() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: idle, Interval: interval, Count: count}
}

// Listen is net.Listen whose connections have that configuration.
func Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	with := net.ListenConfig{KeepAliveConfig: Config()}
	return with.Listen(ctx, network, addr)
}
