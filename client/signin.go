package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/daypass/daypass/api"
)

// signInClient is how the server knows a command line (RFC 6749 section 2.2).
const signInClient = "daypass-cli"

// SignIn is what a server says of logging in.
type SignIn struct {
	Issuer    string
	Authorize string // where a browser is sent; "" where people do not log in
	Device    bool
}

// SignIn asks the server how people log in. The Client needs no token.
func (c *Client) SignIn(ctx context.Context) (*SignIn, error) {
	var m struct {
		Issuer    string `json:"issuer"`
		Authorize string `json:"authorization_endpoint"`
		Device    string `json:"device_authorization_endpoint"`
	}
	k := reading(".well-known", "oauth-authorization-server")
	k.anonymous = true
	if _, err := c.do(ctx, k, &m); err != nil {
		return nil, err
	}
	return &SignIn{Issuer: m.Issuer, Authorize: m.Authorize, Device: m.Device != ""}, nil
}

// LoginToken is a login of a person, for a command line.
type LoginToken struct {
	Secret    string
	ExpiresAt time.Time // by this machine's clock
}

// ExchangeCode gives the code that a browser brought and gets a login (RFC 6749
// section 4.1.3, RFC 7636 section 4.5).
func (c *Client) ExchangeCode(ctx context.Context, code, redirectURI, verifier string) (*LoginToken, error) {
	return c.loginToken(ctx, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {verifier}})
}

// Device is a login that waits for a person somewhere else (RFC 8628).
type Device struct {
	Code      string `json:"device_code"`
	UserCode  string `json:"user_code"` // what the person types
	Where     string `json:"verification_uri"`
	ExpiresIn int64  `json:"expires_in"` // seconds
	Interval  int64  `json:"interval"`   // seconds between two polls
}

// StartDevice begins a login that a person confirms elsewhere; name is what
// they are shown of this machine.
func (c *Client) StartDevice(ctx context.Context, name string) (*Device, error) {
	var out Device
	_, err := c.do(ctx, formOf("device_authorization", url.Values{"client_id": {signInClient}, "device_name": {name}}), &out)
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// PollDevice asks whether the person has confirmed. Until then the error's Code
// is authorization_pending, or slow_down: then five seconds more lie between
// two polls.
func (c *Client) PollDevice(ctx context.Context, code string) (*LoginToken, error) {
	return c.loginToken(ctx, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {code}})
}

func (c *Client) loginToken(ctx context.Context, form url.Values) (*LoginToken, error) {
	form.Set("client_id", signInClient)
	var out struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	asked := time.Now()
	if _, err := c.do(ctx, formOf("token", form), &out); err != nil {
		return nil, err
	}
	return &LoginToken{Secret: out.AccessToken, ExpiresAt: asked.Add(time.Duration(out.ExpiresIn) * time.Second)}, nil
}

// Logins lists the browsers and command lines that are logged in: one's own, or
// for an admin everybody's.
func (c *Client) Logins(ctx context.Context, p Page) (*api.List[api.Login], error) {
	return list[api.Login](ctx, c, p.query(), "v1", "logins")
}

// EndLogin logs out one browser or command line; "current" is the caller's own.
func (c *Client) EndLogin(ctx context.Context, id string) error {
	_, err := c.do(ctx, &call{method: http.MethodDelete, path: []string{"v1", "logins", id}, repeatable: true}, nil)
	return err
}

// EndLogins logs a person out everywhere: oneself, or for an admin anybody.
func (c *Client) EndLogins(ctx context.Context, principal string) (*api.LoginsEnded, error) {
	k := &call{method: http.MethodDelete, path: []string{"v1", "logins"}, repeatable: true}
	if principal != "" {
		k.query = url.Values{"principal": {principal}}
	}
	return post[api.LoginsEnded](ctx, c, k, nil)
}
