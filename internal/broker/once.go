package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// replyTTL is how long the answer of an idempotent call is kept.
const replyTTL = 24 * time.Hour

// inflight are the idempotent calls that are being answered right now.
type inflight struct {
	mu    sync.Mutex
	calls map[[3]string]bool
}

func (f *inflight) enter(key [3]string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls[key] {
		return false
	}
	if f.calls == nil {
		f.calls = map[[3]string]bool{}
	}
	f.calls[key] = true
	return true
}

func (f *inflight) leave(key [3]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.calls, key)
}

// onceOf runs fn as do does. With an idempotency key the answer, also a
// refusal, is kept in the same commit as what fn did, so that a retry after a
// crash gets the same answer and nothing happens twice (A23).
func onceOf[T any](b *Broker, ctx context.Context, c identity.Caller, once *Once, fn func(*unit) (T, error)) (T, error) {
	return onceIn(b, ctx, c, sqlstore.Normal, once, nil, fn)
}

// onceIn is onceOf in a class, with something before the transaction that takes
// longer than a commit may; nil for nothing. What was answered before is
// answered again without it, whatever has become of what it asks; its own error
// is not kept as an answer.
func onceIn[T any](b *Broker, ctx context.Context, c identity.Caller, class sqlstore.Class, once *Once, before func() error, fn func(*unit) (T, error)) (T, error) {
	var result T
	if once == nil {
		if before != nil {
			if err := before(); err != nil {
				return result, err
			}
		}
		err := b.do(ctx, c, class, func(u *unit) (err error) {
			result, err = fn(u)
			return err
		})
		return result, err
	}
	key := [3]string{c.Principal, once.Route, once.Key}
	if !b.inflight.enter(key) {
		return result, &Error{Kind: Conflict, Code: "idempotency_key_in_flight", Message: "A call with this Idempotency-Key is being answered right now; try again in a moment.", RetryAfter: time.Second}
	}
	defer b.inflight.leave(key)
	if before != nil {
		if err := b.replayed(ctx, c, once); err != nil {
			return result, err
		}
		if err := before(); err != nil {
			return result, err
		}
	}
	err := b.do(ctx, c, class, func(u *unit) error {
		if err := u.replay(once); err != nil {
			return err
		}
		var err error
		result, err = fn(u)
		if err != nil && (u.refused == nil || !errors.Is(err, u.refused)) {
			return err // nothing is kept of it, so neither is the answer here
		}
		failpoint.Hit("broker.reply.before")
		if kerr := u.keep(once, result, err); kerr != nil {
			return kerr
		}
		return err
	})
	var refused *Error
	if errors.As(err, &refused) && refused.Kind != Unavailable {
		// A refusal that left nothing behind is kept on its own.
		_ = b.do(ctx, c, class, func(u *unit) error {
			if err := u.replay(once); err != nil {
				return err
			}
			return u.keep(once, nil, refused)
		})
	}
	return result, err
}

// replayed is replay on a snapshot, before a transaction that looks again.
func (b *Broker) replayed(ctx context.Context, c identity.Caller, once *Once) error {
	if b.broken.Load() != nil {
		return nil // the transaction says why
	}
	return b.view(ctx, func(tx *sqlstore.Tx) error { return replay(tx, c, once, b.now()) })
}

func (u *unit) replay(once *Once) error { return replay(u.tx, u.c, once, u.now) }

// replay returns *Replayed when the call was answered before.
func replay(tx *sqlstore.Tx, c identity.Caller, once *Once, now time.Time) error {
	kept, err := tx.Reply(c.Principal, once.Route, once.Key)
	switch {
	case errors.Is(err, sqlstore.ErrNotFound):
		return nil
	case err != nil:
		return err
	case kept.At.Before(now.Add(-replyTTL)):
		return nil
	case kept.BodyHash != once.Body:
		return &Error{Kind: Invalid, Code: "idempotency_key_reused", Message: "This Idempotency-Key was used with another body; use a new key for a new call."}
	}
	failpoint.Hit("broker.replay.before")
	return &Replayed{Reply{Status: kept.Status, Location: kept.Location, Body: kept.Body}}
}

func (u *unit) keep(once *Once, result any, err error) error {
	var failure *Error
	if errors.As(err, &failure) && (failure.Code == "idempotency_key_reused" || failure.Code == "idempotency_key_in_flight") {
		return nil
	}
	reply := once.Encode(result, err)
	if reply.Status >= 500 || reply.Status == 0 {
		return nil
	}
	return u.tx.PutReply(u.c.Principal, once.Route, once.Key, sqlstore.Reply{BodyHash: once.Body, Status: reply.Status, Location: reply.Location, Body: reply.Body, At: u.now})
}
