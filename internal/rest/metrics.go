package rest

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Stats are numbers that the handlers do not see themselves. They are asked for
// at each scrape and must be cheap.
type Stats struct {
	PendingRequests int
	LiveGrants      int
	PendingCleanups int // grants that are over, and not yet cleared away at their target
	Sessions        int
	AuditHead       int64 // the seq of the last entry
	Denied          int64 // refusals and denied accesses since the start
	StoreOK         bool
}

// metrics are the server's own registry. Labels are routes, methods and status
// codes of this package: nothing that a client could invent.
type metrics struct {
	registry *prometheus.Registry
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	// The series that were seen, so that a call finds its own without hashing
	// labels. There are as many as routes × methods × codes of this package.
	mu   sync.Mutex // of those who add one
	seen atomic.Pointer[map[seriesKey]series]
}

type seriesKey struct {
	route, method string
	status        int
}

type series struct {
	calls   prometheus.Counter
	seconds prometheus.Observer
}

func (m *metrics) of(k seriesKey) series {
	if got, ok := (*m.seen.Load())[k]; ok {
		return got
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := maps.Clone(*m.seen.Load())
	s := series{calls: m.calls.WithLabelValues(k.route, k.method, strconv.Itoa(k.status)), seconds: m.seconds.WithLabelValues(k.route)}
	all[k] = s
	m.seen.Store(&all)
	return s
}

func newMetrics(stats func() Stats) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "daypass_http_requests_total", Help: "Answered calls.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "daypass_http_request_duration_seconds", Help: "How long calls took, waits included.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60},
		}, []string{"route"}),
	}
	m.seen.Store(&map[seriesKey]series{})
	m.registry.MustRegister(m.calls, m.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if stats != nil {
		m.registry.MustRegister(statsCollector{stats})
	}
	return m
}

// observe counts one answered call.
func (m *metrics) observe(r *http.Request, status int, took time.Duration) {
	route := "other"
	// The mux sets the pattern: "GET /v1/me", or a path alone where it refused.
	if _, path, ok := strings.Cut(r.Pattern, " "); ok {
		route = path
	} else if r.Pattern != "" && r.Pattern != "/" {
		route = r.Pattern
	}
	method := "other"
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch:
		method = r.Method
	}
	if status == 0 {
		status = 499 // nobody was there to read an answer
	}
	s := m.of(seriesKey{route, method, status})
	s.calls.Inc()
	s.seconds.Observe(took.Seconds())
}

// statsCollector asks for Stats once per scrape.
type statsCollector struct{ stats func() Stats }

var (
	descPending  = prometheus.NewDesc("daypass_requests_pending", "Requests that wait for a decision.", nil, nil)
	descGrants   = prometheus.NewDesc("daypass_grants_live", "Grants that are active now.", nil, nil)
	descCleanups = prometheus.NewDesc("daypass_cleanups_pending", "Grants whose access is off and whose removal at the target is not confirmed yet.", nil, nil)
	descSessions = prometheus.NewDesc("daypass_sessions", "Live sessions.", nil, nil)
	descHead     = prometheus.NewDesc("daypass_audit_head_seq", "Sequence number of the last audit entry.", nil, nil)
	descDenied   = prometheus.NewDesc("daypass_denied_total", "Refusals and denied accesses since the start.", nil, nil)
	descStore    = prometheus.NewDesc("daypass_store_ok", "1 while the store takes writes.", nil, nil)
)

// Describe implements prometheus.Collector.
func (statsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPending, descGrants, descCleanups, descSessions, descHead, descDenied, descStore} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c statsCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	up := 0.0
	if s.StoreOK {
		up = 1
	}
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(descPending, float64(s.PendingRequests))
	gauge(descGrants, float64(s.LiveGrants))
	gauge(descCleanups, float64(s.PendingCleanups))
	gauge(descSessions, float64(s.Sessions))
	gauge(descHead, float64(s.AuditHead))
	out <- prometheus.MustNewConstMetric(descDenied, prometheus.CounterValue, float64(s.Denied))
	gauge(descStore, up)
}
