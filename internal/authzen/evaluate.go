package authzen

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

// The ways to answer several questions (evaluations_semantic).
const (
	executeAll     = "execute_all"
	untilDeny      = "deny_on_first_deny"
	untilPermit    = "permit_on_first_permit"
	reasonReview   = "approval_required" // it may be asked for; people decide
	reasonAsk      = "request_required"  // it may be asked for; a policy decides at once
	codeBadRequest = "invalid_request"
)

// evaluation answers one question. The caller is known before the body is read.
func (s *server) evaluation(w http.ResponseWriter, r *http.Request) {
	caller, b, _, ok := s.open(w, r, maxBody)
	if !ok {
		return
	}
	s.answerOne(w, r, caller, b.item)
}

// open finds out who calls and what they ask; where ok is false it has answered.
func (s *server) open(w http.ResponseWriter, r *http.Request, limit int64) (caller identity.Caller, b batch, batched, ok bool) {
	caller, err := s.Caller(r)
	if err != nil {
		s.fail(w, r, err)
		return caller, b, false, false
	}
	body, err := readBody(w, r, limit)
	if err == nil {
		b, batched, err = decode(body)
	}
	switch {
	case errors.Is(err, errLong):
		refuse(w, http.StatusRequestEntityTooLarge, "too_large", sentence(err))
	case err != nil:
		refuse(w, http.StatusBadRequest, codeBadRequest, sentence(err))
	default:
		return caller, b, batched, true
	}
	return caller, b, false, false
}

func (s *server) answerOne(w http.ResponseWriter, r *http.Request, caller identity.Caller, i item) {
	q, err := i.question()
	if err != nil {
		refuse(w, http.StatusBadRequest, codeBadRequest, sentence(err))
		return
	}
	a, err := s.Broker.Evaluate(r.Context(), caller, q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ready(w)
	_, _ = w.Write(append(encode(make([]byte, 0, 256), &a), '\n'))
}

func ready(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = jsonType, noStore
}

// evaluations answers several questions, each by itself and in their order.
// Without any it is one question, as at the other endpoint.
func (s *server) evaluations(w http.ResponseWriter, r *http.Request) {
	caller, b, batched, ok := s.open(w, r, maxBatch)
	if !ok {
		return
	}
	if !batched {
		s.answerOne(w, r, caller, b.item)
		return
	}
	semantic, err := b.semantic()
	if err != nil {
		refuse(w, http.StatusBadRequest, codeBadRequest, sentence(err))
		return
	}
	out := append(make([]byte, 0, 64*len(*b.Evaluations)), `{"evaluations":[`...)
	for n, i := range *b.Evaluations {
		if n > 0 {
			out = append(out, ',')
		}
		var decision bool
		if out, decision, err = s.one(out, r, caller, i.or(b.item)); err != nil {
			s.fail(w, r, err)
			return
		}
		if semantic == untilDeny && !decision || semantic == untilPermit && decision {
			break
		}
	}
	ready(w)
	_, _ = w.Write(append(out, "]}\n"...))
}

func (b *batch) semantic() (string, error) {
	if len(*b.Evaluations) > MaxItems {
		return "", fmt.Errorf("ask at most %d questions in one call", MaxItems)
	}
	if !object(b.Context) {
		return "", mistyped("context")
	}
	if b.Options == nil || b.Options.Semantic == nil {
		return executeAll, nil
	}
	switch *b.Options.Semantic {
	case executeAll, untilDeny, untilPermit:
		return *b.Options.Semantic, nil
	}
	return "", errors.New("options.evaluations_semantic is execute_all, deny_on_first_deny or permit_on_first_permit")
}

// one appends the answer to one question of several. What is wrong with that
// question alone is said in its place, and is no yes. An error is of the call.
func (s *server) one(out []byte, r *http.Request, caller identity.Caller, i item) ([]byte, bool, error) {
	q, err := i.question()
	if err != nil {
		return appendError(out, http.StatusBadRequest, sentence(err)), false, nil
	}
	a, err := s.Broker.Evaluate(r.Context(), caller, q)
	var refused *broker.Error
	if errors.As(err, &refused) && refused.Code == "not_fronted" {
		return appendError(out, http.StatusForbidden, refused.Message), false, nil
	}
	if err != nil {
		return out, false, err
	}
	return encode(out, &a), a.Decision, nil
}

func appendError(b []byte, status int, message string) []byte {
	b = fmt.Appendf(b, `{"decision":false,"context":{"error":{"status":%d,"message":`, status)
	return append(quote(b, message), "}}}"...)
}

// encode appends a decision.
func encode(b []byte, a *broker.Answer) []byte {
	if a.Decision {
		b = append(b, `{"decision":true,"context":{"grant":"`...)
		b = append(b, a.Grant...)
		b = append(b, `","request":"`...)
		b = append(b, a.Request...)
		b = append(b, `","expires_at":"`...)
		b = append(b, api.TimeOf(a.ExpiresAt).String()...)
		return append(b, `"}}`...)
	}
	if a.Ask == nil {
		return append(b, `{"decision":false}`...)
	}
	reason := reasonReview
	if a.Auto {
		reason = reasonAsk
	}
	ask, err := json.Marshal(struct {
		Endpoint string `json:"endpoint"`
		Method   string `json:"method"`
		Body     any    `json:"body"`
		Command  string `json:"command"`
		Form     string `json:"form_url"`
	}{a.Ask.URL, a.Ask.Method, a.Ask.Body, a.Ask.Command, a.Form})
	if err != nil {
		panic("authzen: a hint cannot be encoded: " + err.Error())
	}
	b = append(b, `{"decision":false,"context":{"reason":"`...)
	b = append(b, reason...)
	b = append(b, `","access_request":`...)
	b = append(b, ask...)
	return append(b, "}}"...)
}

// sentence is what an error says, as a sentence.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// quote appends s as a JSON string.
func quote(b []byte, s string) []byte {
	out, err := jsontext.AppendQuote(b, s)
	if err != nil { // not UTF-8
		out, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\uFFFD"))
	}
	return out
}
