package rest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server returns an http.Server for a listener of this package's handler. It
// has no ReadTimeout and no WriteTimeout, which would cut streams and waits:
// the handler gives every body and every write a deadline of its own.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ConnContext:       connContext,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 64, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: writeTime},
		// What it says is of peers that break off; a flood must not fill the log.
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
}

type connKey struct{}

// connContext remembers the connection that a request came by, so that
// authentication can mark it as trusted.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if k, ok := c.(*cappedConn); ok {
		return context.WithValue(ctx, connKey{}, k)
	}
	return ctx
}

// trust marks the connection of a request as one that an authenticated caller
// uses.
func trust(ctx context.Context) {
	if k, ok := ctx.Value(connKey{}).(*cappedConn); ok && !k.trusted.Swap(true) {
		k.cap.trust(k)
	}
}

// connOf is the connection of an HTTP/1 request, which has it for itself; nil
// for others.
func connOf(r *http.Request) *cappedConn {
	if r.ProtoMajor != 1 {
		return nil
	}
	k, _ := r.Context().Value(connKey{}).(*cappedConn)
	return k
}
