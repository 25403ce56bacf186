package oauth

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/signin"
)

const (
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"
	typeIDToken   = "urn:ietf:params:oauth:token-type:id_token"
)

// token is the token endpoint. Those who ask have no secret to prove themselves
// with, so there is no client authentication; whoever sends some is told so, and
// not let in by mistake.
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	w.Header()["Cache-Control"], w.Header()["Pragma"] = noStore, noCache
	if sent := r.Header["Authorization"]; len(sent) > 0 {
		// RFC 6749 section 5.2 wants the scheme that the client used.
		scheme := "Basic"
		if used, _, _ := strings.Cut(sent[0], " "); strings.EqualFold(used, "Bearer") {
			scheme = "Bearer"
		}
		w.Header().Set("WWW-Authenticate", scheme+` realm="daypass"`)
		refuse(w, http.StatusUnauthorized, "invalid_client", "send no client authentication: what you exchange is the proof")
		return
	}
	form, err := readForm(w, r)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	grant := form.one("grant_type")
	switch {
	case grant == "":
		refuse(w, http.StatusBadRequest, "invalid_request", "send grant_type="+strings.Join(s.grants(), " or "))
	case !slices.Contains(s.grants(), grant):
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "this server takes grant_type="+strings.Join(s.grants(), " or ")+" alone")
	case grant == grantExchange:
		s.exchange(w, r, form)
	case form.one("client_id") != signin.ClientID || form.one("client_secret") != "" || form.one("client_assertion") != "":
		refuse(w, http.StatusBadRequest, "invalid_client", "the one client of this grant is "+signin.ClientID+", which has no secret")
	case grant == grantCode:
		s.signInCode(w, r, form)
	default:
		s.signInDevice(w, r, form)
	}
}

// grants are the types of grants that the token endpoint takes; none: there is
// no token endpoint.
func (s *server) grants() []string {
	out := []string{}
	if s.SignIn != nil {
		out = append(out, grantCode, grantDevice)
	}
	if s.Exchange {
		out = append(out, grantExchange)
	}
	return out
}

// exchange answers RFC 8693: a job's token for a short API token of ours.
func (s *server) exchange(w http.ResponseWriter, r *http.Request, form parameters) {
	if code, why := s.unfit(form); code != "" {
		refuse(w, http.StatusBadRequest, code, why)
		return
	}
	made, err := s.Broker.Exchange(r.Context(), identity.Caller{IP: s.PeerIP(r), Channel: "api"}, form.one("subject_token"))
	switch {
	case broker.SubjectTokenRefused(err):
		if wait := s.Failure(r); wait > 0 {
			w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
			refuse(w, http.StatusTooManyRequests, "temporarily_unavailable", "too many tokens from this address were not accepted; a good one is at any time")
			return
		}
		// RFC 8693 section 2.2.2: whatever is wrong with it.
		refuse(w, http.StatusBadRequest, "invalid_request", "the subject token was not accepted; the server's record says why")
	case err != nil:
		s.fail(w, r, err)
	default:
		s.answerToken(w, made)
	}
}

func (s *server) answerToken(w http.ResponseWriter, made broker.Exchanged) {
	w.Header()["Content-Type"] = jsonType
	b := quote([]byte(`{"access_token":`), made.Token.Reveal())
	b = append(b, `,"issued_token_type":"`+typeAccess+`","token_type":"Bearer","expires_in":`...)
	b = strconv.AppendInt(b, int64(made.Lasts/time.Second), 10) // rounded down
	_, _ = w.Write(append(b, "}\n"...))
}

// unfit says what of a form is not what RFC 8693 section 2.1 and this server
// take, in the codes of RFC 6749 section 5.2 and RFC 8693 section 2.2.2.
func (s *server) unfit(f parameters) (code, why string) {
	// A parameter that would narrow or bind the token must not be passed over as
	// one that is not known may be.
	for _, p := range []struct{ name, code, why string }{
		{"client_secret", "invalid_client", "send no client authentication: the subject token is the proof"},
		{"client_assertion", "invalid_client", "send no client authentication: the subject token is the proof"},
		{"actor_token", "invalid_request", "there is no delegation here: send no actor_token"},
		{"actor_token_type", "invalid_request", "there is no delegation here: send no actor_token_type"},
		{"authorization_details", "invalid_authorization_details", "the token says who asks; what is asked for goes to /v1/requests"},
		{"scope", "invalid_scope", "tokens have no scope here: what is asked for goes to /v1/requests"},
	} {
		if f.one(p.name) != "" {
			return p.code, p.why
		}
	}
	switch {
	case f.one("subject_token") == "":
		return "invalid_request", "send the job's token as subject_token"
	case f.one("subject_token_type") != typeJWT && f.one("subject_token_type") != typeIDToken:
		return "invalid_request", "send subject_token_type=" + typeJWT
	case f.one("requested_token_type") != "" && f.one("requested_token_type") != typeAccess:
		return "invalid_request", "requested_token_type can be " + typeAccess + " alone"
	}
	for _, target := range slices.Concat(f["resource"], f["audience"]) {
		if strings.TrimRight(target, "/") != s.Issuer {
			return "invalid_target", "the token is for this server, " + s.Issuer + ", alone"
		}
	}
	return "", ""
}

// parameters are those of a form that have a value (RFC 6749 section 3.2).
type parameters map[string][]string

func (p parameters) one(name string) string {
	if v := p[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// maxParameters bounds a form: there are some dozen that mean anything.
const maxParameters = 64

var errMany = errors.New("the form has too many parameters")

// readForm reads a whole form. resource and audience may occur more than once
// (RFC 8693 section 2.1), all else may not.
func readForm(w http.ResponseWriter, r *http.Request) (parameters, error) {
	body, err := readBody(w, r, new([]byte))
	if err != nil {
		return nil, err
	}
	out, count := parameters{}, 0
	for form := body; form != ""; {
		var pair string
		pair, form, _ = strings.Cut(form, "&")
		if pair == "" {
			continue
		}
		if count++; count > maxParameters {
			return nil, errMany
		}
		name, value, _ := strings.Cut(pair, "=")
		if name, err = unescape(name); err != nil {
			return nil, err
		}
		if value, err = unescape(value); err != nil {
			return nil, err
		}
		if value == "" {
			continue // as if it were not there
		}
		if len(out[name]) > 0 && name != "resource" && name != "audience" {
			return nil, errTwice
		}
		out[name] = append(out[name], value)
	}
	return out, nil
}
