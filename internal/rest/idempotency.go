package rest

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// once reads the Idempotency-Key of a call. With one, the broker keeps the
// reply in the commit of what the call did. The digest covers the bytes of the
// body and the query; the route is the path itself, so that one key names one
// call on one object.
func once[R any](c *call, raw []byte, show func(*call, R) answer) (*broker.Once, error) {
	key, err := idempotencyKey(c.r.Header.Values("Idempotency-Key"))
	if key == "" || err != nil {
		return nil, err
	}
	digest := sha256.New()
	digest.Write([]byte(c.r.URL.RawQuery))
	digest.Write([]byte{0})
	digest.Write(raw)
	o := &broker.Once{Route: c.r.Method + " " + c.r.URL.Path, Key: key}
	digest.Sum(o.Body[:0])
	o.Encode = func(result any, err error) broker.Reply { return keep(c, result, err, show) }
	return o, nil
}

// keep encodes an outcome as it is kept. What cannot be encoded is a 500, which
// is not kept.
func keep[R any](c *call, result any, err error, show func(*call, R) answer) broker.Reply {
	if err != nil {
		p, _ := problemOf(err)
		body, _ := encode(p.Problem)
		return broker.Reply{Status: p.Status, Body: body}
	}
	r, known := withoutSecret(result).(R)
	if !known {
		return broker.Reply{Status: http.StatusInternalServerError}
	}
	a := show(c, r)
	body, err := encode(a.body)
	if err != nil {
		return broker.Reply{Status: http.StatusInternalServerError}
	}
	return broker.Reply{Status: a.status, Location: a.location, Body: body}
}

// withoutSecret is a result as it may be kept: a secret is shown once (Invariant
// A21), whatever the broker hands over here.
func withoutSecret(result any) any {
	switch r := result.(type) {
	case api.Credential:
		r.Secret = nil
		return r
	case api.Token:
		r.Secret = nil
		return r
	}
	return result
}

// idempotencyKey is the key of a call, "" for none: 1 to 255 visible ASCII
// characters, bare or as a structured-field string in quotes.
func idempotencyKey(headers []string) (string, error) {
	bad := malformed("header.Idempotency-Key", "Idempotency-Key is one value of 1 to 255 visible ASCII characters.")
	switch len(headers) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", bad
	}
	key := strings.Trim(headers[0], " \t")
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	if key == "" || len(key) > 255 || !visible(key) || strings.ContainsAny(key, `"\`) {
		return "", bad
	}
	return key, nil
}

// replay sends a kept reply again, byte for byte.
func (s *server) replay(w http.ResponseWriter, r *http.Request, kept broker.Reply) {
	h := w.Header()
	h.Set("Idempotency-Replayed", "true")
	if kept.Status == http.StatusAccepted {
		h.Set("Retry-After", seconds(pollAfter))
	}
	var p struct {
		AccessRequest *struct {
			Body struct{ Resource, Role string } `json:"body"`
		} `json:"access_request"`
	}
	if kept.Status >= 400 && json.Unmarshal(kept.Body, &p) == nil && p.AccessRequest != nil {
		h.Add("Link", "<"+s.requestPage(p.AccessRequest.Body.Resource, p.AccessRequest.Body.Role)+`>; rel="request-access"`)
	}
	if kept.Status < 200 || kept.Status > 599 {
		s.log.Error("kept reply has no status", "route", r.Pattern, "status", strconv.Itoa(kept.Status))
		kept = broker.Reply{Status: http.StatusInternalServerError}
	}
	s.send(w, r, kept.Status, kept.Location, kept.Body)
}
