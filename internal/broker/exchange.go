package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/canonical"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
	"github.com/daypass/daypass/internal/workload"
)

// Workloads says for whom the tokens of CI platforms and clusters speak.
type Workloads interface {
	// Verify checks a token. Its error is a *workload.Refusal where the token
	// is at fault.
	Verify(ctx context.Context, token string) (*workload.Proof, error)
}

// settingExchangeAfter is an instant: tokens of jobs that were issued until then
// are refused, because which of them were used is lost.
const settingExchangeAfter = "exchange_after"

// refusedPerMinute bounds what refused tokens, and people who are not let in,
// add to record and log one by one: what is beyond it is counted. Anybody can have a token signed by a public CI
// platform, and an account at a public provider.
const refusedPerMinute = 120

// exchange is what the exchange of tokens keeps in memory.
type exchange struct {
	after atomic.Int64 // milliseconds
	refusals
}

// refusals counts those of one minute.
type refusals struct {
	mu      sync.Mutex
	minute  time.Time
	refused int
}

func (x *exchange) load(tx *sqlstore.Tx) error {
	text, err := tx.Setting(settingExchangeAfter)
	if err != nil || text == "" {
		return err
	}
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("reading after when tokens of jobs are taken: %w", err)
	}
	x.after.Store(at)
	return nil
}

// onlyAfter has tokens refused that were issued until at.
func (x *exchange) onlyAfter(tx *sqlstore.Tx, at time.Time) error {
	tx.AfterCommit(func() { x.after.Store(at.UnixMilli()) })
	return tx.PutSetting(settingExchangeAfter, strconv.FormatInt(at.UnixMilli(), 10))
}

// room reports whether one more refusal may be written down by itself.
func (x *refusals) room(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now.Sub(x.minute) >= time.Minute {
		x.minute, x.refused = now, 0
	}
	x.refused++
	return x.refused <= refusedPerMinute
}

// Exchanged is a new API token of a job.
type Exchanged struct {
	Token credential.Secret
	Lasts time.Duration
}

// codeSubjectToken is the code of a token that was refused, whatever the reason.
const codeSubjectToken = "invalid_subject_token"

// SubjectTokenRefused reports whether an error of Exchange is about the token.
func SubjectTokenRefused(err error) bool {
	refused, ok := errors.AsType[*Error](err)
	return ok && refused.Code == codeSubjectToken
}

// Exchange gives a job a short API token of the principal that the server's
// rules map it to, for a token that its platform signed. That one is good once,
// also over a restart: that it was used is part of the commit. Why one was
// refused is on record, and not in the error.
func (b *Broker) Exchange(ctx context.Context, c identity.Caller, token string) (Exchanged, error) {
	if b.cfg.Workloads == nil {
		return Exchanged{}, notFound("The endpoint")
	}
	if err := b.barred(); err != nil {
		return Exchanged{}, err
	}
	proof, err := b.cfg.Workloads.Verify(ctx, token)
	if err != nil {
		return Exchanged{}, b.refuseJob(ctx, c, err)
	}
	secret, hash := credential.NewToken(credential.PrincipalToken)
	job := c
	job.Principal, job.Workload = proof.Principal, &proof.Workload
	if p, ok := b.catalog().Principal(proof.Principal); ok {
		job.OnBehalfOf = p.Owner
	}
	out := Exchanged{Token: secret}
	err = b.do(ctx, job, sqlstore.Normal, func(u *unit) (err error) {
		out.Lasts, err = u.exchange(proof, hash)
		return err
	})
	if err != nil {
		if refusal, ok := errors.AsType[*workload.Refusal](err); ok {
			refusal.Workload = &proof.Workload
		}
		return Exchanged{}, b.refuseJob(ctx, c, err)
	}
	return out, nil
}

// exchange makes the token, unless the job's was used before.
func (u *unit) exchange(proof *workload.Proof, hash [32]byte) (time.Duration, error) {
	if err := u.b.barred(); err != nil {
		return 0, err
	}
	ends := u.now.Add(proof.TTL)
	if proof.Ends.Before(ends) {
		ends = proof.Ends
	}
	switch {
	case !enabled(u.state.catalog, proof.Principal):
		return 0, &workload.Refusal{Why: "the principal is not there, or disabled", More: proof.Principal}
	case proof.IssuedAt.UnixMilli() <= u.b.exchange.after.Load():
		return 0, &workload.Refusal{Why: "issued before the store was restored"}
	case ends.Sub(u.now) < time.Second:
		return 0, &workload.Refusal{Why: "expired"}
	}
	first, err := u.tx.PutAssertion(proof.ID, proof.Ends)
	if err != nil {
		return 0, err
	}
	if !first {
		return 0, &workload.Refusal{Why: "used before"}
	}
	job := u.workload()
	t := sqlstore.Token{
		ID: credential.NewID("tok"), Hash: hash, Principal: proof.Principal, Name: "job: " + clip(proof.Workload.Rule),
		CreatedBy: proof.Principal, CreatedAt: u.now, ExpiresAt: ends, Workload: string(job),
	}
	if err := u.tx.PutToken(t); err != nil {
		return 0, err
	}
	for _, e := range []*audit.Entry{
		entry(audit.AuthSucceeded, "", map[string]any{"method": "workload", "principal": proof.Principal, "token": t.ID, "workload": job}),
		entry(audit.TokenCreated, "", map[string]any{"token": t.ID, "for": t.Principal, "expires_at": stamp(t.ExpiresAt), "name": t.Name, "workload": job}),
	} {
		e.Outcome = audit.Allowed
		if err := u.append(e, t.Principal); err != nil {
			return 0, err
		}
	}
	u.tx.AfterCommit(func() { u.b.tokens.put(t) })
	return ends.Sub(u.now), nil
}

// workload is the job behind the caller's token, as canonical JSON; nil for
// none.
func (u *unit) workload() json.RawMessage { return jobJSON(u.c.Workload) }

func jobJSON(job *api.Workload) json.RawMessage {
	if job == nil {
		return nil
	}
	raw, err := json.Marshal(job)
	if err == nil {
		raw, err = canonical.JSON(raw)
	}
	if err != nil {
		panic("broker: a job cannot be encoded: " + err.Error()) // texts alone
	}
	return raw
}

// refuseJob writes down why a token was refused, and says nothing of it. What
// bears no good signature is counted, as a wrong API token is: whoever sends it
// writes what it says.
func (b *Broker) refuseJob(ctx context.Context, c identity.Caller, err error) error {
	refusal, ok := errors.AsType[*workload.Refusal](err)
	if !ok {
		return err
	}
	room := b.exchange.room(b.now())
	if room {
		issuer, subject := "", ""
		if refusal.Workload != nil {
			issuer, subject = refusal.Workload.Issuer, refusal.Workload.Subject
		}
		b.cfg.Log.Info("a workload token was refused", "why", refusal.Why, "more", refusal.More, "issuer", issuer, "subject", subject, "ip", c.IP)
	}
	if !room || refusal.Workload == nil {
		b.recorder.countFailed(c.IP, c.Channel, "workload token: "+refusal.Why)
		return subjectTokenRefused()
	}
	e := &audit.Entry{
		Type: audit.AuthFailed, Actor: audit.Anonymous, Outcome: audit.Denied, Source: audit.Source{IP: c.IP, Channel: c.Channel},
		Details: map[string]any{"method": "workload", "why": refusal.Why, "workload": jobJSON(refusal.Workload)},
	}
	if refusal.More != "" {
		e.Details["more"] = refusal.More
	}
	if err := b.recorder.record(ctx, e, "", false); err != nil {
		return err
	}
	return subjectTokenRefused()
}

func subjectTokenRefused() error {
	return &Error{Kind: Malformed, Code: codeSubjectToken, Message: "the subject token was not accepted; the server's record says why"}
}

// revokeJob ends the token of a job, which the job itself can do when it is
// done. API tokens that people made are ended by their ID.
func (b *Broker) revokeJob(ctx context.Context, c identity.Caller, hash [32]byte) error {
	principal, id, job := b.tokens.find(hash, b.cfg.Clock.Now())
	if job == nil {
		return nil
	}
	if c.Principal == "" {
		c.Principal = principal // nobody but the token itself says who this is
		if p, ok := b.catalog().Principal(principal); ok {
			c.OnBehalfOf = p.Owner
		}
	}
	return b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
		t, err := u.tx.Token(id)
		if errors.Is(err, sqlstore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return u.dropToken(*t)
	})
}
