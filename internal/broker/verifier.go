package broker

import (
	"sync"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
)

// token is a credential before it is kept. Its verifier, which takes longer to
// derive than a commit takes, is derived once, when it is first asked for: before
// the transaction where it is known that it will be wanted.
type token struct {
	secret   credential.Secret
	hash     credential.Hash
	verifier func() (credential.Verifier, error)
}

func newToken(grant string) token {
	secret, hash := credential.NewToken(credential.GrantToken)
	return token{secret, hash, sync.OnceValues(func() (credential.Verifier, error) { return credential.NewVerifier(secret, grant) })}
}

// verifies reports whether a credential of grant, issued to c now, would be kept
// with its verifier. It says no where it looks as if none will be issued: the
// transaction decides, and derives what is missing.
func (b *Broker) verifies(c identity.Caller, grant, format string) bool {
	if format != "" && format != "token" {
		return false
	}
	g, ok := b.cfg.Index.Grant(grant)
	if !ok || g.Principal != c.Principal || !b.mayIssue() || !b.cfg.Index.LiveAt(g, b.now()) {
		return false
	}
	for _, k := range b.cfg.Kinds {
		if k.Name() == g.Kind {
			return proven(k)
		}
	}
	return false
}

// proven reports whether clients of a kind prove a token instead of showing it.
func proven(k policy.Kind) bool {
	_, ok := k.(policy.Proven)
	return ok
}
