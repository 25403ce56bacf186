package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// githubIDToken asks GitHub for a token that names the running job, for
// audience. Each call gets another one.
// https://docs.github.com/en/actions/reference/security/oidc
func (a *app) githubIDToken(ctx context.Context, audience string) (string, error) {
	at, bearer := a.Getenv(githubURL), a.Getenv(githubToken)
	if at == "" || bearer == "" {
		return "", &Error{Code: ExitDenied, Err: fmt.Errorf("the job may not ask GitHub for a token: %s is not set", githubURL), Next: "permissions: {id-token: write} in the workflow"}
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "https" && !plainLoopback(u) {
		return "", fail("", "%s is no https URL", githubURL)
	}
	query := u.Query()
	query.Set("audience", audience)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", fail("", "%s is no https URL", githubURL)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("Accept", "application/json")
	c := http.Client{
		Timeout: 15 * time.Second,
		// The job's own token goes to GitHub, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := c.Do(r)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return "", fmt.Errorf("asking GitHub for the job's token: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxJobToken))
	if err != nil {
		return "", fmt.Errorf("asking GitHub for the job's token: %w", err)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if res.StatusCode != http.StatusOK || json.Unmarshal(raw, &answer) != nil || strings.TrimSpace(answer.Value) == "" {
		return "", fail("permissions: {id-token: write} in the workflow", "GitHub gave the job no token: it answered %d", res.StatusCode)
	}
	return strings.TrimSpace(answer.Value), nil
}

// plainLoopback reports whether u is http to a literal loopback address.
func plainLoopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && err == nil && ip.IsLoopback()
}
