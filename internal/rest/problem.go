package rest

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// fault is a refusal by this package itself, before the broker is asked.
type fault struct {
	status int
	code   string
	detail string
	fields []api.FieldProblem
	retry  time.Duration
}

func (f *fault) Error() string { return f.code + ": " + f.detail }

// malformed is a call whose shape is wrong: 400.
func malformed(location, detail string) *fault {
	return &fault{status: http.StatusBadRequest, code: "malformed", detail: detail,
		fields: []api.FieldProblem{{Location: location, Message: strings.TrimSuffix(detail, ".")}}}
}

// unsupported is a body of another type: 415.
func unsupported(detail string) *fault {
	return &fault{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type", detail: detail}
}

// invalid is a well-formed call with wrong values: 422.
func invalid(wrong []api.FieldProblem) *fault {
	return &fault{status: http.StatusUnprocessableEntity, code: "invalid_field", fields: wrong,
		detail: wrong[0].Location + " " + wrong[0].Message + "."}
}

// statuses maps the broker's kinds of errors, once.
var statuses = map[broker.Kind]int{
	broker.Invalid:      http.StatusUnprocessableEntity,
	broker.Forbidden:    http.StatusForbidden,
	broker.NotFound:     http.StatusNotFound,
	broker.Conflict:     http.StatusConflict,
	broker.Precondition: http.StatusPreconditionFailed,
	broker.TooMany:      http.StatusTooManyRequests,
	broker.Unavailable:  http.StatusServiceUnavailable,
	broker.Unauthorized: http.StatusUnauthorized,
	broker.Malformed:    http.StatusBadRequest,
}

// refusal is a problem document and the headers that go with it.
type refusal struct {
	api.Problem
	retry time.Duration
}

// problemOf turns any error into what its caller may read of it, and reports
// whether it was foreseen. Of an error that was not, only a reference is shown.
func problemOf(err error) (refusal, bool) {
	var (
		face    *fault
		refused *broker.Error
		catalog *broker.CatalogError
	)
	switch {
	case errors.As(err, &face):
		return refusal{problem(face.status, face.code, face.detail, face.fields), face.retry}, true
	case errors.As(err, &catalog):
		return refusal{problem(http.StatusUnprocessableEntity, "invalid_catalog", "The catalog has errors; nothing was changed.", positions(catalog.Problems)), 0}, true
	case errors.As(err, &refused):
		status, known := statuses[refused.Kind]
		if !known {
			break
		}
		p := problem(status, refused.Code, refused.Message, nil)
		if refused.Field != "" {
			p.Errors = []api.FieldProblem{{Location: refused.Field, Message: refused.Message}}
		}
		p.AccessRequest = refused.Hint
		return refusal{p, refused.RetryAfter}, true
	case errors.Is(err, context.DeadlineExceeded):
		return refusal{problem(http.StatusServiceUnavailable, "timeout", "This took too long and was given up. Ask again.", nil), pollAfter}, true
	case errors.Is(err, context.Canceled):
		return refusal{problem(http.StatusServiceUnavailable, "stopping", "The server is stopping. Ask again.", nil), pollAfter}, true
	}
	return refusal{problem(http.StatusInternalServerError, "internal", "Something failed inside. Reference "+incident()+" finds it in the server's log.", nil), 0}, false
}

func problem(status int, code, detail string, fields []api.FieldProblem) api.Problem {
	if code == "" {
		code = strings.ToLower(strings.ReplaceAll(http.StatusText(status), " ", "_"))
	}
	return api.Problem{Type: "urn:daypass:problem:" + code, Title: title(code), Status: status, Detail: detail, Code: code, Errors: fields}
}

// positions writes the problems of a catalog as field problems: body:12:5 is
// line 12, column 5.
func positions(found []api.CatalogProblem) []api.FieldProblem {
	out := make([]api.FieldProblem, len(found))
	for i, p := range found {
		out[i] = api.FieldProblem{Location: fmt.Sprintf("body:%d:%d", p.Line, p.Column), Message: p.Message}
	}
	return out
}

// incident names one failure in the log.
func incident() string {
	var b [10]byte
	rand.Read(b[:])
	return "err_" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// fail is the one place that answers errors.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var replayed *broker.Replayed
	if errors.As(err, &replayed) {
		s.replay(w, r, replayed.Reply)
		return
	}
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody is there to read it
	}
	p, foreseen := problemOf(err)
	if !foreseen {
		s.log.Error("call failed", "method", r.Method, "route", r.Pattern, "detail", p.Detail, "error", err)
	}
	s.refuse(w, r, p)
}

// refuse writes a problem document.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, p refusal) {
	h := w.Header()
	if p.retry > 0 {
		h.Set("Retry-After", seconds(p.retry))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", Challenge(r, p.Detail))
	}
	if p.AccessRequest != nil {
		h.Add("Link", "<"+s.requestPage(p.AccessRequest.Body.Resource, p.AccessRequest.Body.Role)+`>; rel="request-access"`)
	}
	body, err := encode(p.Problem)
	if err != nil {
		s.log.Error("problem not encoded", "error", err)
		body = []byte(`{"type":"urn:daypass:problem:internal","title":"Internal error","status":500,"detail":"","code":"internal"}` + "\n")
		p.Status = http.StatusInternalServerError
	}
	s.send(w, r, p.Status, "", body)
}

// requestPage is where a person reads how to ask for a resource.
func (s *server) requestPage(resource, role string) string {
	q := url.Values{"resource": {resource}}
	if role != "" {
		q.Set("role", role)
	}
	return s.public + "/request?" + q.Encode()
}

// title is the human name of a code.
func title(code string) string {
	if t, ok := titles[code]; ok {
		return t
	}
	t := strings.ReplaceAll(code, "_", " ")
	return strings.ToUpper(t[:1]) + t[1:]
}

var titles = map[string]string{
	"already_decided":        "Already decided",
	"already_voted":          "Already voted",
	"audit_unavailable":      "Nothing can be recorded now, so nothing is done",
	"body_too_large":         "The body is too long",
	"catalog_changed":        "Somebody else changed the catalog",
	"catalog_is_a_file":      "The catalog is a file",
	"content_changed":        "The request is not what was shown",
	"cross_site":             "Refused: this came from another site",
	"denied_by_guardrail":    "A guardrail denies this",
	"forbidden":              "Not permitted",
	"idempotency_key_reused": "This key named another call",
	"internal":               "Internal error",
	"invalid_catalog":        "The catalog has errors",
	"invalid_field":          "A value is not accepted",
	"issuing_off":            "Issuing is switched off",
	"malformed":              "The call is malformed",
	"misdirected":            "This server does not answer for that host",
	"not_an_approver":        "Not an approver of this request",
	"not_active":             "The grant is not active",
	"not_requestable":        "This cannot be requested",
	"self_approval":          "Nobody approves their own access",
	"stage_not_open":         "That stage is not open",
	"stopping":               "The server is stopping",
	"still_in_review":        "Reviewers still have to read it",
	"storage_full":           "The disk is nearly full",
	"storage_slow":           "The disk does not keep up",
	"timeout":                "Took too long",
	"too_many_failures":      "Too many wrong tokens",
	"too_many_pending":       "Too much is pending",
	"unauthorized":           "A valid token is needed",
}
