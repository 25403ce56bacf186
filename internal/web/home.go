package web

import (
	"net/http"
	"slices"

	"github.com/daypass/daypass/internal/broker"
)

// mine shows what the caller holds, what waits, and what was lately.
func (s *server) mine(w http.ResponseWriter, r *http.Request) {
	c := callerOf(r)
	list := func(q broker.RequestQuery) ([]broker.View, error) {
		views, _, err := s.Broker.Requests(r.Context(), c, q)
		return views, err
	}
	live, err := list(broker.RequestQuery{Role: "requester", Running: true, Page: broker.Page{Limit: 50}})
	if err != nil {
		s.problem(w, r, err)
		return
	}
	waiting, err := list(broker.RequestQuery{Role: "requester", State: "pending", Page: broker.Page{Limit: 50}})
	if err != nil {
		s.problem(w, r, err)
		return
	}
	lately, err := list(broker.RequestQuery{Role: "requester", Page: broker.Page{Limit: 12}})
	if err != nil {
		s.problem(w, r, err)
		return
	}
	inbox, err := s.due(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	shown := map[string]bool{}
	for _, v := range slices.Concat(live, waiting) {
		shown[v.ID] = true
	}
	lately = slices.DeleteFunc(lately, func(v broker.View) bool { return shown[v.ID] })
	key := newKey()
	s.console(w, r, http.StatusOK, "mine", screen{Title: "My access", Here: "mine", Live: true, Data: struct {
		Live, Waiting, Lately []broker.View
		Inbox                 int
		Key                   string
	}{live, waiting, lately, len(inbox), key}})
}
