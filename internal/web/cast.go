package web

import (
	"net/http"
	"slices"

	"github.com/daypass/daypass/internal/broker"
)

// Cast are the people of a server for trying things.
type Cast struct {
	Issuer string // by which the catalog knows them
	People []Somebody
}

// Somebody is one of a cast.
type Somebody struct {
	Subject string // at the issuer
	ID      string // the principal
	What    string // who this is
}

// loginAs logs the browser in as one of the cast, who proves nothing. It is a
// form like any other: a page of another site cannot send it.
func (s *server) loginAs(w http.ResponseWriter, r *http.Request) {
	as := r.PostForm.Get("as")
	if s.Cast == nil || !slices.ContainsFunc(s.Cast.People, func(p Somebody) bool { return p.Subject == as }) {
		s.fail(w, http.StatusNotFound, "There is no such page", "Open "+s.PublicURL+"/login and choose there.")
		return
	}
	made, err := s.Broker.LogIn(r.Context(), broker.Arrival{
		Issuer: s.Cast.Issuer, Subject: as, Label: browserName(r.UserAgent()), IP: s.PeerIP(r), Replaces: s.cookies.Value(r, ""),
	})
	if err != nil {
		s.refused(w, err)
		return
	}
	s.letIn(w, r, made, r.PostForm.Get("return_to"))
}
