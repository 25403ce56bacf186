package web

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// faults say what is wrong with the fields of a form, by their names.
type faults map[string]string

// about puts an error of the broker beside the field that it is about, and
// reports whether there is one.
func (f faults) about(err error) bool {
	var e *broker.Error
	if !errors.As(err, &e) {
		return false
	}
	switch field := strings.TrimPrefix(e.Field, "body."); field {
	case "resource", "role", "scope", "duration", "reason", "ticket", "start_at":
		f[field] = e.Message
	default:
		return false
	}
	return true
}

// length is how long a field of the API's body may be: the pages take what the
// API takes, by the same declaration.
func length[B any](field string) int {
	f, ok := reflect.TypeFor[B]().FieldByName(field)
	n, err := strconv.Atoi(f.Tag.Get("maxLength"))
	if !ok || err != nil {
		panic("web: " + field + " has no greatest length")
	}
	return n
}

var (
	longestReason  = length[api.SubmitRequest]("Reason")
	longestTicket  = length[api.SubmitRequest]("Ticket")
	longestComment = length[api.ReviewRequest]("Comment")
)

// words reads a text of a form, with the line ends that everybody else has.
func words(form url.Values, name string, longest int, wrong faults) string {
	text := strings.TrimSpace(strings.ReplaceAll(form.Get(name), "\r\n", "\n"))
	switch {
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		wrong[name] = "This text has characters that are none. Type it anew."
	case utf8.RuneCountInString(text) > longest:
		wrong[name] = fmt.Sprintf("This is %d characters long; at most %d are kept. Shorten it.", utf8.RuneCountInString(text), longest)
	}
	return text
}

// lengthIn is the length of time that a form chose, or spelled out.
func lengthIn(form url.Values) string {
	if chosen := form.Get("for"); chosen != "" && chosen != "other" {
		return chosen
	}
	return strings.TrimSpace(form.Get("other"))
}

// span reads it.
func span(text string, wrong faults) time.Duration {
	d, err := api.ParseDuration(text)
	if err != nil {
		wrong["duration"] = "Say how long in hours, minutes and seconds, such as 15m, 1h30m or 8h."
	}
	return d
}

// startIn reads when access is to begin; nil for now. Browsers send a local
// time without its zone: the page says that it means UTC.
func startIn(text string, wrong faults) *time.Time {
	if text == "" {
		return nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			at = at.UTC()
			return &at
		}
	}
	wrong["start_at"] = "Say when in UTC, such as 2026-11-28T14:30, or leave it empty for now."
	return nil
}

// scopeIn reads a scope that somebody spelled.
func scopeIn(text string, wrong faults) json.RawMessage {
	if text == "" {
		return nil
	}
	if !json.Valid([]byte(text)) || text[0] != '{' {
		wrong["scope"] = "This is not a JSON object. Look for a missing quote, comma or brace."
		return nil
	}
	return json.RawMessage(text)
}

// newKey names one sending of one form: sent twice, it is done once.
func newKey() string { return rand.Text() }

// once makes a form that is sent twice do its work once. Where it leads is
// kept, and nothing that anybody wrote.
func once(r *http.Request, to func(result any) string) *broker.Once {
	key := r.PostForm.Get("key")
	if key == "" || len(key) > 64 || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		key = newKey()
	}
	digest := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		fmt.Fprintf(digest, "%q %q\n", name, r.PostForm[name])
	}
	o := &broker.Once{Route: "form " + r.URL.Path, Key: key}
	digest.Sum(o.Body[:0])
	o.Encode = func(result any, err error) broker.Reply {
		if err != nil {
			return broker.Reply{Status: http.StatusInternalServerError} // not kept: it is shown beside its field
		}
		return broker.Reply{Status: http.StatusSeeOther, Location: to(result), Body: []byte("{}")}
	}
	return o
}

// before is where a form that was sent before led.
func before(err error) (string, bool) {
	var again *broker.Replayed
	if !errors.As(err, &again) {
		return "", false
	}
	return again.Reply.Location, true
}

// toRequest leads to the page of a request.
func toRequest(result any) string {
	if v, ok := result.(broker.View); ok {
		return "/requests/" + v.ID
	}
	return home
}
