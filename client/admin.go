package client

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/daypass/daypass/api"
)

// Tokens lists API tokens: the caller's own; for an admin, everyone's.
func (c *Client) Tokens(ctx context.Context, p Page) (*api.List[api.Token], error) {
	return list[api.Token](ctx, c, p.query(), "v1", "tokens")
}

// CreateToken makes an API token. Its secret is in this answer and nowhere
// else, ever. When the answer to a first try was lost on the way, that token is
// revoked, because nobody knows its secret, and a new one is made.
func (c *Client) CreateToken(ctx context.Context, body api.TokenRequest, opts ...CallOption) (*api.Token, error) {
	for fresh := true; ; fresh = false {
		k, err := creating(body, opts, "v1", "tokens")
		if err != nil {
			return nil, err
		}
		var out api.Token
		a, err := c.do(ctx, k, &out)
		if err != nil {
			return nil, err
		}
		if out.Secret != nil || a.tries == 1 || len(opts) > 0 || !fresh {
			return &out, nil
		}
		if err := c.RevokeToken(ctx, out.ID); err != nil {
			return nil, err
		}
	}
}

// RevokeToken revokes an API token at once.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.remove(ctx, "v1", "tokens", id)
}

// SetIssuing switches approvals and credentials on or off for everyone; ends
// and revocations go on either way.
func (c *Client) SetIssuing(ctx context.Context, enabled bool) (*api.Issuing, error) {
	k, err := writing(http.MethodPut, api.Issuing{Enabled: enabled}, "v1", "issuing")
	if k != nil {
		k.repeatable = true
	}
	return post[api.Issuing](ctx, c, k, err)
}

// Quarantine says whether a restored store waits for an admin.
func (c *Client) Quarantine(ctx context.Context) (*api.Quarantine, error) {
	return get[api.Quarantine](ctx, c, "v1", "quarantine")
}

// EndQuarantine lets a restored store serve again. What was live in the backup
// ends; its API tokens too, unless they are kept.
func (c *Client) EndQuarantine(ctx context.Context, keepTokens bool) (*api.QuarantineEnd, error) {
	k, err := writing(http.MethodPost, api.QuarantineRequest{KeepTokens: keepTokens}, "v1", "quarantine", "end")
	return post[api.QuarantineEnd](ctx, c, k, err)
}

// RotateKeys makes new signing keys and returns the IDs of those in use.
func (c *Client) RotateKeys(ctx context.Context) (*api.Keys, error) {
	k, err := writing(http.MethodPost, nil, "v1", "keys", "rotate")
	return post[api.Keys](ctx, c, k, err)
}

// Catalog returns the catalog in force and its ETag, which PutCatalog takes.
func (c *Client) Catalog(ctx context.Context) (catalog *api.Catalog, etag string, err error) {
	var out api.Catalog
	a, err := c.do(ctx, reading("v1", "catalog"), &out)
	if err != nil {
		return nil, "", err
	}
	if etag = a.header.Get("ETag"); etag == "" {
		etag = `"` + out.Version + `"`
	}
	return &out, etag, nil
}

// PutCatalog puts a catalog, as YAML or JSON, in force, provided that the one
// in force is still that of etag: else the answer is a 412.
func (c *Client) PutCatalog(ctx context.Context, source []byte, etag string) (*api.Catalog, error) {
	k := document(http.MethodPut, source, "v1", "catalog")
	k.header = http.Header{"If-Match": {etag}}
	return post[api.Catalog](ctx, c, k, nil)
}

// CheckCatalog says what is wrong with a catalog, without applying it.
func (c *Client) CheckCatalog(ctx context.Context, source []byte) (*api.CatalogCheck, error) {
	k := document(http.MethodPost, source, "v1", "catalog", "check")
	k.repeatable = true
	return post[api.CatalogCheck](ctx, c, k, nil)
}

// ExplainCatalog says how a request would be decided, and why.
func (c *Client) ExplainCatalog(ctx context.Context, q api.ExplainRequest) (*api.Explained, error) {
	k, err := writing(http.MethodPost, q, "v1", "catalog", "explain")
	if err != nil {
		return nil, err
	}
	k.repeatable = true
	return post[api.Explained](ctx, c, k, nil)
}

// BacktestCatalog replays the requests of the time since against a catalog. With
// frozen the groups of each requester are those when it was asked.
func (c *Client) BacktestCatalog(ctx context.Context, source []byte, since time.Duration, frozen bool) (*api.Backtest, error) {
	k := document(http.MethodPost, source, "v1", "catalog", "backtest")
	k.repeatable = true
	k.query = url.Values{"since": {api.FormatDuration(since)}}
	if frozen {
		k.query.Set("recorded_groups", "true")
	}
	return post[api.Backtest](ctx, c, k, nil)
}

func document(method string, source []byte, path ...string) *call {
	media := "application/yaml"
	if bytes.HasPrefix(bytes.TrimSpace(source), []byte("{")) {
		media = "application/json"
	}
	if source == nil {
		source = []byte{}
	}
	return &call{method: method, path: path, body: source, media: media}
}
