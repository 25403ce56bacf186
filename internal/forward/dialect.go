package forward

import (
	"errors"
	"net/http"
	"strings"
)

// question is the request that a proxy asks about, as the proxy says it.
type question struct {
	method string
	target string // path and query, as they came over the wire
	host   string
}

// dialect is how one family of proxies puts it. Each reads its own headers
// alone: nginx passes on whatever else a client sends.
type dialect struct {
	path string
	read func(*http.Request) (question, error)
}

const (
	nginx   = "/authz/nginx"
	forward = "/authz/forward"
	envoy   = "/authz/envoy"
)

const (
	secretHeader   = "Daypass-Proxy-Secret"
	resourceHeader = "Daypass-Resource"
)

var dialects = []*dialect{
	{nginx, func(r *http.Request) (question, error) {
		return fromHeaders(r.Header, "X-Original-Method", "X-Original-Uri", "X-Original-Host")
	}},
	{forward, func(r *http.Request) (question, error) {
		return fromHeaders(r.Header, "X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host")
	}},
	{envoy, fromRequest},
}

// dialectOf is the dialect of a request target. A query of our own says nothing:
// Caddy puts the client's there. Envoy has the client's target behind its
// prefix.
func dialectOf(target string) *dialect {
	path, _, _ := strings.Cut(target, "?")
	for _, d := range dialects {
		if path == d.path && d.path != envoy || d.path == envoy && strings.HasPrefix(path, envoy+"/") {
			return d
		}
	}
	return nil
}

func fromHeaders(h http.Header, method, target, host string) (q question, err error) {
	if q.method, err = one(h, method); err != nil {
		return q, err
	}
	if q.target, err = one(h, target); err != nil {
		return q, err
	}
	q.host, err = one(h, host)
	return q, err
}

// fromRequest reads Envoy's question: the client's own method, host and, behind
// the prefix, target.
func fromRequest(r *http.Request) (question, error) {
	target, ok := strings.CutPrefix(r.RequestURI, envoy)
	if !ok || r.Host == "" {
		return question{}, errors.New("path_prefix must be " + envoy)
	}
	return question{method: r.Method, target: target, host: r.Host}, nil
}

// one is the value of a header that must be there exactly once.
func one(h http.Header, name string) (string, error) {
	values := h[name]
	if len(values) != 1 || values[0] == "" {
		return "", errors.New("send " + name + " exactly once")
	}
	return values[0], nil
}
