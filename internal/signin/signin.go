// Package signin hands the login of a person in a browser on to a command line:
// by a code that the browser brings to a port of its own machine (RFC 8252 with
// RFC 7636), or by a short code that somebody types into a page (RFC 8628).
//
// It refuses a code that was used, is old, or comes from another client, and to
// tell anybody more than that. It keeps a bounded number of each, in memory: a
// restart ends what waits, and what was used can never be used again. It makes
// no login itself: it remembers which browser said yes.
package signin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/identity"
)

// ClientID is the one client there is. It has no secret: it is a program that
// everybody can have (RFC 6749 section 2.1).
const ClientID = "daypass-cli"

// Errors of both ways.
var (
	ErrNone    = errors.New("there is no such code, or it was used")
	ErrExpired = errors.New("the code is too old")
	ErrFull    = errors.New("too many logins wait")
)

// codeFor is how long the code of a browser is good (RFC 6749 section 4.1.2:
// at most ten minutes).
const codeFor = time.Minute

// The bounds of the codes that wait: of all, and of one person, who could keep
// everybody else's command lines out.
const (
	mostCodes = 10_000
	mostOfOne = 50
)

// Code is what a person has agreed to.
type Code struct {
	Caller      identity.Caller // the browser that agreed
	RedirectURI string
	Challenge   string // of PKCE, S256
	Label       string // what the command line says of itself
}

type issued struct {
	Code
	until time.Time
	used  bool
	again bool   // somebody tried it after that
	login string // that came of it
}

// Codes are the authorization codes that wait.
type Codes struct {
	now func() time.Time
	mu  sync.Mutex
	all map[[32]byte]*issued
}

// NewCodes returns no codes yet.
func NewCodes(now func() time.Time) *Codes { return &Codes{now: now, all: map[[32]byte]*issued{}} }

// Issue makes the code for what a person has agreed to.
func (c *Codes) Issue(code Code) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	ofOne := 0
	for hash, one := range c.all {
		switch {
		case !now.Before(one.until):
			delete(c.all, hash)
		case one.Caller.Principal == code.Caller.Principal:
			ofOne++
		}
	}
	if len(c.all) >= mostCodes || ofOne >= mostOfOne {
		return "", ErrFull
	}
	secret := random(32)
	c.all[sha256.Sum256([]byte(secret))] = &issued{Code: code, until: now.Add(codeFor)}
	return secret, nil
}

// Redeem takes a code, once. A second try says which login came of the first:
// whoever has the code twice has taken it from somebody (RFC 6749 section
// 4.1.2), and that login is to end.
func (c *Codes) Redeem(code, redirectURI, verifier string) (got Code, stolen string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.all[sha256.Sum256([]byte(code))]
	switch {
	case one == nil:
		return Code{}, "", ErrNone
	case one.used:
		one.again = true
		return one.Code, one.login, ErrNone
	}
	one.used = true // whatever is wrong with the rest
	sum := sha256.Sum256([]byte(verifier))
	switch {
	case !c.now().Before(one.until):
		return Code{}, "", ErrExpired
	case one.RedirectURI != redirectURI, subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(one.Challenge)) != 1:
		return Code{}, "", ErrNone
	}
	return one.Code, "", nil
}

// Became remembers which login came of a code. It reports whether somebody has
// tried the code again in the meantime: that login is to end too.
func (c *Codes) Became(code, login string) (stolen bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.all[sha256.Sum256([]byte(code))]
	if one == nil {
		return false
	}
	one.login = login
	return one.again
}

// CheckRedirect reports whether a code may be brought there: a port of the
// machine of the browser, by a literal address (RFC 8252 section 7.3), and
// nowhere else.
func CheckRedirect(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Path != "/callback" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
		return false
	}
	at, err := netip.ParseAddrPort(u.Host)
	return err == nil && at.Addr().IsLoopback() && at.Addr().Zone() == "" && at.Port() >= 1024 && raw == "http://"+at.String()+"/callback"
}

// CheckChallenge reports whether a PKCE challenge has the form of S256 (RFC
// 7636 section 4.2).
func CheckChallenge(s string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil && len(raw) == sha256.Size
}

func random(bytes int) string {
	raw := make([]byte, bytes)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(raw)
}
