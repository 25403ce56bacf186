package rest

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// answer is what a call answers when it is not refused.
type answer struct {
	status   int
	location string
	etag     string // without quotes
	retry    time.Duration
	body     any // nil for none
}

// wire is how api's types become JSON: encoding/json's meaning of their tags,
// but a list or a map that is empty is [] or {}, never null.
var wire = json.JoinOptions(
	jsonv1.DefaultOptionsV1(),
	json.FormatNilSliceAsNull(false),
	json.FormatNilMapAsNull(false),
)

// encode returns v as one line of JSON.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := json.MarshalWrite(&b, v, wire); err != nil {
		return nil, fmt.Errorf("encoding a reply: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// write sends an answer.
func (s *server) write(w http.ResponseWriter, r *http.Request, a answer) error {
	var body []byte
	if a.body != nil {
		var err error
		if body, err = encode(a.body); err != nil {
			return err
		}
	}
	h := w.Header()
	if a.etag != "" {
		h.Set("ETag", `"`+a.etag+`"`)
	}
	if a.retry > 0 {
		h.Set("Retry-After", seconds(a.retry))
	}
	s.send(w, r, a.status, a.location, body)
	return nil
}

// send writes status, Location and a JSON body.
func (s *server) send(w http.ResponseWriter, r *http.Request, status int, location string, body []byte) {
	h := w.Header()
	if location != "" {
		h.Set("Location", location)
	}
	if len(body) == 0 {
		w.WriteHeader(status)
		return
	}
	kind := "application/json"
	if status >= 400 {
		kind = "application/problem+json"
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		s.log.Debug("reply not delivered", "path", r.URL.Path, "error", err)
	}
}

// seconds is d as Retry-After writes it, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// ok shows a result as 200 with itself as the body.
func ok[R any](_ *call, r R) answer { return answer{status: http.StatusOK, body: r} }

// submitted shows a new request: 201 when it is decided, 202 while it waits.
func submitted(_ *call, v broker.View) answer {
	a := answer{status: http.StatusCreated, location: "/v1/requests/" + v.ID, etag: etag(v), body: v.Request}
	if v.State == "pending" {
		a.status, a.retry = http.StatusAccepted, pollAfter
	}
	return a
}

// viewed shows a request as it is now.
func viewed(_ *call, v broker.View) answer {
	return answer{status: http.StatusOK, etag: etag(v), body: v.Request}
}

// pollAfter is when somebody who does not wait should ask again.
const pollAfter = 2 * time.Second

func etag(v broker.View) string { return "v" + strconv.FormatInt(v.Version, 10) }

// page is a list and where it goes on.
type page[T any] struct {
	items []T
	next  string
}

func listed[T any](_ *call, p page[T]) answer {
	l := api.List[T]{Items: p.items}
	if p.next != "" {
		l.NextCursor = &p.next
	}
	return answer{status: http.StatusOK, body: l}
}
