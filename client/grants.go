package client

import (
	"context"
	"net/http"

	"github.com/daypass/daypass/api"
)

// GrantQuery selects grants; an empty State selects all.
type GrantQuery struct {
	State string // scheduled, activating, active, ending, ended
	Page
}

// Grants lists the grants that the caller may see.
func (c *Client) Grants(ctx context.Context, q GrantQuery) (*api.List[api.Grant], error) {
	v := q.query()
	set(v, "state", q.State)
	return list[api.Grant](ctx, c, v, "v1", "grants")
}

// Grant returns one grant.
func (c *Client) Grant(ctx context.Context, id string) (*api.Grant, error) {
	return get[api.Grant](ctx, c, "v1", "grants", id)
}

// Credential issues a credential for the caller's own grant. Format is "token"
// or "jwt". The secret is in this answer and nowhere else, ever: when the
// answer to a first try was lost on the way, and its repetition therefore comes
// without a secret, a new credential is issued instead.
func (c *Client) Credential(ctx context.Context, grant, format string, opts ...CallOption) (*api.Credential, error) {
	for fresh := true; ; fresh = false {
		k, err := creating(api.CredentialRequest{Format: format}, opts, "v1", "grants", grant, "credentials")
		if err != nil {
			return nil, err
		}
		var out api.Credential
		a, err := c.do(ctx, k, &out)
		if err != nil {
			return nil, err
		}
		if out.Secret != nil || a.tries == 1 || len(opts) > 0 || !fresh {
			return &out, nil
		}
	}
}

// Revoke ends a grant now. For the grantee it is a return.
func (c *Client) Revoke(ctx context.Context, grant, reason string) (*api.Grant, error) {
	k, err := writing(http.MethodPost, api.RevokeRequest{Reason: reason}, "v1", "grants", grant, "revoke")
	if k != nil {
		k.repeatable = true // what has ended is ended once
	}
	return post[api.Grant](ctx, c, k, err)
}

// RevokeAll ends every grant of one principal or on one resource, and returns
// those it ended.
func (c *Client) RevokeAll(ctx context.Context, body api.RevocationRequest, opts ...CallOption) (*api.Revocation, error) {
	k, err := creating(body, opts, "v1", "revocations")
	return post[api.Revocation](ctx, c, k, err)
}

// Extend asks for more time on a grant. An extension is a request and is
// decided like one.
func (c *Client) Extend(ctx context.Context, grant string, body api.ExtendRequest, opts ...CallOption) (*api.Request, error) {
	k, err := creating(body, opts, "v1", "grants", grant, "extend")
	return post[api.Request](ctx, c, k, err)
}

// Sessions lists the live connections that the caller may see.
func (c *Client) Sessions(ctx context.Context, p Page) (*api.List[api.Session], error) {
	return list[api.Session](ctx, c, p.query(), "v1", "sessions")
}

// Session returns one live connection with its last statements.
func (c *Client) Session(ctx context.Context, id string) (*api.Session, error) {
	return get[api.Session](ctx, c, "v1", "sessions", id)
}

// EndSession cuts one live connection. Its grant goes on.
func (c *Client) EndSession(ctx context.Context, id string) error {
	return c.remove(ctx, "v1", "sessions", id)
}

// remove sends a DELETE. One that had to be repeated and then finds nothing
// has done its work the first time.
func (c *Client) remove(ctx context.Context, path ...string) error {
	lost := false
	k := &call{method: http.MethodDelete, path: path, repeatable: true}
	for try := 1; ; try++ {
		_, err := c.once(ctx, k, nil)
		if err == nil || lost && Status(err) == http.StatusNotFound {
			return nil
		}
		if try >= c.attempts || ctx.Err() != nil || !again(k, try, err) {
			return err
		}
		lost = true
		if c.sleep(ctx, pause(try, err)) != nil {
			return err
		}
	}
}
