package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// settingQuarantine holds what a restored store is restored from, until an
// admin has let it serve again.
const settingQuarantine = "quarantine"

// Restored marks a store that was just taken out of a backup: until an admin
// ends the quarantine nothing in it gives access. Notices and provisions that
// still waited are forgotten; the live instance may have carried them out.
// The store must not be in use.
func Restored(tx *sqlstore.Tx, q api.Quarantine, now time.Time) (api.Quarantine, error) {
	q.Active, q.Lost = true, max(0, q.KnownHead-q.Head)
	q.Explanation = lost(q)
	raw, err := json.Marshal(q)
	if err != nil {
		return q, err
	}
	if err := tx.PutSetting(settingQuarantine, string(raw)); err != nil {
		return q, err
	}
	if err := tx.PutSetting(settingRunning, "no"); err != nil {
		return q, err
	}
	if err := tx.KeepJobs(jobRemove); err != nil {
		return q, err
	}
	e := &audit.Entry{
		ID: credential.NewID("evt"), Time: now, Type: audit.StoreRestored, Actor: identity.System("restore").Principal, Outcome: audit.Allowed,
		Source: audit.Source{Channel: "system"}, Details: map[string]any{
			"backup_at": q.BackupAt.String(), "head": q.Head, "lost": q.Lost, "lost_known": q.KnownHead > 0,
		},
	}
	if q.KnownHead > q.Head {
		e.Details["known_head"], e.Details["lost_from"], e.Details["lost_to"] = q.KnownHead, q.LostFrom.String(), q.LostTo.String()
	}
	return q, tx.Append(sqlstore.Record{Entry: e})
}

// lost says what of the record is lost.
func lost(q api.Quarantine) string {
	switch {
	case q.KnownHead == 0:
		return fmt.Sprintf("what is lost after entry %d is not known: no checkpoint from elsewhere was given", q.Head)
	case q.Lost == 0:
		return "the checkpoint that was given shows nothing lost; what was recorded after it is not known"
	}
	return fmt.Sprintf("at least %d entries of the record are lost, %d to %d, from %s to %s", q.Lost, q.Head+1, q.KnownHead, q.LostFrom, q.LostTo)
}

func (b *Broker) loadQuarantine(tx *sqlstore.Tx) error {
	raw, err := tx.Setting(settingQuarantine)
	if err != nil || raw == "" {
		return err
	}
	q := new(api.Quarantine)
	if err := json.Unmarshal([]byte(raw), q); err != nil {
		return fmt.Errorf("the quarantine of a restored store: %w", err)
	}
	b.quarantine.Store(q)
	b.cfg.Log.Warn("this store was restored from a backup and is in quarantine", "lost", q.Explanation)
	return nil
}

// quarantined says why nothing is given; nil when the store serves.
func (b *Broker) quarantined() error {
	q := b.quarantine.Load()
	if q == nil {
		return nil
	}
	return fmt.Errorf("this store was restored from a backup of %s and is in quarantine: no access is given until an admin ends it with `daypass quarantine end` (%s)", q.BackupAt, q.Explanation)
}

// mayIssue reports whether anything may be approved or issued.
func (b *Broker) mayIssue() bool { return b.issuing.Load() && b.quarantine.Load() == nil }

// barred refuses to give anything while the server cannot know what is right.
func (b *Broker) barred() *Error {
	if err := b.quarantined(); err != nil {
		return &Error{Kind: Unavailable, Code: "quarantined", Message: "Nothing is approved or issued now: " + err.Error() + ".", RetryAfter: time.Minute}
	}
	if err := b.skewed(); err != nil {
		return &Error{Kind: Unavailable, Code: "clock_skewed", Message: "Nothing is approved or issued now: " + err.Error() + ".", RetryAfter: time.Minute}
	}
	return nil
}

// Quarantine says whether a restored store waits for an admin, and what it
// has lost.
func (b *Broker) Quarantine(ctx context.Context, c identity.Caller) (api.Quarantine, error) {
	if !b.who(c).auditor() {
		return api.Quarantine{}, b.forbid(ctx, c, "reading the quarantine", "Only admins and auditors see the quarantine of a restored store.")
	}
	if q := b.quarantine.Load(); q != nil {
		return *q, nil
	}
	return api.Quarantine{}, nil
}

// endedAtOnce is how many grants one commit of EndQuarantine ends.
const endedAtOnce = 200

// EndQuarantine lets a restored store serve again. Everything that was live or
// waiting in the backup ends first: it may have been revoked, denied or used
// up in what was lost (A2). So do the API tokens made before the backup,
// unless they are to be kept.
func (b *Broker) EndQuarantine(ctx context.Context, c identity.Caller, keepTokens bool) (api.QuarantineEnd, error) {
	if !b.who(c).admin() {
		return api.QuarantineEnd{}, b.forbid(ctx, c, "ending the quarantine", "Only admins let a restored store serve again.")
	}
	out := api.QuarantineEnd{}
	if b.quarantine.Load() == nil {
		return out, nil
	}
	live := sqlstore.RequestFilter{GrantStates: []access.GrantState{access.Scheduled, access.Activating, access.Active}, Limit: endedAtOnce}
	grants, err := b.endRestored(ctx, c, live, func(u *unit, r *access.Request) error {
		_, err := u.run(r, access.End{By: c.Principal, Reason: access.EndRevoked}, detail{more: map[string]any{"why": "the store was restored from a backup"}})
		return err
	})
	if err != nil {
		return out, fmt.Errorf("ending what was live in the backup: %w", err)
	}
	waiting := sqlstore.RequestFilter{States: []access.State{access.Pending}, Limit: endedAtOnce}
	requests, err := b.endRestored(ctx, c, waiting, func(u *unit, r *access.Request) error {
		by := *u
		by.c = identity.System("restore")
		_, err := by.run(r, access.Lapse{Reason: "The server was restored from a backup, and what was decided since is lost; ask anew."}, detail{})
		return err
	})
	if err != nil {
		return out, fmt.Errorf("ending what waited in the backup: %w", err)
	}
	out.Grants, out.Requests = grants, requests
	err = b.alone(ctx, c, sqlstore.Normal, func(u *unit) error { return u.endQuarantine(&out, keepTokens) })
	return out, err
}

// endRestored ends what a filter finds, some in each commit, until it finds
// nothing more. It starts again from the beginning after a crash.
func (b *Broker) endRestored(ctx context.Context, c identity.Caller, f sqlstore.RequestFilter, end func(*unit, *access.Request) error) (ended int, err error) {
	for {
		n := 0
		err := b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
			rows, err := u.tx.Requests(f)
			if err != nil {
				return err
			}
			n = len(rows)
			for _, r := range rows {
				// What has run out ends as that; what is left is ended now.
				ticked, err := u.tick(r)
				if err != nil {
					return err
				}
				if ticked == r {
					err = end(u, r)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n == 0 {
			return ended, err
		}
		ended += n
	}
}

// remindAgain queues the reminders of the reviews that are still due: they were
// among the notices that Restored forgot.
func (u *unit) remindAgain() error {
	due, err := u.tx.Requests(sqlstore.RequestFilter{ReviewDue: true})
	if err != nil {
		return err
	}
	for _, r := range due {
		for _, by := range u.b.cfg.Notifiers {
			if err := u.remind(r.ID, by); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u *unit) endQuarantine(out *api.QuarantineEnd, keepTokens bool) error {
	q := u.b.quarantine.Load()
	if q == nil {
		return nil // somebody else was faster
	}
	if !u.who().admin() {
		return u.forbid("ending the quarantine", "Only admins let a restored store serve again.")
	}
	tokens, err := u.tx.Tokens("")
	if err != nil {
		return err
	}
	if !keepTokens {
		for _, t := range tokens {
			if err := u.dropToken(t); err != nil {
				return err
			}
		}
		out.Tokens, tokens = len(tokens), nil
	}
	if err := u.dropRestoredLogins(); err != nil {
		return err
	}
	if err := u.unlearnRestored(); err != nil {
		return err
	}
	if err := u.remindAgain(); err != nil {
		return err
	}
	if err := u.tx.PutSetting(settingQuarantine, ""); err != nil {
		return err
	}
	// Which tokens of jobs were used in what was lost is lost too.
	if err := u.b.exchange.onlyAfter(u.tx, u.now); err != nil {
		return err
	}
	u.tx.AfterCommit(func() {
		u.b.tokens.load(u.state.catalog, tokens)
		u.b.quarantine.Store(nil)
	})
	e := entry(audit.QuarantineEnded, "", map[string]any{
		"grants": out.Grants, "requests": out.Requests, "tokens": out.Tokens, "tokens_kept": keepTokens, "backup_at": q.BackupAt.String(), "lost": q.Lost,
	})
	e.Outcome = audit.Allowed
	return u.append(e, "")
}
