package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
)

// Error is what the server answered instead of success.
type Error struct {
	Status     int           // of HTTP
	Problem    api.Problem   // RFC 9457; made up from the status when the server sent none
	RetryAfter time.Duration // zero when the server named none
}

// Error returns the problem's detail, or its title, with its code.
func (e *Error) Error() string {
	text := e.Problem.Detail
	if text == "" {
		text = e.Problem.Title
	}
	if e.Problem.Code != "" {
		return fmt.Sprintf("%s (%d %s)", text, e.Status, e.Problem.Code)
	}
	return fmt.Sprintf("%s (%d)", text, e.Status)
}

// Code returns the code of the *Error in err's chain, such as
// "not_requestable"; "" when there is none.
func Code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Problem.Code
	}
	return ""
}

// Status returns the HTTP status of the *Error in err's chain; 0 when the
// server did not answer.
func Status(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

// errorOf turns an answer that is no success into an *Error. What is not a
// problem document (a proxy's page, say) is not quoted: it may be anything.
func errorOf(status int, header http.Header, body []byte) *Error {
	e := &Error{Status: status, RetryAfter: retryAfter(header)}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if media == "application/problem+json" || media == "application/json" {
		if json.Unmarshal(body, &e.Problem) != nil {
			e.Problem = api.Problem{}
		}
		if oauth := oauthError(body); e.Problem.Code == "" && oauth.Code != "" {
			e.Problem.Code, e.Problem.Detail = oauth.Code, oauth.Description
		}
	}
	e.Problem.Status = status
	if e.Problem.Title == "" {
		e.Problem.Title = http.StatusText(status)
	}
	if e.Problem.Detail == "" && e.Problem.Code == "" {
		switch {
		case 300 <= status && status < 400:
			e.Problem.Detail = "the server answered with a redirect, which is not followed: check the URL of the server"
		default:
			e.Problem.Detail = "the server answered " + strconv.Itoa(status) + " " + http.StatusText(status) + " without saying why: check that the URL is that of a Daypass server"
		}
	}
	if e.Problem.Type == "" {
		e.Problem.Type = "about:blank"
	}
	return e
}

// oauthError reads an error in the form of RFC 6749 section 5.2.
func oauthError(body []byte) (e struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}) {
	if json.Unmarshal(body, &e) != nil {
		e.Code, e.Description = "", ""
	}
	return e
}

// retryAfter reads whole seconds or an HTTP date.
func retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(time.Until(t), 0)
	}
	return 0
}
