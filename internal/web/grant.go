package web

import (
	"net/http"
	"net/url"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// credential shows a new credential, once. The page is the answer to a form and
// is kept nowhere: not by us, and no-store keeps the browser from it.
func (s *server) credential(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	made, err := s.Broker.Issue(r.Context(), callerOf(r), id, "token", once(r, func(any) string { return home }))
	if _, again := before(err); again {
		s.problem(w, r, &broker.Error{Kind: broker.Conflict, Message: "This credential was shown already, and is shown once. Get another where the access is listed; both work until it ends."})
		return
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	g, err := s.Broker.Grant(r.Context(), callerOf(r), id)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.console(w, r, http.StatusOK, "credential", screen{Title: "Your credential", Here: "mine", Data: struct {
		api.Grant
		Made   api.Credential
		Secret string
	}{g, made, *made.Secret}})
}

// ended gives access back, or takes it away: which of the two the broker knows.
func (s *server) ended(w http.ResponseWriter, r *http.Request) {
	wrong := faults{}
	reason := words(r.PostForm, "reason", longestReason, wrong)
	if why := wrong["reason"]; why != "" {
		s.problem(w, r, &broker.Error{Kind: broker.Invalid, Message: "The reason: " + why})
		return
	}
	g, err := s.Broker.Revoke(r.Context(), callerOf(r), r.PathValue("id"), reason)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.done(w, r, "/requests/"+g.Request)
}

// lengthening is the form that asks for more time.
type lengthening struct {
	api.Grant
	Length, Reason, Ticket       string
	Lengths                      []string
	Wrong                        faults
	Key                          string
	ReasonLongest, TicketLongest int
}

// extend shows the form.
func (s *server) extend(w http.ResponseWriter, r *http.Request) {
	s.showExtend(w, r, http.StatusOK, url.Values{"for": {"15m"}}, faults{}, "")
}

func (s *server) showExtend(w http.ResponseWriter, r *http.Request, status int, form url.Values, wrong faults, alert string) {
	g, err := s.Broker.Grant(r.Context(), callerOf(r), r.PathValue("id"))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	l := lengthening{Grant: g, Length: form.Get("for"), Reason: form.Get("reason"), Ticket: form.Get("ticket"), Wrong: wrong, Key: newKey(), ReasonLongest: longestReason, TicketLongest: longestTicket}
	for _, d := range ladder {
		l.Lengths = append(l.Lengths, api.FormatDuration(d))
	}
	s.console(w, r, status, "extend", screen{Title: "More time on " + g.Resource, Here: "mine", Alert: alert, Data: l})
}

// extended asks for more time.
func (s *server) extended(w http.ResponseWriter, r *http.Request) {
	form, wrong := r.PostForm, faults{}
	d := span(form.Get("for"), wrong)
	reason, ticket := words(form, "reason", longestReason, wrong), words(form, "ticket", longestTicket, wrong)
	if len(wrong) > 0 {
		s.showExtend(w, r, http.StatusUnprocessableEntity, form, wrong, "Something cannot be read. Nothing was sent.")
		return
	}
	v, err := s.Broker.Extend(r.Context(), callerOf(r), r.PathValue("id"), d, reason, ticket, once(r, toRequest))
	if to, again := before(err); again {
		s.done(w, r, to)
		return
	}
	if err == nil {
		s.done(w, r, "/requests/"+v.ID)
		return
	}
	e, ok := refusalOf(err)
	if !ok || e.Kind == broker.NotFound {
		s.problem(w, r, err)
		return
	}
	alert := "This was refused. Nothing was sent."
	if !wrong.about(err) {
		alert = e.Message
	}
	s.showExtend(w, r, statusOf(e.Kind), form, wrong, alert)
}
