package client

import (
	"context"
	"net/http"

	"github.com/daypass/daypass/api"
)

// Erase forgets personal texts for good: of one request, or of one person.
func (c *Client) Erase(ctx context.Context, body api.ErasureRequest) (*api.Erasure, error) {
	k, err := writing(http.MethodPost, body, "v1", "audit", "erasures")
	return post[api.Erasure](ctx, c, k, err)
}
