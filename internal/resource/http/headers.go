package httpkind

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// hopByHop are the headers of one connection (RFC 9110 §7.6.1), and those that
// proxies of old treat so.
var hopByHop = map[string]bool{
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true,
	"Proxy-Authorization": true, "Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// dashed is a header's name as the servers behind CGI, WSGI and their heirs
// see it: they cannot tell "_" from "-", nor case.
func dashed(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// ours reports whether only Daypass may send a header of this name.
func ours(name string) bool {
	d := dashed(name)
	return d == "daypass" || strings.HasPrefix(d, "daypass-")
}

// forwarding reports whether a header says where a request came from, or makes
// it another request than the one that was decided on. None of them can be
// believed from a client: there is no trusted proxy in front.
func forwarding(name string) bool {
	d := dashed(name)
	switch d {
	case "forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "client-ip", "true-client-ip",
		"cf-connecting-ip", "cf-connecting-ipv6", "fastly-client-ip", "x-envoy-external-address",
		"x-remote-ip", "x-remote-addr", "x-host", "x-rewrite-url", "x-http-method", "x-http-method-override",
		"x-method-override", "proxy", "x-middleware-subrequest":
		return true
	}
	return strings.HasPrefix(d, "x-forwarded") || strings.HasPrefix(d, "x-original-")
}

// sanitizeRequest removes what must not reach an upstream from a client. Names
// with an underscore are removed by what they would be read as.
func sanitizeRequest(h http.Header) {
	for name := range h {
		d := dashed(name)
		if ours(name) || forwarding(name) || strings.Contains(name, "_") && (d == "authorization" || d == "cookie" || d == "host") {
			delete(h, name)
		}
	}
}

// sanitizeResponse removes what must not reach a client from an upstream, also
// from trailers.
func (g *Gateway) sanitizeResponse(h http.Header) {
	for name := range h {
		plain, _ := strings.CutPrefix(name, http.TrailerPrefix)
		switch textproto.CanonicalMIMEHeaderKey(plain) {
		case "Clear-Site-Data", // would log the browser out here, and of sites beside this one
			"Alt-Svc", // would lead clients past the gateway
			"Proxy-Authenticate", "Proxy-Authentication-Info":
			delete(h, name)
			continue
		}
		if ours(plain) {
			delete(h, name)
		}
	}
	if cookies, ok := h["Set-Cookie"]; ok {
		kept := cookies[:0:0]
		for _, c := range cookies {
			if g.cookieAllowed(c) {
				kept = append(kept, c)
			}
		}
		if len(kept) == 0 {
			delete(h, "Set-Cookie")
		} else {
			h["Set-Cookie"] = kept
		}
	}
	delete(h, http.TrailerPrefix+"Set-Cookie")
}

// cookieAllowed reports whether an upstream may set this cookie: not ours, and
// none that other resources under the gateway's domain would be sent.
func (g *Gateway) cookieAllowed(line string) bool {
	pair, attributes, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(pair, "=")
	if ourCookie(name) || strings.TrimSpace(name) == "" {
		return false // a nameless "=__Host-daypass=x" is read as ours by some
	}
	for a := range strings.SplitSeq(attributes, ";") {
		key, value, _ := strings.Cut(a, "=")
		if !strings.EqualFold(strings.TrimSpace(key), "domain") {
			continue
		}
		domain := strings.ToLower(strings.Trim(strings.TrimSpace(value), `."`))
		if domain != "" && (domain == g.domain || strings.HasSuffix(g.domain, "."+domain)) {
			return false
		}
	}
	return true
}

// rewriteLocation makes a redirect to the upstream itself one to the gateway.
// Redirects elsewhere are for the client to follow or not, without any
// credential of ours.
func rewriteLocation(h http.Header, c *Config) {
	raw := h.Get("Location")
	if raw == "" {
		return
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != c.scheme || u.User != nil {
		return
	}
	if u.Host != c.host && u.Host != c.hostHeader() {
		return
	}
	path := u.EscapedPath()
	if c.base != "" {
		rest, inside := strings.CutPrefix(path, c.base)
		if !inside || rest != "" && rest[0] != '/' {
			return
		}
		path = rest
	}
	if path == "" {
		path = "/"
	}
	if strings.HasPrefix(path, "//") {
		return
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		path += "#" + u.EscapedFragment()
	}
	h.Set("Location", path)
}
