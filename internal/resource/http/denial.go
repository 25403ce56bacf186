package httpkind

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
)

// suggestedDuration is what a hint asks for when nothing better is known.
const suggestedDuration = 15 * time.Minute

// refuse answers with a problem document. detail is ours: it never repeats
// what a client sent.
func (g *Gateway) refuse(c *call, status int, code, detail string) {
	g.problem(c, api.Problem{Status: status, Code: code, Detail: detail})
}

func (g *Gateway) unavailable(c *call) {
	c.w.Header().Set("Retry-After", "1")
	g.refuse(c, http.StatusServiceUnavailable, "unavailable", "The gateway cannot decide or record this now, so nothing was forwarded. Try again.")
}

func (g *Gateway) problem(c *call, p api.Problem) {
	p.Type = "urn:daypass:problem:" + p.Code
	p.Title = http.StatusText(p.Status)
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is all ours
	}
	g.answer(c, p.Status, "application/problem+json", body)
}

// answer writes a whole answer of the gateway's own.
func (g *Gateway) answer(c *call, status int, contentType string, body []byte) {
	if _, proxied := c.w.(*flow); !proxied {
		turnAway(c.w, c.r)
	}
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(body)
	}
}

// deny answers an attempt that the guard did not let pass.
func (g *Gateway) deny(c *call, err error) {
	var d *gateway.Denial
	if !errors.As(err, &d) || d.Status == gateway.Unavailable {
		if c.r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // the client has gone
		}
		g.log.Error("http gateway: an attempt could not be decided or recorded", "resource", c.resource.ID, "err", err)
		g.unavailable(c)
		return
	}
	if d.Status == gateway.Forbidden {
		g.denyWith(c, d.Grant, api.Problem{
			Status: http.StatusForbidden, Code: "outside_scope",
			Detail: "This request is outside the grant: " + d.Reason + ".",
		}, "insufficient_scope", "the grant does not cover this request")
		return
	}
	kind, why := "invalid_token", "the token is not good here"
	switch d.Why {
	case gateway.WhyNoToken:
		kind, why = "", "a grant token is needed"
	case gateway.WhyNotYet:
		why = "the grant starts at " + api.TimeOf(d.Grant.StartsAt).String()
	case gateway.WhyEnded:
		why = ending(d.Reason, d.EndedAt)
	case gateway.WhyMalformed:
		why = "the token is not well-formed"
	}
	g.denyWith(c, d.Grant, unauthenticated(why), kind, why)
}

// denyCut answers a request whose session ended before anything was sent.
func (g *Gateway) denyCut(c *call, s *gateway.Session) {
	reason := s.EndReason()
	switch reason {
	case gateway.EndKilled, gateway.EndShutdown, gateway.WhyNotRecorded:
		g.unavailable(c)
		return
	}
	at := g.now()
	if reason == live.ReasonExpired {
		at = s.Grant.ExpiresAt()
	}
	why := ending(reason, at)
	g.denyWith(c, s.Grant, unauthenticated(why), "invalid_token", why)
}

func ending(reason string, at time.Time) string {
	t := api.TimeOf(at).String()
	switch reason {
	case live.ReasonRevoked:
		return "the grant ended at " + t + " (revoked)"
	case live.ReasonReturned:
		return "the grant ended at " + t + " (returned)"
	case live.ReasonCredentialExpired, live.ReasonCredentialEnded:
		return "the login ended at " + t
	}
	return "the grant ended at " + t
}

func unauthenticated(why string) api.Problem {
	return api.Problem{
		Status: http.StatusUnauthorized, Code: "unauthenticated",
		Detail: sentence(why) + " Ask for access, then send the token as Authorization: Bearer dpgt_….",
	}
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

// denyWith answers 401 or 403, with how to ask for what was missing. A browser
// that comes without a good credential gets a page to log in with instead.
func (g *Gateway) denyWith(c *call, grant *live.Grant, p api.Problem, kind, why string) {
	role, scope := suggest(c)
	message := sentence(why)
	h := c.w.Header()
	challenge := `Bearer realm="daypass"`
	if kind != "" {
		if kind == "invalid_token" {
			why += "; ask again"
		}
		challenge += fmt.Sprintf(`, error="%s", error_description="%s"`, kind, why)
	}
	h.Set("WWW-Authenticate", challenge)
	ask := g.deps.PublicURL + "/request?resource=" + url.QueryEscape(c.resource.ID)
	if role != "" {
		ask += "&role=" + url.QueryEscape(role)
	}
	h.Set("Link", "<"+ask+`>; rel="request-access"`)
	if p.Status == http.StatusUnauthorized && g.wantsPage(c) {
		g.loginPage(c, http.StatusUnauthorized, ask, message+" Paste a grant token, or ask for access.")
		return
	}
	if p.Status == http.StatusForbidden && c.proof.cookie() && g.wantsPage(c) {
		g.page(c, p.Status, page{Resource: c.resource.ID, Message: p.Detail, Ask: ask})
		return
	}
	p.AccessRequest = g.hint(c, grant, role, scope)
	g.problem(c, p)
}

// suggest names the narrowest role that covers the request, or else, where
// free scopes may be asked for, the scope of this request alone.
func suggest(c *call) (role string, scope *Scope) {
	var best *Scope
	for _, r := range c.resource.Roles {
		s, ok := r.Scope.(*Scope)
		if !ok || !s.allows(c.r.Method, c.target.segments) {
			continue
		}
		if best == nil || best.Covers(s) && !s.Covers(best) {
			role, best = r.Name, s
		}
	}
	if best != nil || !c.resource.FreeScope || len(c.target.segments) > maxPatternSegments {
		return role, nil
	}
	scope, err := newScope([]string{c.r.Method}, []string{literalPattern(c.target.segments).String()})
	if err != nil {
		return "", nil
	}
	return "", scope
}

// hint is a request for access, filled in; nil when none would help.
func (g *Gateway) hint(c *call, grant *live.Grant, role string, scope *Scope) *api.AccessHint {
	if role == "" && scope == nil {
		return nil
	}
	duration := suggestedDuration
	if grant != nil {
		if d := grant.ExpiresAt().Sub(grant.StartsAt).Round(time.Second); d > 0 && d <= api.MaxDuration {
			duration = d
		}
	}
	hint := &api.AccessHint{
		Method: http.MethodPost, URL: g.deps.PublicURL + "/v1/requests",
		Body: api.SubmitRequest{Resource: c.resource.ID, Role: role, Duration: api.Duration(duration)},
	}
	what := "--role " + role
	if scope != nil {
		hint.Body.Scope = scope.JSON()
		what = "--scope '" + string(scope.JSON()) + "'" // canonical scopes have no quote in them
	}
	hint.Command = fmt.Sprintf("daypass request %s %s --for %s --reason TEXT", c.resource.ID, what, api.FormatDuration(duration))
	return hint
}
