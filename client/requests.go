package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/daypass/daypass/api"
)

// Page selects a part of a list. Lists are newest first.
type Page struct {
	Limit  int    // 1–200; 0 is the server's default
	Cursor string // NextCursor of the page before
}

func (p Page) query() url.Values {
	q := url.Values{}
	if p.Limit > 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	set(q, "cursor", p.Cursor)
	return q
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// list fetches one page of T.
func list[T any](ctx context.Context, c *Client, q url.Values, path ...string) (*api.List[T], error) {
	k := reading(path...)
	k.query = q
	var out api.List[T]
	if _, err := c.do(ctx, k, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// get fetches one T.
func get[T any](ctx context.Context, c *Client, path ...string) (*T, error) {
	var out T
	if _, err := c.do(ctx, reading(path...), &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// post sends k and decodes a T.
func post[T any](ctx context.Context, c *Client, k *call, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	var out T
	if _, err := c.do(ctx, k, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Me returns the caller.
func (c *Client) Me(ctx context.Context) (*api.Me, error) { return get[api.Me](ctx, c, "v1", "me") }

// Resources lists what the caller may ask for, and how it would be decided.
func (c *Client) Resources(ctx context.Context, p Page) (*api.List[api.Resource], error) {
	return list[api.Resource](ctx, c, p.query(), "v1", "resources")
}

// Resource returns one of them; what the caller may not ask for is a 404.
func (c *Client) Resource(ctx context.Context, id string) (*api.Resource, error) {
	return get[api.Resource](ctx, c, "v1", "resources", id)
}

// Submit asks for access. The answer is decided at once (State "approved",
// Grant set) or pending; a refusal is an *Error with status 403.
func (c *Client) Submit(ctx context.Context, body api.SubmitRequest, opts ...CallOption) (*api.Request, error) {
	k, err := creating(body, opts, "v1", "requests")
	return post[api.Request](ctx, c, k, err)
}

// DryRun says how a request would be decided, without making it. A refusal is
// a Decision, not an error.
func (c *Client) DryRun(ctx context.Context, body api.SubmitRequest) (*api.Decision, error) {
	k, err := writing(http.MethodPost, body, "v1", "requests")
	if err != nil {
		return nil, err
	}
	k.query, k.repeatable = url.Values{"dry_run": {"true"}}, true
	return post[api.Decision](ctx, c, k, nil)
}

// RequestQuery selects requests; an empty field selects all.
type RequestQuery struct {
	State    string // pending, approved, denied, cancelled, expired
	Role     string // of the caller: requester or reviewer
	Resource string
	Review   string // due: broke glass, and waits for its review
	Page
}

// Requests lists the requests that the caller may see.
func (c *Client) Requests(ctx context.Context, q RequestQuery) (*api.List[api.Request], error) {
	v := q.query()
	set(v, "state", q.State)
	set(v, "role", q.Role)
	set(v, "resource", q.Resource)
	set(v, "review", q.Review)
	return list[api.Request](ctx, c, v, "v1", "requests")
}

// Request returns one request.
func (c *Client) Request(ctx context.Context, id string) (*api.Request, error) {
	return get[api.Request](ctx, c, "v1", "requests", id)
}

// Review votes on a request. ContentHash must be that of the request as the
// reviewer was shown it; when it has changed since, the answer is a 412.
func (c *Client) Review(ctx context.Context, id string, body api.ReviewRequest, opts ...CallOption) (*api.Request, error) {
	k, err := creating(body, opts, "v1", "requests", id, "reviews")
	return post[api.Request](ctx, c, k, err)
}

// Cancel withdraws a pending request.
func (c *Client) Cancel(ctx context.Context, id string) (*api.Request, error) {
	k, err := writing(http.MethodPost, nil, "v1", "requests", id, "cancel")
	return post[api.Request](ctx, c, k, err)
}
