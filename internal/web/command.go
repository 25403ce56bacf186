package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/signin"
)

// asked is what a command line asks of a browser (RFC 6749 section 4.1.1).
type asked struct {
	Redirect, State, Challenge, Label string
	Who                               string
	Host                              string // of Redirect
}

// readAsked reads it. Where the browser cannot be sent back safely, why is
// shown here; other faults go back to the command line as code.
func readAsked(q url.Values) (a asked, why, code string) {
	for _, values := range q {
		if len(values) > 1 {
			return a, "The link says something twice.", ""
		}
	}
	a = asked{Redirect: q.Get("redirect_uri"), State: q.Get("state"), Challenge: q.Get("code_challenge"), Label: label(q.Get("device_name"))}
	switch {
	case q.Get("client_id") != signin.ClientID:
		return a, "This server knows no such program.", ""
	case !signin.CheckRedirect(a.Redirect):
		return a, "A login is handed to a program on this very machine alone.", ""
	case len(a.State) < 16 || len(a.State) > 512:
		return a, "", "invalid_request"
	case q.Get("response_type") != "code":
		return a, "", "unsupported_response_type"
	case q.Get("code_challenge_method") != "S256" || !signin.CheckChallenge(a.Challenge):
		return a, "", "invalid_request"
	case q.Get("scope") != "":
		return a, "", "invalid_scope"
	}
	u, err := url.Parse(a.Redirect)
	if err != nil {
		return a, "The link cannot be read.", ""
	}
	a.Host = u.Host
	return a, "", ""
}

func label(s string) string {
	out := []rune{}
	for _, r := range s {
		if r >= ' ' && r <= '~' && len(out) < 60 {
			out = append(out, r)
		}
	}
	return string(out)
}

// authorize asks whether the command line of this machine is to be let in.
func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	a, ok := s.asked(w, r, r.URL.Query())
	if !ok {
		return
	}
	c, err := s.who(r)
	if err != nil {
		s.logInFirst(w, r, err, "/oauth/authorize?"+r.URL.RawQuery)
		return
	}
	a.Who = c.Principal
	formsTo(w, "http://"+a.Host)
	s.show(w, http.StatusOK, "authorize", "Let your command line in?", a)
}

func (s *server) asked(w http.ResponseWriter, r *http.Request, q url.Values) (asked, bool) {
	a, why, code := readAsked(q)
	switch {
	case why != "":
		s.fail(w, http.StatusBadRequest, "This cannot be done", why+" Run daypass login again.")
		return a, false
	case code != "":
		s.sendBack(w, r, a, url.Values{"error": {code}})
		return a, false
	}
	return a, true
}

// authorized hands the login on, or says no.
func (s *server) authorized(w http.ResponseWriter, r *http.Request) {
	form := url.Values{}
	for name, values := range r.PostForm {
		if name != "answer" {
			form[name] = values
		}
	}
	a, ok := s.asked(w, r, form)
	if !ok {
		return
	}
	c, err := s.who(r)
	if err != nil {
		s.refused(w, err)
		return
	}
	formsTo(w, "http://"+a.Host)
	if r.PostForm.Get("answer") != "yes" {
		s.sendBack(w, r, a, url.Values{"error": {"access_denied"}})
		return
	}
	code, err := s.Codes.Issue(signin.Code{Caller: c, RedirectURI: a.Redirect, Challenge: a.Challenge, Label: a.Label})
	if err != nil {
		s.sendBack(w, r, a, url.Values{"error": {"temporarily_unavailable"}})
		return
	}
	s.sendBack(w, r, a, url.Values{"code": {code}})
}

// sendBack sends the browser to the command line's port, with the issuer (RFC
// 9207).
func (s *server) sendBack(w http.ResponseWriter, r *http.Request, a asked, answer url.Values) {
	answer.Set("state", a.State)
	answer.Set("iss", s.PublicURL)
	http.Redirect(w, r, a.Redirect+"?"+answer.Encode(), http.StatusSeeOther)
}

// device asks for the code that a command line shows.
func (s *server) device(w http.ResponseWriter, r *http.Request) {
	s.show(w, http.StatusOK, "device", "Let a device in", struct{ Wrong bool }{})
}

// deviceTyped shows which device that is. Nothing is decided yet.
func (s *server) deviceTyped(w http.ResponseWriter, r *http.Request) {
	c := callerOf(r)
	d, err := s.Devices.Look(r.PostForm.Get("code"), c)
	if err != nil {
		s.wrongCode(w, err)
		return
	}
	s.show(w, http.StatusOK, "confirm", "Is this your device?", struct {
		signin.Device
		Who, Ago string
		Same     bool
		Own      string
	}{d, c.Principal, ago(s.Now().Sub(d.Since)), d.IP == c.IP, c.IP})
}

func (s *server) wrongCode(w http.ResponseWriter, err error) {
	if errors.Is(err, signin.ErrThrottled) {
		w.Header().Set("Retry-After", "600")
		s.fail(w, http.StatusTooManyRequests, "Too many wrong codes", "Wait ten minutes. Nothing else of yours is affected.")
		return
	}
	s.show(w, http.StatusUnprocessableEntity, "device", "Let a device in", struct{ Wrong bool }{true})
}

// deviceConfirmed decides.
func (s *server) deviceConfirmed(w http.ResponseWriter, r *http.Request) {
	yes := r.PostForm.Get("answer") == "yes"
	c := callerOf(r)
	if _, err := s.Devices.Decide(r.PostForm.Get("code"), c, yes); err != nil {
		s.wrongCode(w, err)
		return
	}
	if !yes {
		s.show(w, http.StatusOK, "refused", "It was not let in", nil)
		return
	}
	s.show(w, http.StatusOK, "done", "You are logged in there", identity.Caller{Principal: c.Principal})
}

func ago(d time.Duration) string {
	if d < time.Minute {
		return "less than a minute ago"
	}
	if d < 2*time.Minute {
		return "a minute ago"
	}
	return strconv.Itoa(int(d/time.Minute)) + " minutes ago"
}
