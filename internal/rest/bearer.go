package rest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

// authenticator knows API tokens.
type authenticator interface {
	Authenticate(token string, ip, channel string) (identity.Caller, error)
	AuthenticateCookie(cookie string, ip, channel string) (identity.Caller, error)
}

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 4096

// Bearer finds out who calls, by the one Authorization header of a request
// (RFC 6750 section 2.1). Tokens in a query or a body are never looked at.
type Bearer struct {
	tokens   authenticator
	failures *failures
	public   string // where browsers find the server; "": none is logged in
}

// WithLogins makes Person know browsers that have logged in at publicURL.
func (b *Bearer) WithLogins(publicURL string) *Bearer {
	b.public = publicURL
	return b
}

// Person returns who sends r: by the Authorization header like Caller, or, when
// there is none, by the cookie of a login. What may change anything must then
// be sent by a page of this very server (ATTACKS WEB-02): a browser sends a
// cookie whoever made it send.
func (b *Bearer) Person(r *http.Request) (identity.Caller, error) {
	if b.public == "" || len(r.Header["Authorization"]) > 0 {
		return b.Caller(r)
	}
	cookie := identity.CookiesOf(b.public).Value(r, "")
	if cookie == "" {
		return b.Caller(r)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !identity.SameOrigin(b.public, r) {
		return identity.Caller{}, &broker.Error{Kind: broker.Forbidden, Code: "cross_site", Message: "A login may do this only from a page of this server."}
	}
	caller, err := b.tokens.AuthenticateCookie(cookie, PeerIP(r), "console")
	if err != nil {
		return identity.Caller{}, b.failed(r, err)
	}
	trust(r.Context())
	return caller, nil
}

// failed counts a failure, and refuses an address that had too many.
func (b *Bearer) failed(r *http.Request, err error) error {
	if wait := b.failures.count(PeerIP(r)); wait > 0 {
		return &broker.Error{Kind: broker.TooMany, Code: "too_many_failures", RetryAfter: wait,
			Message: "Too many calls with a wrong token came from this address. A valid token is accepted at any time."}
	}
	return err
}

// NewBearer returns a Bearer that asks tokens.
func NewBearer(tokens authenticator) *Bearer {
	return &Bearer{tokens: tokens, failures: newFailures(time.Now)}
}

// Caller returns who sends r, or a *broker.Error: Unauthorized, or TooMany for
// an address that failed too often in the last minute. A valid token is
// accepted from any address, however often that address failed.
func (b *Bearer) Caller(r *http.Request) (identity.Caller, error) {
	headers := r.Header["Authorization"]
	if len(headers) == 0 {
		return identity.Caller{}, &broker.Error{Kind: broker.Unauthorized, Code: "unauthorized", Message: "Send Authorization: Bearer and an API token."}
	}
	ip := PeerIP(r)
	var err error
	if token, ok := bearerToken(headers); ok {
		var caller identity.Caller
		if caller, err = b.tokens.Authenticate(token, ip, channel(r)); err == nil {
			trust(r.Context())
			return caller, nil
		}
	} else {
		err = &broker.Error{Kind: broker.Unauthorized, Code: "unauthorized", Message: "Send exactly one Authorization header: Bearer and an API token."}
	}
	return identity.Caller{}, b.failed(r, err)
}

// Failure counts a proof of another kind that failed, as a wrong token is
// counted, and returns how long its address must wait; 0 for not at all.
func (b *Bearer) Failure(r *http.Request) time.Duration { return b.failures.count(PeerIP(r)) }

// bearerToken is the token of the only Authorization header.
func bearerToken(headers []string) (string, bool) {
	if len(headers) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(headers[0], " ")
	token = strings.Trim(token, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken || !visible(token) {
		return "", false
	}
	return token, true
}

// PeerIP is the address that the connection comes from, without port. What
// headers say of other addresses is not believed.
func PeerIP(r *http.Request) string {
	if k, ok := r.Context().Value(connKey{}).(*cappedConn); ok && k.peer != "" {
		return k.peer
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return plainAddr(a)
	}
	return host
}

func plainAddr(a netip.Addr) string { return a.Unmap().WithZone("").String() }

// channel says what kind of client calls, for the record. It decides nothing.
func channel(r *http.Request) string {
	if name, _, _ := strings.Cut(r.Header.Get("Daypass-Client"), "/"); name == "cli" {
		return "cli"
	}
	return "api"
}

// Challenge is the WWW-Authenticate header of a 401 (RFC 6750 section 3): with
// an error only where a token was sent.
func Challenge(r *http.Request, why string) string {
	c := `Bearer realm="daypass"`
	if len(r.Header.Values("Authorization")) == 0 {
		return c
	}
	// error_description takes no quotes, backslashes or other characters.
	why = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, clip(why, 200))
	return c + `, error="invalid_token", error_description="` + why + `"`
}
