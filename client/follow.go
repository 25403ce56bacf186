package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/daypass/daypass/api"
)

// outage is how long FollowRequest keeps trying a server that does not answer.
const outage = 5 * time.Minute

// FollowRequest yields the request as it is now, and again each time that
// anything about it moves: a vote, the decision, its grant. It long-polls, so
// changes arrive within moments. It outlives restarts of the server; an error
// ends it: an answer that says no, a server silent for five minutes, or the
// end of ctx.
func (c *Client) FollowRequest(ctx context.Context, id string) iter.Seq2[*api.Request, error] {
	return func(yield func(*api.Request, error) bool) {
		etag, failing := "", time.Time{}
		for fails := 0; ; {
			start := time.Now()
			r, next, err := c.poll(ctx, id, etag)
			switch {
			case err != nil && ctx.Err() != nil:
				yield(nil, ctx.Err())
				return
			case err != nil:
				fails++
				if failing.IsZero() {
					failing = start
				}
				if !mayPass(err) || time.Since(failing) > outage {
					yield(nil, err)
					return
				}
				if c.sleep(ctx, pause(fails, err)) != nil {
					yield(nil, ctx.Err())
					return
				}
				continue
			case r != nil:
				if !yield(r, nil) {
					return
				}
			}
			fails, failing = 0, time.Time{}
			// A server that answers at once although nothing moved, or that
			// sends no ETag, must not be asked in a tight loop.
			if unchanged := r == nil || next == "" || next == etag; unchanged && time.Since(start) < time.Second {
				if c.sleep(ctx, time.Second) != nil {
					yield(nil, ctx.Err())
					return
				}
			}
			etag = next
		}
	}
}

// WaitRequest waits until the request is no longer pending and returns it as
// it is then.
func (c *Client) WaitRequest(ctx context.Context, id string) (*api.Request, error) {
	for r, err := range c.FollowRequest(ctx, id) {
		if err != nil {
			return nil, err
		}
		if r.State != "pending" {
			return r, nil
		}
	}
	return nil, errors.New("client: following a request ended without an error")
}

// poll returns the request and its ETag: at once when etag is "" or no longer
// its own, else as soon as something moves. The request is nil when nothing did.
func (c *Client) poll(ctx context.Context, id, etag string) (*api.Request, string, error) {
	k := reading("v1", "requests", id)
	if etag != "" {
		k.query = url.Values{"wait": {strconv.Itoa(int(maxWait/time.Second)) + "s"}}
		k.header = http.Header{"If-None-Match": {etag}}
	}
	var r api.Request
	a, err := c.do(ctx, k, &r)
	if err != nil {
		return nil, "", err
	}
	next := a.header.Get("ETag")
	if a.status == http.StatusNotModified {
		if next == "" {
			next = etag
		}
		return nil, next, nil
	}
	return &r, next, nil
}

// mayPass reports whether waiting can mend err: the network, the server being
// restarted, too many calls. What the server says about us does not pass.
func mayPass(err error) bool {
	if errors.Is(err, errUnusable) {
		return false
	}
	status := Status(err)
	return status == 0 || status >= 500 || status == http.StatusTooManyRequests
}
