package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// JobToken is a short API token that was given for the token of a CI job.
type JobToken struct {
	Secret    string
	ExpiresAt time.Time // by this machine's clock
}

// Exchange gives the token that a CI platform or a cluster signed for a job,
// and gets an API token for it (RFC 8693). The server takes such a token once,
// so the call is repeated only when it is certain that the server never saw it.
// The Client needs no token of its own.
func (c *Client) Exchange(ctx context.Context, subject string) (*JobToken, error) {
	var out struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	asked := time.Now()
	if _, err := c.do(ctx, formOf("token", url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token":      {subject},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
	}), &out); err != nil {
		return nil, err
	}
	return &JobToken{Secret: out.AccessToken, ExpiresAt: asked.Add(time.Duration(out.ExpiresIn) * time.Second)}, nil
}

// EndToken ends the token that the Client has, if it is that of a job (RFC
// 7009). Others are ended by their ID: RevokeToken.
func (c *Client) EndToken(ctx context.Context) error {
	k := formOf("revoke", url.Values{"token": {c.bearer()}})
	k.repeatable = true
	_, err := c.do(ctx, k, nil)
	return err
}

// formOf is a call of an OAuth endpoint; the form itself is the proof.
func formOf(endpoint string, form url.Values) *call {
	return &call{method: http.MethodPost, path: []string{"oauth", endpoint}, body: []byte(form.Encode()), media: "application/x-www-form-urlencoded", anonymous: true}
}

// WithRenewal names what gets another token when the server no longer takes
// the one there is. The call that was refused is then sent once more.
func WithRenewal(renew func(context.Context) (string, error)) Option {
	return func(c *Client) { c.renew = renew }
}

// Renews reports whether the Client gets itself other tokens, so that one that
// has ended says nothing of what it was used for.
func (c *Client) Renews() bool { return c.renew != nil }

// renewalPause is how long a renewal that failed is not tried again.
const renewalPause = 30 * time.Second

// renewed reports whether there is another token than old now.
func (c *Client) renewed(ctx context.Context, old string) bool {
	if c.renew == nil || old == "" {
		return false
	}
	c.renewing.Lock()
	defer c.renewing.Unlock()
	if c.bearer() != old {
		return true // somebody else was faster
	}
	if time.Since(c.refused) < renewalPause {
		return false
	}
	token, err := c.renew(ctx)
	if err != nil || token == "" || strings.ContainsFunc(token, unprintable) {
		c.refused = time.Now()
		return false
	}
	c.token.Store(&token)
	return true
}

// bearer is the token that the Client has now.
func (c *Client) bearer() string { return *c.token.Load() }

func unprintable(r rune) bool { return r <= ' ' || r > '~' }
