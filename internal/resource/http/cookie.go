package httpkind

import (
	"net/http"
	"strings"
	"time"
)

// The names of the cookie that stands for a grant in a browser. The __Host-
// prefix makes browsers insist on TLS, this very host and the whole site; it
// cannot be had without TLS.
const (
	cookieTLS   = "__Host-daypass"
	cookiePlain = "daypass"
	maxCookies  = 200 // in one request
)

func (g *Gateway) cookieName() string {
	if g.tls != nil {
		return cookieTLS
	}
	return cookiePlain
}

// ourCookie reports whether a cookie's name is one of ours, in any case: a
// grant's, or of a person's login at a server on the same host, which browsers
// show to all ports of it (identity.Cookies).
func ourCookie(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	plain := strings.TrimPrefix(name, "__host-")
	return plain == cookiePlain || strings.HasPrefix(plain, cookiePlain+"-")
}

// ourCookies returns the values of the cookies named name, and how many
// cookies there are in all.
func ourCookies(h http.Header, name string) (values []string, total int) {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			total++
			if n, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && n == name {
				values = append(values, v)
			}
		}
	}
	return values, total
}

// stripCookies removes our cookies, whatever their values.
func stripCookies(h http.Header) {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(pair, "=")
			if ourCookie(name) || holdsSecret(value) || strings.TrimSpace(pair) == "" {
				continue
			}
			kept = append(kept, strings.TrimSpace(pair))
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = []string{strings.Join(kept, "; ")}
}

func (g *Gateway) setCookie(w http.ResponseWriter, secret string, expires time.Time) {
	http.SetCookie(w, &http.Cookie{
		Name: g.cookieName(), Value: secret, Path: "/", Expires: expires.UTC(),
		// Lax, so that a link in a chat opens the page; what changes anything
		// asks for the same origin besides.
		HttpOnly: true, Secure: g.tls != nil, SameSite: http.SameSiteLaxMode,
	})
}

func (g *Gateway) clearCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{
		Name: g.cookieName(), Path: "/", MaxAge: -1,
		HttpOnly: true, Secure: g.tls != nil, SameSite: http.SameSiteLaxMode,
	})
}

// sameOrigin reports whether a request made by a browser comes from a page of
// this very host. Without either header nothing is known, and the answer is no.
func (g *Gateway) sameOrigin(r *http.Request) bool {
	site, origin := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	switch {
	case len(site) > 1 || len(origin) > 1:
		return false
	case len(site) == 1:
		return site[0] == "same-origin"
	case len(origin) == 1:
		return strings.EqualFold(origin[0], g.scheme()+"://"+r.Host)
	}
	return false
}

// crossOriginFetch reports whether a page of another origin fetches this one
// in the background, rather than leading the user here.
func crossOriginFetch(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") != "navigate"
}
