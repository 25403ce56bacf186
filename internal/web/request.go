package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// shownRequest is all of one request, with the forms that its actions allow.
type shownRequest struct {
	broker.View
	Mine     bool
	Votes    bool // the caller's vote would count now
	Cancels  bool
	Beside   beside
	Shorter  []string // lengths that an approver may cut it to
	Moments  []moment
	Comment  string
	Cut      string // the length that was chosen
	Wrong    faults
	Longest  int
	Key      string
	Reach    []row
	Asked    []row
	Sentence string // what would really be reached, in one sentence
}

// Has reports whether the caller may do something with the request or its grant.
func (v shownRequest) Has(action string) bool { return slices.Contains(v.Actions, action) }

// request shows one request.
func (s *server) request(w http.ResponseWriter, r *http.Request) {
	v, err := s.Broker.Request(r.Context(), callerOf(r), r.PathValue("id"))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.showRequest(w, r, http.StatusOK, shownRequest{View: v}, "")
}

func (s *server) showRequest(w http.ResponseWriter, r *http.Request, status int, v shownRequest, alert string) {
	v.Mine, v.Votes, v.Cancels = v.Requester == callerOf(r).Principal, v.Has("approve"), v.Has("cancel")
	v.Longest, v.Key = longestComment, newKey()
	if v.Wrong == nil {
		v.Wrong = faults{}
	}
	v.Asked = rows(v.Scope)
	v.Reach, v.Sentence = reach(v.Target)
	for _, d := range ladder {
		if d < v.Duration.Std() {
			v.Shorter = append(v.Shorter, api.FormatDuration(d))
		}
	}
	slices.Reverse(v.Shorter)
	var err error
	if v.Votes {
		if v.Beside, err = s.beside(r, v.Request); err != nil {
			s.problem(w, r, err)
			return
		}
	}
	if v.Moments, err = s.moments(r, v.View); err != nil {
		s.problem(w, r, err)
		return
	}
	title, here := "Request for "+v.Resource, ""
	if v.Votes {
		here = "inbox"
	} else if v.Mine {
		here = "mine"
	}
	// A page on which somebody decides is not changed under their finger.
	s.console(w, r, status, "request", screen{Title: title, Here: here, Alert: alert, Live: !v.Votes, Data: v})
}

// reviewed casts a vote on what the page showed: its hash came with the form.
func (s *server) reviewed(w http.ResponseWriter, r *http.Request) {
	form, wrong := r.PostForm, faults{}
	vote := broker.Vote{Decision: form.Get("decision"), ContentHash: form.Get("content_hash"), Comment: words(form, "comment", longestComment, wrong)}
	if vote.Decision != "approve" && vote.Decision != "deny" {
		s.problem(w, r, &broker.Error{Kind: broker.Malformed, Message: "This form says neither yes nor no. Open the request again and decide there."}, way{"Open the request", "/requests/" + r.PathValue("id")})
		return
	}
	if cut := form.Get("shorter"); cut != "" && vote.Decision == "approve" {
		vote.Duration = span(cut, wrong)
	}
	if len(wrong) > 0 {
		s.notReviewed(w, r, http.StatusUnprocessableEntity, wrong, "Something cannot be read. Nothing was decided.")
		return
	}
	if _, err := s.Broker.Review(r.Context(), callerOf(r), r.PathValue("id"), vote, nil); err != nil {
		e, ok := refusalOf(err)
		if !ok || e.Kind == broker.NotFound {
			s.problem(w, r, err)
			return
		}
		s.notReviewed(w, r, statusOf(e.Kind), wrong, "Nothing was decided by you. "+e.Message)
		return
	}
	s.done(w, r, "/requests/"+r.PathValue("id"))
}

// notReviewed shows the request as it is now, with what was written, and why
// the vote was not taken.
func (s *server) notReviewed(w http.ResponseWriter, r *http.Request, status int, wrong faults, alert string) {
	v, err := s.Broker.Request(r.Context(), callerOf(r), r.PathValue("id"))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.showRequest(w, r, status, shownRequest{View: v, Wrong: wrong, Comment: r.PostForm.Get("comment"), Cut: r.PostForm.Get("shorter")}, alert)
}

// cancelled takes a request back.
func (s *server) cancelled(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if _, err := s.Broker.Cancel(r.Context(), callerOf(r), id); err != nil {
		e, ok := refusalOf(err)
		if !ok || e.Kind == broker.NotFound {
			s.problem(w, r, err)
			return
		}
		s.notReviewed(w, r, statusOf(e.Kind), nil, "It was not cancelled. "+e.Message)
		return
	}
	s.done(w, r, "/requests/"+id)
}

// refusalOf is an error of the broker that says what the caller did wrong.
func refusalOf(err error) (*broker.Error, bool) {
	var e *broker.Error
	return e, errors.As(err, &e) && e.Kind != broker.Unauthorized
}

// moment is one line of a timeline.
type moment struct {
	At               api.Time
	What, Who, Words string
	Erased           bool
	Tone             string // good, bad or ""
}

// moments are the timeline of a request: for auditors the entries of the record,
// for others what the request itself tells.
func (s *server) moments(r *http.Request, v broker.View) ([]moment, error) {
	c := callerOf(r)
	me, err := s.Broker.Me(r.Context(), c)
	if err != nil {
		return nil, err
	}
	if !me.Auditor && !me.Admin {
		return told(v, s.Now()), nil
	}
	events, older, err := s.Broker.Events(r.Context(), c, broker.EventQuery{Request: v.ID, Page: broker.Page{Limit: 200}})
	if err != nil {
		return nil, err
	}
	var out []moment
	for _, e := range events {
		m := moment{At: e.Time, What: strings.NewReplacer(".", " ", "_", " ").Replace(e.Type), Who: e.Actor}
		if e.Reason != nil {
			m.Words = *e.Reason
		}
		if e.Outcome != "allowed" {
			m.Tone = "bad"
			m.What += " (" + e.Outcome + ")"
		}
		out = append(out, m)
	}
	slices.Reverse(out)
	if older != "" {
		// Uses of a credential are entries too: the decision must not be lost
		// behind them.
		out = append(append(told(v, s.Now()), moment{At: out[0].At, What: "the last 200 entries of the record; it has more"}), out...)
	}
	return out, nil
}

// told is what a request tells of itself.
func told(v broker.View, now time.Time) []moment {
	out := []moment{{At: v.CreatedAt, What: "asked", Who: v.Requester}}
	for _, vote := range v.Reviews {
		m := moment{At: vote.At, What: "approved", Who: vote.By, Words: vote.Comment, Erased: vote.Erased, Tone: "good"}
		if vote.Decision == "deny" {
			m.What, m.Tone = "denied", "bad"
		}
		if vote.Stage != "" {
			m.What += " in stage " + vote.Stage
		}
		if vote.Duration != nil {
			m.What += ", for " + vote.Duration.String()
		}
		out = append(out, m)
	}
	if v.DecidedAt != nil {
		out = append(out, moment{At: *v.DecidedAt, What: stateWord(v.State), Who: v.DecidedBy, Tone: map[string]string{"approved": "good", "denied": "bad"}[v.State]})
	}
	if g := v.Grant; g != nil && v.Extends == "" {
		if g.StartsAt.Before(now) && g.State != "scheduled" {
			out = append(out, moment{At: g.StartsAt, What: "access began", Tone: "good"})
		}
		if g.EndedAt != nil {
			what := "access ended"
			if g.EndedReason != nil {
				what += ": " + *g.EndedReason
			}
			out = append(out, moment{At: *g.EndedAt, What: what})
		}
	}
	slices.SortStableFunc(out, func(a, b moment) int { return a.At.Compare(b.At.Time) })
	return out
}
