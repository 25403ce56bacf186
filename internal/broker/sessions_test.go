package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// gateways stands for what runs through all gateways.
type gateways []api.Session

func (g gateways) Sessions() []api.Session {
	var out []api.Session
	for _, s := range g {
		s.Recent = nil
		out = append(out, s)
	}
	return out
}

func (g gateways) Watch(id string) (api.Session, bool) {
	for _, s := range g {
		if s.ID == id {
			return s, true
		}
	}
	return api.Session{}, false
}

func (gateways) Kill(string) bool { return true }

// What is done under a grant is for the grantee and whose the grantee is, the
// owners of the resource, auditors and admins. Approvers know that there is a
// session, since they may end it, and not what it does; to all others there is
// none.
func TestWhoMayWatchASession(t *testing.T) {
	inWorld(t, func(w *world) {
		var running gateways
		for _, who := range []string{"user:ana", "service:ci"} {
			v := w.mustSubmit(who, "write", time.Minute)
			w.mustVote("user:bo", v, "approve")
			v = w.mustVote("user:cy", v, "approve")
			running = append(running, api.Session{
				ID: "ses_" + who, Request: v.ID, Grant: v.Grant.ID, Principal: who, Resource: "orders", Doing: "select " + who, Statements: 1,
				Recent: []api.SessionStatement{{N: 1, SQL: "select " + who}},
			})
		}
		w.UseSessions(running)
		const (
			nothing = iota
			knows
			watches
		)
		looked := 0
		for who, may := range map[string][2]int{
			"user:ana": {watches, watches}, "service:ci": {nothing, watches}, "user:cy": {watches, watches}, "user:aud": {watches, watches}, "user:ada": {watches, watches},
			"user:bo": {knows, knows}, "user:ben": {knows, knows}, "user:ana2": {knows, knows}, "user:dee": {nothing, nothing}, "service:orders": {nothing, nothing}, "user:nobody": {nothing, nothing},
		} {
			list, err := w.Sessions(context.Background(), as(who))
			must(t, err)
			listed := map[string]api.Session{}
			for _, s := range list {
				if s.Recent != nil {
					t.Errorf("the list has statements: %+v", s)
				}
				listed[s.ID] = s
			}
			for i, s := range running {
				looked++
				got, ok := listed[s.ID]
				if ok != (may[i] >= knows) || ok && (got.Doing == s.Doing) != (may[i] == watches) {
					t.Errorf("%s, %s: %t %+v", who, s.ID, ok, got)
				}
				one, err := w.Session(context.Background(), as(who), s.ID)
				var e *broker.Error
				switch {
				case may[i] == watches:
					if err != nil || len(one.Recent) != 1 || one.Doing != s.Doing {
						t.Errorf("%s, %s: %+v %v", who, s.ID, one, err)
					}
				case !errors.As(err, &e) || e.Kind != broker.NotFound || one.ID != "":
					t.Errorf("%s, %s: %+v %v, want that there is none", who, s.ID, one, err)
				}
			}
			if _, err := w.Session(context.Background(), as(who), "ses_unknown"); err == nil {
				t.Errorf("%s was shown a session that there is not", who)
			}
		}
		if looked != 22 {
			t.Fatalf("%d were looked at", looked)
		}
	})
}
