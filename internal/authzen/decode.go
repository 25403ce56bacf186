package authzen

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/daypass/daypass/internal/broker"
)

const (
	maxBody  = 64 << 10  // bytes of one question
	maxBatch = 512 << 10 // bytes of several
	// MaxItems is how many questions one call may ask.
	MaxItems = 256
)

// entity is a subject or a resource, action an action. Unknown members are
// ignored, as the specification demands; doubled ones, and text that is not
// UTF-8, are refused by the decoder.
type entity struct {
	Type       *string        `json:"type"`
	ID         *string        `json:"id"`
	Properties jsontext.Value `json:"properties"`
}

type action struct {
	Name       *string        `json:"name"`
	Properties jsontext.Value `json:"properties"`
}

// item is one question, or what several have in common. A member of an item
// takes the place of the common one as a whole.
type item struct {
	Subject  *entity        `json:"subject"`
	Action   *action        `json:"action"`
	Resource *entity        `json:"resource"`
	Context  jsontext.Value `json:"context"`
}

type batch struct {
	item
	Evaluations *[]item `json:"evaluations"`
	Options     *struct {
		Semantic *string `json:"evaluations_semantic"`
	} `json:"options"`
}

var (
	errType  = errors.New("send Content-Type: application/json, without Content-Encoding")
	errEmpty = errors.New("the body is empty: send subject, action and resource")
	errBody  = errors.New("the body did not arrive whole")
	errLong  = errors.New("the body is too long")
	errShape = errors.New("the body is not one JSON object in UTF-8 whose members are each there once and of the type that the Authorization API gives them")
)

// readBody reads a JSON body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if !isJSON(r.Header) {
		return nil, errType
	}
	if r.ContentLength > limit {
		return nil, errLong
	}
	var body []byte
	var err error
	if n := r.ContentLength; n >= 0 {
		body = make([]byte, n)
		_, err = io.ReadFull(r.Body, body)
	} else {
		body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	}
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, errLong
	case err != nil:
		return nil, errBody
	case len(body) == 0:
		return nil, errEmpty
	}
	return body, nil
}

func isJSON(h http.Header) bool {
	types := h["Content-Type"]
	if len(types) != 1 || len(h["Content-Encoding"]) > 0 {
		return false
	}
	if types[0] == "application/json" {
		return true // what nearly everybody sends
	}
	kind, params, err := mime.ParseMediaType(types[0])
	charset, has := params["charset"]
	return err == nil && kind == "application/json" && (!has || strings.EqualFold(charset, "utf-8"))
}

// decode reads one question, or the questions of a batch; batched is false for
// a body without evaluations, which is one question even where several are
// taken.
func decode(body []byte) (b batch, batched bool, err error) {
	if jsontext.Value(body).Kind() != '{' {
		return b, false, errShape
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return b, false, errShape
	}
	return b, b.Evaluations != nil && len(*b.Evaluations) > 0, nil
}

// or returns i with what it lacks taken from common.
func (i item) or(common item) item {
	if i.Subject == nil {
		i.Subject = common.Subject
	}
	if i.Action == nil {
		i.Action = common.Action
	}
	if i.Resource == nil {
		i.Resource = common.Resource
	}
	if len(i.Context) == 0 {
		i.Context = common.Context
	}
	return i
}

// question checks that nothing is missing, and of the wrong shape.
func (i item) question() (q broker.Question, err error) {
	for _, part := range []struct {
		name   string
		entity *entity
		to     [2]*string
	}{
		{"subject", i.Subject, [2]*string{&q.SubjectType, &q.SubjectID}},
		{"resource", i.Resource, [2]*string{&q.ResourceType, &q.ResourceID}},
	} {
		e := part.entity
		switch {
		case e == nil:
			return q, missing(part.name)
		case e.Type == nil || *e.Type == "":
			return q, missing(part.name + ".type")
		case e.ID == nil || *e.ID == "":
			return q, missing(part.name + ".id")
		case !object(e.Properties):
			return q, mistyped(part.name + ".properties")
		}
		*part.to[0], *part.to[1] = *e.Type, *e.ID
	}
	switch {
	case i.Action == nil:
		return q, missing("action")
	case i.Action.Name == nil || *i.Action.Name == "":
		return q, missing("action.name")
	case !object(i.Action.Properties):
		return q, mistyped("action.properties")
	case !object(i.Context):
		return q, mistyped("context")
	}
	q.Action = *i.Action.Name
	q.Property = func(name string) string { return property(i.Resource.Properties, name) }
	return q, nil
}

func missing(what string) error {
	return fmt.Errorf("%s is missing: a question needs subject.type, subject.id, action.name, resource.type and resource.id", what)
}

func mistyped(what string) error { return fmt.Errorf("%s must be an object", what) }

// object reports whether v, which may be absent, is an object.
func object(v jsontext.Value) bool { return len(v) == 0 || v.Kind() == '{' }

// property is a property of text, "" where there is none of that name or type.
func property(properties jsontext.Value, name string) string {
	if len(properties) == 0 {
		return ""
	}
	var all map[string]jsontext.Value
	if err := json.Unmarshal(properties, &all); err != nil || all[name].Kind() != '"' {
		return ""
	}
	var text string
	if err := json.Unmarshal(all[name], &text); err != nil {
		return ""
	}
	return text
}
