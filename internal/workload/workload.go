// Package workload says for whom a token speaks that a CI platform or a
// cluster gave to a job: it checks the token against the keys of the issuer
// that the configuration names, and maps its claims to a principal by rules.
//
// It refuses whatever is not exactly expected: an issuer that is not listed, an
// audience that is not ours alone, symmetric and absent algorithms, keys that a
// token brings or points to, claims that occur twice, times that do not hold,
// and a rule whose condition cannot be evaluated. It never says to a caller why
// a token was refused, and whether one was used before is asked elsewhere.
package workload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/config"
)

// Proof is what a good token proves.
type Proof struct {
	Principal string // service:… or agent:…, by the rule
	Workload  api.Workload
	// ID is the same for every form of the same token: of its jti, or of what
	// was signed. A token is good once.
	ID       [sha256.Size]byte
	IssuedAt time.Time
	Ends     time.Time     // exp
	TTL      time.Duration // of what it is exchanged for, at most
}

// Refusal is why a token was refused: for the log and the record, never for
// whoever sent it.
type Refusal struct {
	// Why is one of few texts, so that refusals can be counted by it.
	Why string
	// More may hold parts of the token, or an error of a peer.
	More string
	// Workload is what the token told, where its signature held; else nil.
	Workload *api.Workload
}

func (r *Refusal) Error() string {
	if r.More == "" {
		return r.Why
	}
	return r.Why + ": " + r.More
}

func refuse(why string) *Refusal { return &Refusal{Why: why} }

// Options are what the issuers share.
type Options struct {
	PublicURL string           // the audience where the configuration names none
	Skew      time.Duration    // by how much a clock of an issuer may be ahead
	Now       func() time.Time // effective time
	Log       *slog.Logger     // nil: discarded
}

// Issuers are those that the configuration lists. It is safe for use by many
// goroutines.
type Issuers struct {
	options Options
	by      map[string]*issuer
}

type issuer struct {
	config.Workload
	keys  source
	rules []rule
}

// New makes the issuers of a configuration that was checked.
func New(list []config.Workload, o Options) (*Issuers, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	all := &Issuers{options: o, by: make(map[string]*issuer, len(list))}
	for _, w := range list {
		if w.Audience == "" {
			w.Audience = o.PublicURL
		}
		if w.Audience == "" || all.by[w.Issuer] != nil {
			return nil, fmt.Errorf("the issuer %s: without an audience, or there twice", w.Issuer)
		}
		is := &issuer{Workload: w}
		if is.keys, err = open(w.JWKS, o.Log); err != nil {
			return nil, fmt.Errorf("the keys of %s: %w", w.Issuer, err)
		}
		for _, r := range w.Rules {
			program, _, err := compile(env, r.When)
			if err != nil {
				return nil, fmt.Errorf("the rule %q of %s: %w", r.Name, w.Issuer, err)
			}
			is.rules = append(is.rules, rule{WorkloadRule: r, program: program})
		}
		all.by[w.Issuer] = is
	}
	return all, nil
}

// Verify checks a token and finds whose it is. Its error is a *Refusal, except
// where ctx ended.
func (all *Issuers) Verify(ctx context.Context, token string) (*Proof, error) {
	t, err := parse(token)
	if err != nil {
		return nil, err
	}
	is := all.by[t.issuer]
	if is == nil {
		return nil, &Refusal{Why: "the issuer is not listed", More: clip(t.issuer)}
	}
	now := all.options.Now()
	if err := is.verify(ctx, t, now); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	// From here on the token is the issuer's, whatever else is wrong with it.
	told := api.Workload{Issuer: t.issuer, Claims: recorded(t.claims, is.Record)}
	told.Subject, _ = t.claims["sub"].(string)
	told.Subject = clip(told.Subject)
	proof, err := is.accept(t, told, now, all.options.Skew)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		refusal.Workload = &told
	}
	return proof, err
}

// accept checks what a genuine token says.
func (is *issuer) accept(t *jwt, told api.Workload, now time.Time, skew time.Duration) (*Proof, error) {
	if told.Subject == "" {
		return nil, refuse("sub is missing or no text")
	}
	if !t.isFor(is.Audience) {
		return nil, refuse("the audience is not this server alone")
	}
	issued, ends, err := t.times(now, skew, is.MaxAge)
	if err != nil {
		return nil, err
	}
	id, err := t.id()
	if err != nil {
		return nil, err
	}
	matched, err := is.match(t.claims)
	if err != nil {
		return nil, err
	}
	told.Rule = matched.Name
	return &Proof{Principal: matched.Principal, Workload: told, ID: id, IssuedAt: issued, Ends: ends, TTL: is.TokenTTL}, nil
}

// clip keeps what a foreign token says short.
func clip(s string) string {
	const longest = 256
	if len(s) <= longest {
		return s
	}
	cut := longest
	for cut > 0 && s[cut]&0xc0 == 0x80 { // not in the middle of a character
		cut--
	}
	return s[:cut] + "…"
}
