package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// ladder are the lengths that Request offers; another can be spelled.
var ladder = []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 24 * time.Hour, 72 * time.Hour}

// step is one length, and how it would be decided.
type step struct {
	Length, How string
	Decision    string
	Chosen      bool
}

// asking is Request as somebody fills it in.
type asking struct {
	Resource      api.Resource
	Role          string // "" for a scope of one's own
	Free          bool
	Scope         string
	Steps         []step
	Other         string // a length that is none of the steps
	Most          string // the longest that can be had, as far as is known
	Reason        string
	Ticket        string
	StartAt       string
	Offer         *api.BreakGlassOffer
	BreakGlass    bool
	Wrong         faults
	Key           string
	Decision      *api.Decision // of the preview
	Length        string
	Fields        map[string]string // all that was filled in, for the form that sends it
	ReasonLongest int
	TicketLongest int
}

// ask shows what one may ask for, or the form that asks for it.
func (s *server) ask(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("resource") == "" {
		s.find(w, r, strings.TrimSpace(q.Get("q")), "")
		return
	}
	form := url.Values{"resource": {q.Get("resource")}, "role": {q.Get("role")}, "for": {q.Get("for")}, "reason": {q.Get("reason")}, "ticket": {q.Get("ticket")}}
	a, ok := s.asking(w, r, form)
	if !ok {
		return
	}
	a.Wrong = faults{}
	s.showAsk(w, r, http.StatusOK, a, "")
}

// found is one resource in the list.
type found struct {
	api.Resource
	Roles []foundRole
}

type foundRole struct{ Name, How, Decision, Link string }

// find lists what one may ask for, by words that are in names, kinds, labels
// and roles.
func (s *server) find(w http.ResponseWriter, r *http.Request, search, alert string) {
	all, err := s.Broker.Resources(r.Context(), callerOf(r))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	const most = 100
	var hits []found
	for _, res := range all {
		if !matches(res, strings.Fields(strings.ToLower(search))) {
			continue
		}
		one := found{Resource: res}
		for _, role := range res.Roles {
			if role.Decision.Decision != "refused" {
				one.Roles = append(one.Roles, foundRole{role.Name, how(role.Decision), role.Decision.Decision, askLink(res.ID, role.Name, "")})
			}
		}
		if res.FreeScope {
			one.Roles = append(one.Roles, foundRole{"a scope of your own", "spelled as JSON", "review", askLink(res.ID, "", "") + "&free=1"})
		}
		hits = append(hits, one)
	}
	more := max(0, len(hits)-most)
	status := http.StatusOK
	if alert != "" {
		status = http.StatusNotFound
	}
	s.console(w, r, status, "find", screen{Title: "Request access", Here: "request", Alert: alert, Data: struct {
		Search string
		Hits   []found
		More   int
		None   bool // nothing at all may be asked for
	}{search, hits[:min(len(hits), most)], more, len(all) == 0}})
}

func matches(res api.Resource, words []string) bool {
	text := []string{res.ID, res.Kind}
	for k, v := range res.Labels {
		text = append(text, k+"="+v)
	}
	for _, role := range res.Roles {
		text = append(text, role.Name)
	}
	in := strings.ToLower(strings.Join(text, "\n"))
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(in, w) })
}

// asking reads the form as far as it can be read without judging it.
func (s *server) asking(w http.ResponseWriter, r *http.Request, form url.Values) (*asking, bool) {
	res, err := s.Broker.Resource(r.Context(), callerOf(r), form.Get("resource"))
	if err != nil {
		s.find(w, r, "", "You may not ask for “"+plainly(form.Get("resource"))+"”, or there is no such thing. Here is what you may ask for.")
		return nil, false
	}
	a := &asking{
		Resource: res, Role: form.Get("role"), Scope: form.Get("scope"), Reason: form.Get("reason"), Ticket: form.Get("ticket"), StartAt: form.Get("start_at"),
		BreakGlass: form.Get("break_glass") == "yes", Length: lengthIn(form), Wrong: faults{}, ReasonLongest: longestReason, TicketLongest: longestTicket,
	}
	a.Free = res.FreeScope && a.Role == "" && (form.Get("free") != "" || r.URL.Query().Get("free") != "" || len(res.Roles) == 0)
	gone := r.Method == http.MethodGet && !slices.ContainsFunc(res.Roles, func(role api.Role) bool { return role.Name == a.Role })
	if (a.Role == "" || gone) && !a.Free && len(res.Roles) > 0 {
		a.Role = likeliest(res.Roles)
	}
	if err := s.lengths(r, a); err != nil {
		s.problem(w, r, err)
		return nil, false
	}
	return a, true
}

// likeliest is the first role that is not refused.
func likeliest(roles []api.Role) string {
	for _, role := range roles {
		if role.Decision.Decision != "refused" {
			return role.Name
		}
	}
	return roles[0].Name
}

// lengths says how each length would be decided.
func (s *server) lengths(r *http.Request, a *asking) error {
	of := slices.Clone(ladder)
	i := slices.IndexFunc(a.Resource.Roles, func(role api.Role) bool { return role.Name == a.Role })
	var decisions []api.Decision
	if i >= 0 {
		a.Offer = a.Resource.Roles[i].Decision.BreakGlass
		if most := a.Resource.Roles[i].Decision.MaxDuration.Std(); most > 0 {
			a.Most = api.FormatDuration(most)
			if !slices.Contains(of, most) {
				of = append(of, most)
				slices.Sort(of)
			}
		}
		var err error
		if decisions, err = s.Broker.Lengths(r.Context(), callerOf(r), a.Resource.ID, a.Role, of); err != nil {
			return err
		}
	}
	known := false
	for n, d := range of {
		one := step{Length: api.FormatDuration(d), How: "see the preview", Decision: "review"}
		if decisions != nil {
			if decisions[n].Decision == "refused" {
				continue
			}
			one.How, one.Decision = how(decisions[n]), decisions[n].Decision
		}
		if one.Chosen = one.Length == a.Length; one.Chosen {
			known = true
		}
		a.Steps = append(a.Steps, one)
	}
	if a.Length != "" && !known {
		a.Other = a.Length
	}
	if a.Length == "" && len(a.Steps) > 0 {
		a.Steps[min(1, len(a.Steps)-1)].Chosen = true
	}
	return nil
}

func (s *server) showAsk(w http.ResponseWriter, r *http.Request, status int, a *asking, alert string) {
	a.Key = newKey()
	s.console(w, r, status, "ask", screen{Title: "Request " + a.Resource.ID, Here: "request", Alert: alert, Data: a})
}

// asked previews a request, sends it, or goes back to change it. The broker
// judges it each time.
func (s *server) askedFor(w http.ResponseWriter, r *http.Request) {
	a, ok := s.asking(w, r, r.PostForm)
	if !ok {
		return
	}
	step := r.PostForm.Get("step")
	if step == "change" || step == "role" {
		s.showAsk(w, r, http.StatusOK, a, "")
		return
	}
	sub := broker.Submission{Resource: a.Resource.ID, Role: a.Role, BreakGlass: a.BreakGlass}
	sub.Duration = span(a.Length, a.Wrong)
	sub.Reason, sub.Ticket = words(r.PostForm, "reason", longestReason, a.Wrong), words(r.PostForm, "ticket", longestTicket, a.Wrong)
	sub.StartAt = startIn(a.StartAt, a.Wrong)
	if a.Free {
		if sub.Scope = scopeIn(strings.TrimSpace(a.Scope), a.Wrong); sub.Scope == nil && a.Wrong["scope"] == "" {
			a.Wrong["scope"] = "Spell the scope that you need, or choose a role."
		}
	}
	if len(a.Wrong) > 0 {
		s.showAsk(w, r, http.StatusUnprocessableEntity, a, "Something is missing or cannot be read. Nothing was sent.")
		return
	}
	if step == "send" {
		s.send(w, r, a, sub)
		return
	}
	d, err := s.Broker.DryRun(r.Context(), callerOf(r), sub)
	if err != nil {
		s.notAsked(w, r, a, err)
		return
	}
	if d.Decision == "refused" {
		alert := "This would be refused: " + d.Explanation
		if d.Field != "" {
			a.Wrong[d.Field], alert = d.Explanation, "This would be refused. Nothing was sent."
		}
		s.showAsk(w, r, http.StatusUnprocessableEntity, a, alert)
		return
	}
	a.Decision, a.Key = &d, newKey()
	a.Fields = map[string]string{"resource": sub.Resource, "role": sub.Role, "for": a.Length, "reason": sub.Reason, "ticket": sub.Ticket, "start_at": a.StartAt, "key": a.Key}
	if a.Free {
		a.Fields["free"], a.Fields["scope"] = "1", a.Scope
	}
	if a.BreakGlass {
		a.Fields["break_glass"] = "yes"
	}
	s.console(w, r, http.StatusOK, "preview", screen{Title: "Send this request?", Here: "request", Data: a})
}

func (s *server) send(w http.ResponseWriter, r *http.Request, a *asking, sub broker.Submission) {
	v, err := s.Broker.Submit(r.Context(), callerOf(r), sub, once(r, toRequest))
	if to, again := before(err); again {
		s.done(w, r, to)
		return
	}
	if err != nil {
		s.notAsked(w, r, a, err)
		return
	}
	s.done(w, r, "/requests/"+v.ID)
}

// notAsked shows the form again with all that was in it, and why it was not
// taken.
func (s *server) notAsked(w http.ResponseWriter, r *http.Request, a *asking, err error) {
	e, ok := refusalOf(err)
	if !ok {
		s.problem(w, r, err)
		return
	}
	alert := "This was refused. Nothing was sent."
	if !a.Wrong.about(err) {
		alert = e.Message
	}
	s.showAsk(w, r, statusOf(e.Kind), a, alert)
}
