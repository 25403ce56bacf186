package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// call is one call of the API, before it is sent.
type call struct {
	method string
	path   []string // segments, unescaped: v1, requests, req_…
	query  url.Values
	header http.Header
	body   []byte
	media  string // of body; default application/json
	key    string // Idempotency-Key
	// repeatable calls may be sent again when it is not known whether the
	// first one did its work: reads, and writes that a key or their own
	// meaning makes idempotent. Others are repeated only when it is certain
	// that the server never saw them.
	repeatable bool
	anonymous  bool // it carries no token
}

// text is an answer that is not JSON: its bytes.
type text []byte

// answer is a success.
type answer struct {
	status int
	header http.Header
	tries  int
}

// CallOption changes one call.
type CallOption func(*call)

// WithIdempotencyKey names the key under which the server remembers a creating
// call, so that a caller who lost the answer, even by a crash, can repeat it.
// Without it every call gets a random one.
func WithIdempotencyKey(key string) CallOption { return func(c *call) { c.key = key } }

// creating returns a POST that makes something. It carries an Idempotency-Key
// and can therefore be repeated.
func creating(body any, opts []CallOption, path ...string) (*call, error) {
	k, err := writing(http.MethodPost, body, path...)
	if err != nil {
		return nil, err
	}
	k.repeatable = true
	for _, o := range opts {
		o(k)
	}
	if k.key == "" {
		k.key = rand.Text()
	}
	return k, nil
}

func writing(method string, body any, path ...string) (*call, error) {
	k := &call{method: method, path: path}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding the call: %w", err)
		}
		k.body = b
	}
	return k, nil
}

func reading(path ...string) *call {
	return &call{method: http.MethodGet, path: path, repeatable: true}
}

// do sends k, repeats it where that is safe, and decodes a success into out
// unless out is nil. Any other answer is an *Error.
func (c *Client) do(ctx context.Context, k *call, out any) (*answer, error) {
	for try := 1; ; try++ {
		a, err := c.once(ctx, k, out)
		if err == nil {
			a.tries = try
			return a, nil
		}
		if try >= c.attempts || ctx.Err() != nil || !again(k, try, err) {
			return nil, err
		}
		if c.sleep(ctx, pause(try, err)) != nil {
			return nil, err
		}
	}
}

// again reports whether k may be sent once more after err.
func again(k *call, try int, err error) bool {
	e, answered := errors.AsType[*Error](err)
	if !answered {
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted || errors.Is(err, errUnusable) {
			return false
		}
		op, isNet := errors.AsType[*net.OpError](err)
		return k.repeatable || isNet && op.Op == "dial"
	}
	switch e.Status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		// Who is told to come back much later wants to know that now.
		return k.repeatable && e.RetryAfter <= maxHold
	case http.StatusConflict:
		// Our own first try is still being worked on.
		return try > 1 && k.key != "" && strings.Contains(e.Problem.Code, "idempotency")
	}
	return false
}

// pause is the time to wait after the try-th try: exponential with full
// jitter, and no less than the server asks for, up to half a minute.
func pause(try int, err error) time.Duration {
	ceiling := min(200*time.Millisecond<<min(try-1, 10), 5*time.Second)
	d := mrand.N(ceiling) + ceiling/10
	if e, ok := errors.AsType[*Error](err); ok {
		d = max(d, min(e.RetryAfter, maxWait))
	}
	return d
}

// maxHold is the longest Retry-After that a call waits out by itself.
const maxHold = 10 * time.Second

// errUnusable marks errors that no repetition mends.
var errUnusable = errors.New("client: not usable")

type unusable struct{ error }

// Is makes errors.Is find errUnusable.
func (unusable) Is(target error) bool { return target == errUnusable }

// Unwrap returns what happened.
func (u unusable) Unwrap() error { return u.error }

func (c *Client) once(ctx context.Context, k *call, out any) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := c.send(ctx, k)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer of %s: %w", c.base.Host, err)
	case len(body) > maxResponse:
		return nil, unusable{fmt.Errorf("the answer of %s is longer than %d MiB", c.base.Host, maxResponse>>20)}
	case res.StatusCode == http.StatusNotModified && k.header.Get("If-None-Match") != "":
		return &answer{status: res.StatusCode, header: res.Header}, nil
	case res.StatusCode < 200 || res.StatusCode > 299:
		return nil, errorOf(res.StatusCode, res.Header, body)
	}
	if raw, ok := out.(*text); ok {
		*raw = body
	} else if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			return nil, unusable{fmt.Errorf("%s did not answer as a Daypass server does: %w", c.base.Host, err)}
		}
	}
	return &answer{status: res.StatusCode, header: res.Header}, nil
}

// send sends k and returns the answer whatever its status; once more with
// another token where the server does not take the one there was, and there is
// another. Its errors hold no URL and no header.
func (c *Client) send(ctx context.Context, k *call) (*http.Response, error) {
	token := c.bearer()
	res, err := c.sendWith(ctx, k, token)
	if err == nil && res.StatusCode == http.StatusUnauthorized && !k.anonymous && c.renewed(ctx, token) {
		_ = res.Body.Close()
		return c.sendWith(ctx, k, c.bearer())
	}
	return res, err
}

func (c *Client) sendWith(ctx context.Context, k *call, token string) (*http.Response, error) {
	req, err := c.request(ctx, k, token)
	if err != nil {
		return nil, unusable{err}
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return nil, fmt.Errorf("calling %s: %w", c.base.Host, err)
	}
	c.observeDate(res.Header.Get("Date"), time.Now())
	return res, nil
}

func (c *Client) request(ctx context.Context, k *call, token string) (*http.Request, error) {
	if c.err != nil {
		return nil, c.err
	}
	u := *c.base
	for _, segment := range k.path {
		if segment == "" || segment == "." || segment == ".." {
			return nil, fmt.Errorf("%q cannot be part of an API path", segment)
		}
		u.RawPath = u.EscapedPath() + "/" + url.PathEscape(segment)
		u.Path += "/" + segment
	}
	u.RawQuery = k.query.Encode()
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), bytes.NewReader(k.body))
	if err != nil {
		return nil, fmt.Errorf("building the call: %w", err)
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	if k.body != nil {
		req.Header.Set("Content-Type", cmp.Or(k.media, "application/json"))
	}
	if k.key != "" {
		req.Header.Set("Idempotency-Key", k.key)
	}
	if token != "" && !k.anonymous {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("User-Agent", "daypass-"+c.name+"/"+c.version)
	req.Header.Set("Daypass-Client", c.name+"/"+c.version)
	return req, nil
}
