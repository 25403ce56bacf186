package web

import (
	"net/http"
	"slices"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// inboxPages bounds how many pages of pending requests are looked through for
// those that wait for the caller.
const inboxPages = 4

// due are the requests on which a vote of the caller would count now, the
// oldest first: it has waited for longest.
func (s *server) due(r *http.Request) ([]broker.View, error) {
	var out []broker.View
	for _, q := range []broker.RequestQuery{{Role: "reviewer", State: "pending"}, {Role: "reviewer", ReviewDue: true}} {
		q.Limit = 200
		for range inboxPages {
			views, next, err := s.Broker.Requests(r.Context(), callerOf(r), q)
			if err != nil {
				return nil, err
			}
			for _, v := range views {
				if slices.Contains(v.Actions, "approve") {
					out = append(out, v)
				}
			}
			if next == "" {
				break
			}
			q.Cursor = next
		}
	}
	slices.SortStableFunc(out, func(a, b broker.View) int { return a.CreatedAt.Compare(b.CreatedAt.Time) })
	return out, nil
}

func (s *server) inbox(w http.ResponseWriter, r *http.Request) {
	due, err := s.due(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	const most = 50
	s.console(w, r, http.StatusOK, "inbox", screen{Title: "Inbox", Here: "inbox", Live: true, Data: struct {
		Due  []broker.View
		More int
	}{due[:min(len(due), most)], max(0, len(due)-most)}})
}

// beside is what an approver is shown beside a request, of what they may see.
type beside struct {
	Holds  []broker.View // what else the requester holds
	Lately []broker.View // their last requests for this resource
}

func (s *server) beside(r *http.Request, v api.Request) (beside, error) {
	var b beside
	c := callerOf(r)
	holds, _, err := s.Broker.Requests(r.Context(), c, broker.RequestQuery{Requester: v.Requester, Running: true, Page: broker.Page{Limit: 20}})
	if err != nil {
		return b, err
	}
	lately, _, err := s.Broker.Requests(r.Context(), c, broker.RequestQuery{Requester: v.Requester, Resource: v.Resource, Page: broker.Page{Limit: 6}})
	if err != nil {
		return b, err
	}
	this := func(o broker.View) bool { return o.ID == v.ID }
	b.Holds, b.Lately = slices.DeleteFunc(holds, this), slices.DeleteFunc(lately, this)
	b.Lately = b.Lately[:min(len(b.Lately), 5)]
	return b, nil
}
