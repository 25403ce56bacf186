package identity

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Cookies is how a browser holds a login. Over TLS its name begins with
// __Host-, which browsers take only with Secure, for this very host and for all
// of its paths: no sibling of the host's name can set or shadow it.
//
// Not every browser takes Secure from http://127.0.0.1 (Safari does not), and
// none takes __Host- without it. Over plain HTTP, which a server speaks to its
// own machine alone, the cookie therefore has another name and no such
// protection: whatever else serves on that machine, on any port, can read it.
type Cookies struct {
	plain bool
}

// CookiesOf returns the cookies of a server at its public URL.
func CookiesOf(publicURL string) Cookies {
	return Cookies{plain: strings.HasPrefix(publicURL, "http://")}
}

// Name is that of the cookie; other cookies of a login's way in have more after
// it.
func (c Cookies) Name() string {
	if c.plain {
		return "daypass-loopback"
	}
	return "__Host-daypass"
}

// Value is what the browser holds under Name and more; "" for nothing, and for
// two of one name, of which nobody can tell who has set which.
func (c Cookies) Value(r *http.Request, more string) string {
	if got := r.CookiesNamed(c.Name() + more); len(got) == 1 {
		return got[0].Value
	}
	return ""
}

// Set has the browser hold value until an instant; a value of "" makes it
// forget.
func (c Cookies) Set(w http.ResponseWriter, more, value string, until time.Time) {
	cookie := &http.Cookie{
		Name: c.Name() + more, Value: value, Path: "/", Expires: until, Secure: !c.plain, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // Strict would drop it on the way back from the provider
	}
	if value == "" {
		cookie.Expires, cookie.MaxAge = time.Time{}, -1
	}
	http.SetCookie(w, cookie)
}

// SameOrigin reports whether a browser says that a page of this very server
// sent a request. A browser that says nothing of it is not believed: a cookie
// goes along whoever sends.
func SameOrigin(publicURL string, r *http.Request) bool {
	if site := r.Header.Values("Sec-Fetch-Site"); len(site) > 0 {
		return len(site) == 1 && site[0] == "same-origin"
	}
	from := r.Header.Values("Origin")
	u, err := url.Parse(publicURL)
	return len(from) == 1 && err == nil && u.Host != "" && strings.EqualFold(from[0], u.Scheme+"://"+u.Host)
}

// Loopback reports whether a URL names this machine by a literal address, or as
// localhost.
func Loopback(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && a.IsLoopback()
}
