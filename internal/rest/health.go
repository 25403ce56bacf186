package rest

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

type health interface {
	Ready() error
	Warnings() []string
}

// readiness is what GET /readyz answers when all is well.
type readiness struct {
	Status          string   `json:"status" enum:"ready"`
	RevocationBound string   `json:"revocation_bound" doc:"How soon a revocation reaches every check and connection."`
	Warnings        []string `json:"warnings" doc:"Protections that are turned off, and what works less well than it could."`
}

type alive struct {
	Status string `json:"status" enum:"ok"`
}

func (s *server) healthRoutes() {
	add(s, Route{
		Method: "GET", Path: "/healthz", ID: "getHealth", Tag: "Operations", Public: true,
		Summary: "Is the process alive?", Answers: []int{200},
	}, func(*call, *none) (alive, error) { return alive{"ok"}, nil }, ok)

	add(s, Route{
		Method: "GET", Path: "/readyz", ID: "getReadiness", Tag: "Operations", Public: true,
		Summary: "Can it do its work?", Text: "`503` with the reason while it cannot. Revocations and expiry may still work then.",
		Answers: []int{200}, Errors: []int{503},
	}, func(*call, *none) (readiness, error) {
		if s.closing.Err() != nil {
			return readiness{}, context.Canceled
		}
		if err := s.Broker.Ready(); err != nil {
			return readiness{}, &fault{status: http.StatusServiceUnavailable, code: "not_ready", detail: err.Error(), retry: pollAfter}
		}
		bound := s.RevocationBound
		if bound < time.Second {
			bound = 5 * time.Second
		}
		return readiness{Status: "ready", RevocationBound: api.FormatDuration(bound), Warnings: append(slices.Clone(s.Warnings), s.Broker.Warnings()...)}, nil
	}, ok)

	// The route is public to the mux and checks its caller itself: a scraper on
	// the machine needs no token.
	serve := promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{DisableCompression: true})
	s.addRaw(Route{
		Method: "GET", Path: "/metrics", ID: "getMetrics", Tag: "Operations", Public: true,
		Summary: "Metrics for Prometheus", Text: "For peers on loopback, admins and auditors. Numbers only: no name of a person or resource is in them.",
		Answers: []int{200}, Errors: []int{401, 403}, Media: "text/plain",
	}, reflect.TypeFor[string](), func(w http.ResponseWriter, c *call) error {
		if err := s.mayScrape(c.r); err != nil {
			return err
		}
		serve.ServeHTTP(w, c.r)
		return nil
	})
}

// mayScrape lets loopback peers, admins and auditors read the metrics. A token
// that is sent must be good also on loopback.
func (s *server) mayScrape(r *http.Request) error {
	if network(PeerIP(r)).Addr().IsLoopback() && len(r.Header.Values("Authorization")) == 0 {
		return nil
	}
	caller, err := s.Bearer.Caller(r)
	if err != nil {
		return err
	}
	me, err := s.Broker.Me(r.Context(), caller)
	if err != nil {
		return err
	}
	if !me.Admin && !me.Auditor {
		return &broker.Error{Kind: broker.Forbidden, Code: "forbidden", Message: "Metrics are for admins and auditors."}
	}
	return nil
}
