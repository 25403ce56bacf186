package forward

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/policy"
)

// deny answers an attempt that was not allowed. Answers are 401 and 403 alone:
// proxies make of others what they like.
func (s *server) deny(w http.ResponseWriter, r *http.Request, res *policy.Resource, action policy.Scope, err error) {
	var d *gateway.Denial
	if !errors.As(err, &d) || d.Status == gateway.Unavailable {
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // nobody is there to read it
		}
		s.Log.Error("forward-auth: a request could not be decided or recorded", "resource", res.ID, "err", err)
		s.refuse(w, r, http.StatusForbidden, "unavailable", "Nothing can be decided or recorded now, so nothing is allowed. Try again.")
		return
	}
	ask := s.PublicURL + "/request?resource=" + url.QueryEscape(res.ID)
	if action != nil {
		if role, ok := res.Narrowest(action); ok {
			ask += "&role=" + url.QueryEscape(role.Name)
		}
	}
	h := w.Header()
	h["Link"] = []string{"<" + ask + `>; rel="request-access"`}
	h["Daypass-Request-Url"] = []string{ask}
	if d.Status == gateway.Forbidden {
		h["Www-Authenticate"] = []string{`Bearer realm="daypass", error="insufficient_scope", error_description="the grant does not cover this request"`}
		s.refuse(w, r, http.StatusForbidden, "outside_scope", "This request is outside the grant: "+d.Reason+". Ask for access at "+ask+".")
		return
	}
	kind, why := "invalid_token", "the token is not good here"
	switch d.Why {
	case gateway.WhyNoToken:
		kind, why = "", "a grant token is needed"
	case gateway.WhyNotYet:
		why = "the grant starts at " + api.TimeOf(d.Grant.StartsAt).String()
	case gateway.WhyEnded:
		why = "the grant ended at " + api.TimeOf(d.EndedAt).String() + "; ask again"
	case gateway.WhyMalformed:
		why = "the token is not well-formed"
	}
	challenge := `Bearer realm="daypass"`
	if kind != "" {
		challenge += `, error="` + kind + `", error_description="` + why + `"`
	}
	h["Www-Authenticate"] = []string{challenge}
	s.refuse(w, r, http.StatusUnauthorized, "unauthenticated", "Not allowed: "+why+". Ask for access at "+ask+", then send the token as Authorization: Bearer dpgt_….")
}

// refuse writes a problem document. detail is ours: it never repeats what a
// client sent.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	body, err := json.Marshal(api.Problem{Type: "urn:daypass:problem:" + code, Title: http.StatusText(status), Status: status, Code: code, Detail: detail})
	if err != nil {
		panic(err) // it is all ours
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = problemType, noStore
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
