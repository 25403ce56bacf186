package oauth

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/signin"
)

const (
	grantCode   = "authorization_code"
	grantDevice = "urn:ietf:params:oauth:grant-type:device_code"
)

// SignIn hands the login of a person on to a command line.
type SignIn struct {
	Codes   *signin.Codes
	Devices *signin.Devices
	// Login makes the login, and End ends one.
	Login func(ctx context.Context, c identity.Caller, label, ip string) (broker.LoggedIn, error)
	End   func(ctx context.Context, c identity.Caller, id string) error
}

// deviceAuthorization answers RFC 8628 section 3.1. Anybody may ask: what is
// made waits, bounded, until a person who is logged in types its code.
func (s *server) deviceAuthorization(w http.ResponseWriter, r *http.Request) {
	w.Header()["Cache-Control"], w.Header()["Pragma"] = noStore, noCache
	form, err := readForm(w, r)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	case form.one("client_id") != signin.ClientID:
		refuse(w, http.StatusBadRequest, "invalid_client", "the one client of this endpoint is "+signin.ClientID)
		return
	case form.one("scope") != "":
		refuse(w, http.StatusBadRequest, "invalid_scope", "logins have no scope here")
		return
	}
	code, device, err := s.SignIn.Devices.Start(label(form.one("device_name")), s.PeerIP(r))
	if err != nil {
		w.Header().Set("Retry-After", "60")
		refuse(w, http.StatusTooManyRequests, "temporarily_unavailable", "too many command lines wait for somebody; try again in a minute")
		return
	}
	w.Header()["Content-Type"] = jsonType
	b := quote([]byte(`{"device_code":`), code)
	b = quote(append(b, `,"user_code":`...), device.UserCode)
	// Without verification_uri_complete: a code that nobody has to type is one
	// that an attacker sends in a link (OID-05).
	b = quote(append(b, `,"verification_uri":`...), s.Issuer+"/device")
	b = strconv.AppendInt(append(b, `,"expires_in":`...), int64(signin.DeviceFor/time.Second), 10)
	b = strconv.AppendInt(append(b, `,"interval":`...), int64(signin.Interval/time.Second), 10)
	_, _ = w.Write(append(b, "}\n"...))
}

// label is what a command line says of itself; people are told that it is that.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	if len(s) > 60 {
		s = s[:60]
	}
	return s
}

// signInCode answers RFC 6749 section 4.1.3 with RFC 7636 section 4.5.
func (s *server) signInCode(w http.ResponseWriter, r *http.Request, form parameters) {
	code, redirect, verifier := form.one("code"), form.one("redirect_uri"), form.one("code_verifier")
	if code == "" || redirect == "" || verifier == "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "send code, redirect_uri and code_verifier")
		return
	}
	got, stolen, err := s.SignIn.Codes.Redeem(code, redirect, verifier)
	if err != nil {
		if stolen != "" {
			s.endStolen(r, got, stolen)
		}
		s.badCode(w, r, "the code is not one, was used, is too old, or was made for another client")
		return
	}
	made, err := s.SignIn.Login(r.Context(), got.Caller, got.Label, s.PeerIP(r))
	if err != nil {
		s.notMade(w, r, err)
		return
	}
	if s.SignIn.Codes.Became(code, made.ID) {
		s.endStolen(r, got, made.ID)
		s.badCode(w, r, "the code was used twice")
		return
	}
	s.answerLogin(w, made)
}

// endStolen ends the login that came of a code that two had.
func (s *server) endStolen(r *http.Request, got signin.Code, login string) {
	if err := s.SignIn.End(r.Context(), got.Caller, login); err != nil {
		s.Log.Warn("a login whose code was used twice could not be ended", "login", login, "error", err)
	}
}

// signInDevice answers RFC 8628 section 3.4.
func (s *server) signInDevice(w http.ResponseWriter, r *http.Request, form parameters) {
	code := form.one("device_code")
	if code == "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "send device_code")
		return
	}
	by, device, err := s.SignIn.Devices.Poll(code)
	switch {
	case errors.Is(err, signin.ErrPending):
		refuse(w, http.StatusBadRequest, "authorization_pending", "nobody has typed the code yet")
	case errors.Is(err, signin.ErrSlowDown):
		refuse(w, http.StatusBadRequest, "slow_down", "ask less often: five seconds more between two tries")
	case errors.Is(err, signin.ErrExpired):
		refuse(w, http.StatusBadRequest, "expired_token", "the code is too old; begin again")
	case errors.Is(err, signin.ErrDenied):
		refuse(w, http.StatusBadRequest, "access_denied", "it was refused in the browser")
	case err != nil:
		s.badCode(w, r, "the code is not one, or was used")
	default:
		made, err := s.SignIn.Login(r.Context(), by, device.Label, device.IP)
		if err != nil {
			s.notMade(w, r, err)
			return
		}
		s.answerLogin(w, made)
	}
}

// badCode counts a wrong code like a wrong token.
func (s *server) badCode(w http.ResponseWriter, r *http.Request, why string) {
	if wait := s.Failure(r); wait > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
		refuse(w, http.StatusTooManyRequests, "temporarily_unavailable", "too many wrong codes came from this address")
		return
	}
	refuse(w, http.StatusBadRequest, "invalid_grant", why)
}

// notMade answers where the browser that said yes is logged in no longer.
func (s *server) notMade(w http.ResponseWriter, r *http.Request, err error) {
	var refused *broker.Error
	if errors.As(err, &refused) && refused.Kind != broker.Unavailable {
		refuse(w, http.StatusBadRequest, "invalid_grant", "the browser that agreed is logged in no longer")
		return
	}
	s.fail(w, r, err)
}

func (s *server) answerLogin(w http.ResponseWriter, made broker.LoggedIn) {
	w.Header()["Content-Type"] = jsonType
	b := quote([]byte(`{"access_token":`), made.Secret)
	b = strconv.AppendInt(append(b, `,"token_type":"Bearer","expires_in":`...), max(int64(time.Until(made.ExpiresAt.Time)/time.Second), 0), 10)
	_, _ = w.Write(append(b, "}\n"...))
}
