package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/oidc"
)

// login lets people choose their provider, or tells them that they are in.
func (s *server) login(w http.ResponseWriter, r *http.Request) {
	to := back(r.URL.Query().Get("return_to"))
	if _, err := s.who(r); err == nil {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	type choice struct {
		Title string
		Link  string
	}
	var choices []choice
	for _, c := range s.Providers.Choices() {
		choices = append(choices, choice{c.Title, "/login/start/" + c.Name + "?return_to=" + url.QueryEscape(to)})
	}
	s.show(w, http.StatusOK, "choose", "Log in", struct {
		Choices []choice
		Cast    *Cast
		To      string
	}{choices, s.Cast, to})
}

// start sends the browser to a provider. Nothing of it is kept here: what is
// needed on the way back the browser carries, sealed.
func (s *server) start(w http.ResponseWriter, r *http.Request) {
	if elsewhere := s.otherName(r); elsewhere != "" {
		http.Redirect(w, r, elsewhere, http.StatusSeeOther)
		return
	}
	a, err := s.Providers.Begin(r.Context(), r.PathValue("provider"), back(r.URL.Query().Get("return_to")))
	switch {
	case errors.Is(err, oidc.ErrUnknown):
		s.fail(w, http.StatusNotFound, "There is no such page", "Open "+s.PublicURL+"/login and choose again.")
	case errors.Is(err, oidc.ErrAway):
		s.away(w)
	case err != nil:
		s.refused(w, err)
	default:
		s.cookies.Set(w, "-"+a.Tag, a.Ticket, a.Until)
		http.Redirect(w, r, a.URL, http.StatusSeeOther)
	}
}

func (s *server) away(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "10")
	s.fail(w, http.StatusServiceUnavailable, "The identity provider does not answer", "Try again in a moment. Who is logged in stays so until the login ends; nobody new comes in meanwhile.")
}

// otherName is the same page under the name that cookies and the provider know,
// where somebody came by another name of this very machine.
func (s *server) otherName(r *http.Request) string {
	u, err := url.Parse(s.PublicURL)
	if err != nil || strings.EqualFold(u.Host, r.Host) || !identity.Loopback(s.PublicURL) || !identity.Loopback("http://"+r.Host) {
		return ""
	}
	return s.PublicURL + r.URL.RequestURI()
}

// callback is the way back from a provider.
func (s *server) callback(w http.ResponseWriter, r *http.Request) {
	query, tag := r.URL.Query(), "-"+oidc.Tag(r.URL.Query())
	ticket := s.cookies.Value(r, tag)
	if ticket != "" {
		s.cookies.Set(w, tag, "", time.Time{}) // whatever comes of it
	}
	person, to, err := s.Providers.Finish(r.Context(), r.PathValue("provider"), query, ticket)
	switch {
	case errors.Is(err, oidc.ErrAway):
		s.away(w)
		return
	case err != nil:
		if !s.throttled(w, r) {
			s.fail(w, http.StatusForbidden, "That login was not accepted", "It may be too old, or have begun in another browser. Open "+s.PublicURL+"/login and begin again. What exactly was wrong is in the server's log.")
		}
		return
	}
	made, err := s.Broker.LogIn(r.Context(), broker.Arrival{
		Issuer: person.Issuer, Subject: person.Subject, Provision: person.Provision, Groups: person.Groups,
		Label: browserName(r.UserAgent()), IP: s.PeerIP(r), Replaces: s.cookies.Value(r, ""),
	})
	if err != nil {
		if !s.throttled(w, r) {
			s.refused(w, err)
		}
		return
	}
	s.letIn(w, r, made, to)
}

// letIn gives the browser its login. The id is new, whatever the browser held.
func (s *server) letIn(w http.ResponseWriter, r *http.Request, made broker.LoggedIn, to string) {
	s.cookies.Set(w, "", made.Secret, made.ExpiresAt.Time)
	http.Redirect(w, r, back(to), http.StatusSeeOther)
}

// logout ends the login of this browser, here and at once.
func (s *server) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := s.who(r); err == nil {
		if err := s.Broker.EndLogin(r.Context(), c, "current"); err != nil {
			s.refused(w, err)
			return
		}
	}
	s.cookies.Set(w, "", "", time.Time{})
	w.Header().Set("Clear-Site-Data", `"cache"`)
	s.show(w, http.StatusOK, "out", "You are logged out", nil)
}

// setup shows what the link of a new server does. To open it does nothing yet:
// mail scanners and previews open links too.
func (s *server) setup(w http.ResponseWriter, r *http.Request) {
	s.show(w, http.StatusOK, "setup", "Set up this server", struct{ Link string }{r.URL.Query().Get("link")})
}

func (s *server) setUp(w http.ResponseWriter, r *http.Request) {
	made, err := s.Broker.SetUp(r.Context(), r.PostForm.Get("link"), browserName(r.UserAgent()), s.PeerIP(r))
	if err != nil {
		if !s.throttled(w, r) {
			s.refused(w, err)
		}
		return
	}
	s.letIn(w, r, made, home)
}

// browserName is what a browser says of itself, short.
func browserName(agent string) string {
	find := func(names ...string) string {
		for _, n := range names {
			if mark, shown, _ := strings.Cut(n, "="); strings.Contains(agent, mark) {
				return shown
			}
		}
		return ""
	}
	browser := find("Edg/=Edge", "OPR/=Opera", "Firefox/=Firefox", "Chrome/=Chrome", "Safari/=Safari")
	system := find("iPhone=iPhone", "iPad=iPad", "Android=Android", "Windows=Windows", "Mac OS X=macOS", "Linux=Linux")
	switch {
	case browser == "":
		return "a browser"
	case system == "":
		return browser
	}
	return browser + " on " + system
}
