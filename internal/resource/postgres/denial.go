package pgkind

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
	"github.com/jackc/pgx/v5/pgconn"
)

// suggestedDuration is what a hint asks for when nothing better is known.
const suggestedDuration = 15 * time.Minute

func fatal(code, message, hint string) *wire.Error {
	return &wire.Error{Severity: wire.SeverityFatal, Code: code, Message: message, Hint: hint}
}

// wrongPassword is what PostgreSQL says, whatever was wrong.
func wrongPassword(user string) *wire.Error {
	return fatal(wire.CodePassword, `password authentication failed for user "`+user+`"`, "")
}

func unavailable() *wire.Error {
	return fatal(wire.CodeUnavailable, "Daypass cannot decide or record this now, so nothing was forwarded", "Try again.")
}

func shuttingDown() *wire.Error {
	return fatal(wire.CodeShutdown, "terminating connection: the Daypass gateway is shutting down", "Connect again.")
}

// unreachable says why there is no connection to the database. What the server
// said of its own is not for the client, but for its limits.
func unreachable(resource string, err error) *wire.Error {
	e, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case answered && e.Code == wire.CodeConnections:
		return fatal(e.Code, "too many connections for this grant, or to the database of "+resource, "Close a session that is not needed.")
	case answered && e.Code == wire.CodeUnavailable:
		return fatal(e.Code, "the database of "+resource+" is starting up or shutting down", "Try again in a moment.")
	}
	return fatal("08004", "the database of "+resource+" cannot be reached, or does not let this grant in", "Try again in a moment. An admin finds the cause in the log.")
}

// isTrouble reports whether an error of the connector is about the server or
// the way to it, rather than about what a grant is for, which alone is for the
// client to know.
func isTrouble(err error) bool {
	_, told := errors.AsType[unlike](err)
	return !told
}

// denied says to a client that the guard did not let in why not. Who comes here
// has proven a token, or shown one.
func (g *Gateway) denied(n named, user string, err error) *wire.Error {
	d, ok := errors.AsType[*gateway.Denial](err)
	if !ok || d.Status == gateway.Unavailable {
		g.log.Error("postgres gateway: an attempt could not be decided or recorded", "resource", n.resource.ID, "err", err)
		return unavailable()
	}
	switch {
	case d.Status == gateway.Forbidden:
		return fatal(wire.CodeAuthorization, "the Daypass grant "+n.grant.ID+" does not cover this: "+d.Reason, g.askAgain(n.resource, d.Grant))
	case d.Why == gateway.WhyNotYet:
		return fatal(wire.CodeAuthorization, "the Daypass grant "+n.grant.ID+" starts at "+api.TimeOf(d.Grant.StartsAt).String(), "")
	case d.Why == gateway.WhyEnded:
		return fatal(wire.CodeAuthorization, "the Daypass grant "+n.grant.ID+" "+ending(d.Reason)+" at "+api.TimeOf(d.EndedAt).String(), g.askAgain(n.resource, d.Grant))
	case d.Why == gateway.WhyWrongResource && d.Grant == nil && n.grant != nil:
		return fatal(wire.CodeAuthorization, "the Daypass grant "+n.grant.ID+" is for what "+n.resource.ID+" was before", g.askAgain(n.resource, n.grant))
	}
	return wrongPassword(user) // a token that is none, shown in clear
}

// ending is how a grant ended, as the end of a sentence.
func ending(reason string) string {
	switch reason {
	case live.ReasonExpired:
		return "expired"
	case live.ReasonRevoked:
		return "was revoked"
	case live.ReasonReturned:
		return "was returned"
	case live.ReasonPolicy:
		return "was ended by the policy"
	}
	return "ended"
}

// askAgain is how to ask for what a grant gave.
func (g *Gateway) askAgain(r *policy.Resource, grant *live.Grant) string {
	duration := suggestedDuration
	scope := ""
	if grant != nil {
		if d := grant.ExpiresAt().Sub(grant.StartsAt).Round(time.Second); d > 0 && d <= api.MaxDuration {
			duration = d
		}
		scope = string(grant.Scope)
	}
	role := roleFor(r, scope)
	page := g.deps.PublicURL + "/request?resource=" + url.QueryEscape(r.ID)
	what := ""
	switch {
	case role != "":
		what = " --role " + role
		page += "&role=" + url.QueryEscape(role)
	case scope != "" && r.FreeScope:
		what = " --scope '" + strings.ReplaceAll(scope, "'", `'\''`) + "'"
	}
	return "Ask again: daypass request " + r.ID + what + " --for " + api.FormatDuration(duration) + " --reason TEXT, or " + page
}

// shownScope is how many bytes of a scope fit in a hint.
const shownScope = 300

// askMore is what a client is told that PostgreSQL did not let at something.
func (g *Gateway) askMore(r *policy.Resource, grant string, s *Scope) string {
	what := s.String()
	if len(what) > shownScope {
		what = strings.ToValidUTF8(what[:shownScope], "") + " …"
	}
	return "The Daypass grant " + grant + " is for " + what + ". Ask for more: daypass request " + r.ID + " --reason TEXT, or " + g.deps.PublicURL + "/request?resource=" + url.QueryEscape(r.ID)
}

// roleFor names the role that has a scope, or else the narrowest that covers
// it; "" when there is none.
func roleFor(r *policy.Resource, scope string) string {
	asked, err := parseScope([]byte(scope))
	if err != nil {
		return ""
	}
	name, best := "", (*Scope)(nil)
	for _, role := range r.Roles {
		s, ok := role.Scope.(*Scope)
		switch {
		case !ok || !s.Covers(asked):
		case best == nil || best.Covers(s) && !s.Covers(best):
			name, best = role.Name, s
		}
	}
	return name
}
