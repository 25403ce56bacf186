package httpkind

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
)

// ownPaths is the first segment of the paths that are the gateway's on every
// host. They are never forwarded.
const ownPaths = ".daypass"

const (
	loginPath  = "/.daypass/login"
	logoutPath = "/.daypass/logout"
	maxForm    = 16 << 10 // bytes
)

//go:embed login.html
var loginHTML string

var loginTemplate = template.Must(template.New("login").Parse(loginHTML))

// pageCSP lets the page do nothing but send its form.
const pageCSP = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

type page struct {
	Resource string
	Message  string
	Ask      string
	Return   string
	Action   string // where the form goes; "" shows none
	Button   string
}

// wantsPage reports whether a person with a browser is waiting for a page.
func (g *Gateway) wantsPage(c *call) bool {
	if g.deps.Cookie == nil || c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return false
	}
	if len(c.r.Header["Authorization"]) > 0 || upgrading(c.r.Header) {
		return false
	}
	if mode := c.r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return false
	}
	for _, accept := range c.r.Header["Accept"] {
		for t := range strings.SplitSeq(accept, ",") {
			if kind, _, err := mime.ParseMediaType(t); err == nil && (kind == "text/html" || kind == "application/xhtml+xml") {
				return true
			}
		}
	}
	return false
}

func (g *Gateway) loginPage(c *call, status int, ask, message string) {
	back := c.target.path
	if c.target.asked {
		back += "?" + c.target.query
	}
	if c.target.segments[0] == ownPaths {
		back = "/"
	}
	g.page(c, status, page{Resource: c.resource.ID, Message: message, Ask: ask, Return: back, Action: loginPath, Button: "Open"})
}

func (g *Gateway) page(c *call, status int, p page) {
	var b bytes.Buffer
	if err := loginTemplate.Execute(&b, p); err != nil {
		panic(err) // it is all ours
	}
	h := c.w.Header()
	h.Set("Content-Security-Policy", pageCSP)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	g.answer(c, status, "text/html; charset=utf-8", b.Bytes())
}

// serveOwn answers the paths under /.daypass/.
func (g *Gateway) serveOwn(c *call) {
	var handler func(*call)
	switch c.target.path {
	case loginPath:
		handler = g.login
	case logoutPath:
		handler = g.logout
	}
	switch {
	case handler == nil || g.deps.Cookie == nil:
		g.refuse(c, http.StatusNotFound, "not_found", "There is nothing here.")
	case c.r.Method == http.MethodGet || c.r.Method == http.MethodHead:
		// Changes nothing (A14): it only shows the form.
		ask := g.deps.PublicURL + "/request?resource=" + url.QueryEscape(c.resource.ID)
		if c.target.path == logoutPath {
			g.page(c, http.StatusOK, page{Resource: c.resource.ID, Message: "End this browser's login?", Ask: ask, Action: logoutPath, Button: "Log out"})
			return
		}
		g.loginPage(c, http.StatusOK, ask, "")
	case c.r.Method != http.MethodPost:
		c.w.Header().Set("Allow", "GET, HEAD, POST")
		g.refuse(c, http.StatusMethodNotAllowed, "method_not_allowed", "Send the form with POST.")
	case !g.sameOrigin(c.r):
		g.deps.Guard.CountDenied(peer(c.r), "gateway:http", "cross_origin")
		g.refuse(c, http.StatusForbidden, "cross_origin", "The form must be sent from this very page.")
	default:
		handler(c)
	}
}

// login exchanges a grant token for a cookie.
func (g *Gateway) login(c *call) {
	form, err := readForm(c.w, c.r)
	if err != nil {
		g.refuse(c, http.StatusBadRequest, "malformed_form", "The form could not be read.")
		return
	}
	back := "/"
	if t, err := parseTarget(form.Get("return")); err == nil && t.segments[0] != ownPaths {
		back = t.path
		if t.asked {
			back += "?" + t.query
		}
	}
	c.proof = proof{secret: strings.TrimSpace(form.Get("token")), prefix: credential.GrantToken}
	attempt := g.attempt(c, func(*live.Grant) error { return nil })
	attempt.Doing = "browser login"
	session, err := g.deps.Guard.Open(c.r.Context(), attempt)
	if err != nil {
		var d *gateway.Denial
		if !errors.As(err, &d) || d.Status == gateway.Unavailable {
			g.deny(c, err)
			return
		}
		message := "That token is not good here."
		if d.Why == gateway.WhyEnded {
			message = "That token is over: " + ending(d.Reason, d.EndedAt) + "."
		}
		ask := g.deps.PublicURL + "/request?resource=" + url.QueryEscape(c.resource.ID)
		g.page(c, http.StatusUnauthorized, page{Resource: c.resource.ID, Message: message, Ask: ask, Return: back, Action: loginPath, Button: "Open"})
		return
	}
	defer session.Close(gateway.Stats{})
	secret, expires, err := g.deps.Cookie(c.r.Context(), c.proof.secret, c.host)
	if err != nil {
		g.log.Error("http gateway: no cookie could be issued", "grant", session.Grant.ID, "err", err)
		g.unavailable(c)
		return
	}
	g.setCookie(c.w, secret, expires)
	g.seeOther(c, back)
}

// logout ends the browser's login. Cookies that are good for nothing are only
// removed: strangers cannot make the store work.
func (g *Gateway) logout(c *call) {
	attempt := g.attempt(c, func(*live.Grant) error { return nil })
	attempt.Doing = "browser logout"
	session, err := g.deps.Guard.Open(c.r.Context(), attempt)
	var d *gateway.Denial
	switch {
	case err == nil:
		defer session.Close(gateway.Stats{})
	case errors.As(err, &d) && d.Status == gateway.Unavailable: // an end needs no record to be wanted
	default:
		g.clearCookie(c.w)
		g.seeOther(c, loginPath)
		return
	}
	if g.deps.Logout != nil && c.proof.cookie() {
		if err := g.deps.Logout(c.r.Context(), c.proof.secret); err != nil {
			g.log.Error("http gateway: logout failed", "resource", c.resource.ID, "err", err)
			g.unavailable(c)
			return
		}
	}
	g.clearCookie(c.w)
	g.seeOther(c, loginPath)
}

func (g *Gateway) seeOther(c *call, path string) {
	h := c.w.Header()
	h.Set("Location", path)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusSeeOther)
}

func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, errors.New("not a form")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, err
	}
	return url.ParseQuery(string(body))
}
