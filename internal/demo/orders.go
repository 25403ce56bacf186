package demo

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// orders is the guarded service: an ordinary HTTP service that knows nothing
// of Daypass but takes calls only with its own key, which nobody in the story
// ever sees.
type orders struct {
	key    string
	server *http.Server
	url    string

	mu       sync.Mutex
	refunded map[string]string // order → by whom
}

type order struct {
	ID     string `json:"id"`
	Total  string `json:"total"`
	State  string `json:"state"`
	ByWhom string `json:"refunded_by,omitempty"`
}

// startOrders serves on a free port of loopback.
func startOrders(key string) (*orders, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the orders service: %w", err)
	}
	o := &orders{key: key, url: "http://" + l.Addr().String(), refunded: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/orders", o.list)
	mux.HandleFunc("GET /v1/orders/stream", o.stream)
	mux.HandleFunc("GET /v1/orders/{id}", o.one)
	mux.HandleFunc("POST /v1/orders/{id}/refund", o.refund)
	o.server = &http.Server{Handler: o.guard(mux), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = o.server.Serve(l) }()
	return o, nil
}

// close stops the service and its streams.
func (o *orders) close() { _ = o.server.Close() }

// guard is the service's own protection.
func (o *orders) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != o.key {
			http.Error(w, "the orders service takes calls with its own key only", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (o *orders) order(id string) order {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := order{ID: id, Total: "49.90 EUR", State: "paid"}
	if by := o.refunded[id]; by != "" {
		out.State, out.ByWhom = "refunded", by
	}
	return out
}

func (o *orders) list(w http.ResponseWriter, _ *http.Request) {
	reply(w, []order{o.order("1001"), o.order("1002"), o.order("1003")})
}

func (o *orders) one(w http.ResponseWriter, r *http.Request) { reply(w, o.order(r.PathValue("id"))) }

func (o *orders) refund(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.refunded[r.PathValue("id")] = r.Header.Get("Daypass-Subject")
	o.mu.Unlock()
	reply(w, o.order(r.PathValue("id")))
}

// stream sends a line four times a second, for ever.
func (o *orders) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(w, "data: order %d placed\n\n", 1000+n); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	var b strings.Builder
	_ = json.NewEncoder(&b).Encode(v) // orders always marshal
	_, _ = w.Write([]byte(b.String()))
}
