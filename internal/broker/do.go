package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// unit is one command's work inside one transaction.
type unit struct {
	b       *Broker
	tx      *sqlstore.Tx
	c       identity.Caller
	now     time.Time
	state   *state
	fresh   map[string]policy.Input // of requests made in this transaction
	refused *Error                  // set by refuse: what was written is kept all the same
	entries *[]sqlstore.Record      // of the record: written last, as one leaf
	late    *[]string               // grants whose extension came to the index after their end
	// displaced are names that belong to somebody else from this catalog on.
	displaced map[string]bool
	waiting   *bool // whether any extension waits, where many grants end; nil: ask for each
}

// do runs fn in a transaction of its own. A refusal that fn recorded (refuse)
// is committed; any other error leaves nothing behind.
func (b *Broker) do(ctx context.Context, c identity.Caller, class sqlstore.Class, fn func(*unit) error) error {
	if err := b.forget(ctx); err != nil {
		return err
	}
	b.gate.RLock()
	defer b.gate.RUnlock()
	return b.update(ctx, c, class, fn)
}

// alone is do for changes of what decisions rest on: nothing else runs beside.
func (b *Broker) alone(ctx context.Context, c identity.Caller, class sqlstore.Class, fn func(*unit) error) error {
	if err := b.forget(ctx); err != nil {
		return err
	}
	b.gate.Lock()
	defer b.gate.Unlock()
	return b.update(ctx, c, class, fn)
}

func (b *Broker) update(ctx context.Context, c identity.Caller, class sqlstore.Class, fn func(*unit) error) error {
	if why := b.broken.Load(); why != nil {
		return &Error{Kind: Unavailable, Code: "unavailable", Message: *why}
	}
	var refused *Error
	var late []string
	// A conflict means that another node was faster: the whole decision is
	// made again on what is there now.
	for attempt := 0; ; attempt++ {
		refused, late = nil, nil
		err := b.cfg.Store.Update(ctx, class, func(tx *sqlstore.Tx) error {
			refused = nil
			// Who calls was found out before the body came: that can be long ago.
			if class == sqlstore.Normal && c.Login != "" && !b.loginHolds(c) {
				return notLoggedIn()
			}
			u := &unit{b: b, tx: tx, c: c, now: b.now(), state: b.state.Load(), entries: new([]sqlstore.Record), late: &late}
			err := fn(u)
			if u.refused != nil && errors.Is(err, u.refused) {
				refused, err = u.refused, nil
			}
			if err != nil || len(*u.entries) == 0 {
				return err
			}
			tx.AfterCommit(b.hub.publish)
			return tx.AppendBatch(*u.entries)
		})
		if errors.Is(err, sqlstore.ErrConflict) && attempt < 5 {
			continue
		}
		if err == nil && len(late) > 0 {
			return b.endLate(ctx, late)
		}
		if err == nil && refused != nil {
			return refused
		}
		return b.storeError(err)
	}
}

// endLate writes down the end of grants that expired while an extension of
// them was being committed. Checks have denied them since; what has ended stays
// so (A2), and whoever extended it is told.
func (b *Broker) endLate(ctx context.Context, grants []string) error {
	err := b.update(context.WithoutCancel(ctx), identity.System("clock"), sqlstore.Ends, func(u *unit) error {
		for _, grant := range grants {
			r, err := u.tx.RequestOfGrant(grant)
			if err != nil {
				return err
			}
			more := map[string]any{"why": "The grant expired while its extension was being written."}
			if _, err := u.run(r, access.End{By: "system:clock", Reason: access.EndPolicy}, detail{more: more}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return &Error{Kind: Conflict, Code: "not_active", Message: "The grant expired while its extension was being written; ask for a new one."}
}

func (b *Broker) storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sqlstore.ErrFull):
		return &Error{Kind: Unavailable, Code: "storage_full", Message: "The server's disk is full: only revocations, denials and expiries are taken. Try again when an operator has made space.", RetryAfter: 5 * time.Second}
	case errors.Is(err, sqlstore.ErrBusy):
		return &Error{Kind: Unavailable, Code: "storage_slow", Message: "The server's disk does not keep up: nothing was done. Try again in a few seconds; revocations and denials go first.", RetryAfter: 5 * time.Second}
	case errors.Is(err, sqlstore.ErrFailed):
		return &Error{Kind: Unavailable, Code: "storage_failed", Message: "The server's storage failed and it is shutting down. Try again in a moment.", RetryAfter: 5 * time.Second}
	case errors.Is(err, sqlstore.ErrConflict):
		return &Error{Kind: Conflict, Code: "busy", Message: "Too many changed this at once. Try again.", RetryAfter: time.Second}
	case errors.Is(err, sqlstore.ErrNotFound):
		return notFound("It")
	}
	return err
}

// view runs fn on a snapshot.
func (b *Broker) view(ctx context.Context, fn func(*sqlstore.Tx) error) error {
	return b.storeError(b.cfg.Store.View(ctx, fn))
}

// load returns a request as it is at this instant: time acts on it first.
func (u *unit) load(id string) (*access.Request, error) {
	r, err := u.tx.Request(id)
	if err != nil {
		return nil, err
	}
	if r.Content.Extends != "" && r.State == access.Pending {
		// The end of its grant ends an extension, also before anybody has
		// noticed: whoever comes too late is told so (A12).
		if err := u.tickBase(r); err != nil {
			return nil, err
		}
		if r, err = u.tx.Request(id); err != nil {
			return nil, err
		}
	}
	return u.tick(r)
}

// tickBase lets time act on the grant that r extends.
func (u *unit) tickBase(r *access.Request) error {
	base, err := u.tx.RequestOfGrant(r.Content.Extends)
	if err != nil {
		return err
	}
	_, err = u.tick(base)
	return err
}

// tick lets time act on r. What was revoked among many ended before anything
// else: its start or its end may have come, and its row not been written yet.
func (u *unit) tick(r *access.Request) (*access.Request, error) {
	if s := u.b.sweeps.of(r); s != nil {
		return u.sweepOne(s, r)
	}
	if at := r.Deadline(); at.IsZero() || at.After(u.now) {
		return r, nil
	}
	by := *u
	by.c = identity.System("clock")
	return by.run(r, access.Tick{}, detail{})
}

// run is the one path on which a request changes: decide, apply, write, with
// the audit entries and the effects in the same transaction.
func (u *unit) run(r *access.Request, cmd access.Command, d detail) (*access.Request, error) {
	facts, err := u.facts(r, cmd)
	if err != nil {
		return nil, err
	}
	events, err := access.Decide(r, cmd, facts)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 {
		return r, nil
	}
	if _, ok := cmd.(access.CastVote); ok {
		failpoint.Hit("broker.vote.decided")
	}
	next := access.Apply(r, events...)
	if err := u.tx.PutRequest(next); err != nil {
		return nil, fmt.Errorf("writing request %s: %w", next.ID, err)
	}
	if err := u.record(next, events, d); err != nil {
		return nil, err
	}
	failpoint.Hit("broker.run.recorded")
	if err := u.follow(next, events); err != nil {
		return nil, err
	}
	failpoint.Hit("broker.run.followed")
	u.tx.AfterCommit(func() { *u.late = append(*u.late, u.b.publish(next, events)...) })
	return next, nil
}

// facts gathers what the domain must know for a command.
func (u *unit) facts(r *access.Request, cmd access.Command) (access.Facts, error) {
	f := access.Facts{Now: u.now, Directory: u.state.catalog, IssuingOff: !u.b.mayIssue()}
	var content access.Content
	switch cmd := cmd.(type) {
	case access.Submit:
		content = cmd.Content
		f.Current = &access.Verdict{Terms: content.Terms}
		if content.Terms.BreakGlass != nil {
			duty, err := u.openDuty(cmd.Person)
			if err != nil {
				return f, err
			}
			f.OpenDuty = duty
		}
	default:
		content = r.Content
		f.Directory = u.directory(r)
	}
	f.Connector = u.b.cfg.Connectors[content.Kind]
	if grants(r, cmd) {
		v, err := u.verdict(r)
		if err != nil {
			return f, err
		}
		f.Current = v
	}
	if content.Extends != "" {
		base, err := u.tx.RequestOfGrant(content.Extends)
		if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
			return f, err
		}
		if err == nil {
			f.Base = base.Grant
		}
	}
	return f, nil
}

// grants reports whether a command can lead to access, so that the catalog in
// force must be asked: a vote, and time where it brings a scheduled start.
func grants(r *access.Request, cmd access.Command) bool {
	switch cmd.(type) {
	case access.CastVote:
		return r.Duty == nil // looking back gives nothing
	case access.Tick:
		return r.Grant != nil && r.Grant.State == access.Scheduled
	}
	return false
}

// verdict is what the catalog in force says of r now. Groups that the
// requester gained since do not count, those lost do.
func (u *unit) verdict(r *access.Request) (*access.Verdict, error) {
	refuse := func(why string) (*access.Verdict, error) { return &access.Verdict{Refusal: why}, nil }
	cat := u.state.catalog
	if !enabled(cat, r.Content.Requester) {
		return refuse("The requester is no longer known, or is disabled.")
	}
	if u.state.incarnations[r.Content.Resource] != r.Content.Incarnation {
		return refuse("The resource was removed or now points elsewhere; ask anew.")
	}
	in, err := u.input(r)
	if err != nil {
		return nil, err
	}
	in.Groups = intersect(in.Groups, cat.Groups(in.Principal))
	in.Now = u.now
	if in.StartsAt.Before(u.now) {
		in.StartsAt = u.now // an approval gives the time from here on
	}
	in.Decided = true
	in.Duration = access.Effective(r)
	d := cat.Evaluate(in)
	u.fillTerms(&d.Terms)
	return d.Verdict(), nil
}

func (u *unit) fillTerms(t *access.Terms) {
	if t.ApproveWithin <= 0 {
		t.ApproveWithin = u.b.cfg.Limits.RequestTTL
	}
}

// follow carries on what a change means for other requests and for the world.
func (u *unit) follow(r *access.Request, events []access.Event) error {
	for _, ev := range events {
		switch ev := ev.(type) {
		case access.RequestApproved:
			if r.Content.Extends == "" {
				continue
			}
			if err := u.extendBase(r); err != nil {
				return err
			}
		case access.Granted:
			if ev.Grant.State == access.Activating {
				if err := u.effect(jobProvision, r, 0); err != nil {
					return err
				}
			}
		case access.GrantActivating:
			if u.b.cfg.Connectors[r.Content.Kind] {
				if err := u.effect(jobProvision, r, 0); err != nil {
					return err
				}
			}
		case access.GrantExtended:
			// The target holds an end of its own, which moves too.
			if u.b.cfg.Connectors[r.Content.Kind] && r.Grant.State == access.Active {
				if err := u.effect(jobProvision, r, 0); err != nil {
					return err
				}
			}
		case access.GrantEnding:
			if err := u.grantOver(r); err != nil {
				return err
			}
		}
	}
	return u.tell(r, events)
}

// extendBase lengthens the grant that the approved extension r names. Decide
// has seen that grant in this same transaction, so a refusal here is a bug and
// undoes everything.
func (u *unit) extendBase(r *access.Request) error {
	base, err := u.tx.RequestOfGrant(r.Content.Extends)
	if err != nil {
		return err
	}
	limit := r.Content.Terms.MaxTotal
	if v, err := u.verdict(r); err != nil {
		return err
	} else if v.Refusal == "" && v.Terms.MaxTotal > 0 && v.Terms.MaxTotal < limit {
		limit = v.Terms.MaxTotal
	}
	failpoint.Hit("broker.extend.before")
	_, err = u.run(base, access.Extend{By: r.ID, Duration: access.Effective(r), MaxTotal: limit}, detail{})
	return err
}

// grantOver cleans up after a grant: its connector, and the extensions of it
// that still wait.
func (u *unit) grantOver(r *access.Request) error {
	if r.Grant.State == access.Ending {
		if err := u.effect(jobRemove, r, 0); err != nil {
			return err
		}
	}
	if u.waiting != nil && !*u.waiting {
		return nil
	}
	waiting, err := u.tx.PendingExtensions(r.Grant.ID)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		if _, err := u.run(w, access.Lapse{}, detail{}); err != nil {
			return err
		}
	}
	return nil
}

// publish tells the live index of a committed change. It returns the grants
// whose extension came too late.
func (b *Broker) publish(r *access.Request, events []access.Event) (late []string) {
	failpoint.Hit("broker.publish.before")
	defer b.soon.note(r, events) // after the index has it
	if b.quarantine.Load() != nil {
		return nil // nothing may become live, and nothing is
	}
	for _, ev := range events {
		switch ev := ev.(type) {
		case access.Granted:
			if ev.Grant.State == access.Active {
				b.put(r)
			}
		case access.GrantActivated:
			b.put(r)
		case access.GrantExtended:
			if !b.cfg.Index.Extend(r.Grant.ID, ev.ExpiresAt) {
				late = append(late, r.Grant.ID)
			}
		case access.GrantEnding:
			failpoint.Hit("broker.end.before")
			b.cfg.Index.End(r.Grant.ID, ev.At, string(ev.Reason))
			failpoint.Hit("broker.end.after")
		}
	}
	failpoint.Hit("broker.publish.after")
	return late
}

// put tells the index of a grant that begins. One that a revocation of many in
// the same group of commits names has ended in the same instant.
func (b *Broker) put(r *access.Request) {
	b.cfg.Index.Put(b.liveGrant(r), r.Grant.ExpiresAt)
	if s := b.sweeps.of(r); s != nil {
		b.cfg.Index.End(r.Grant.ID, s.At, string(s.why(r.Content.Requester)))
	}
}

// append adds an audit entry to those of this transaction. They are written at
// its end, all of a command as one leaf: the tree grows by one, however many
// grants a sweep ends. What cannot be written then undoes the whole command;
// the error is for what is seen to be so at once.
func (u *unit) append(e *audit.Entry, principal string) error {
	if e.Type == "" {
		return errors.New("an audit entry came without its type")
	}
	e.ID, e.Time = credential.NewIDAt("evt", u.now), u.now
	if e.Actor == "" {
		e.Actor, e.OnBehalfOf = u.c.Principal, u.c.OnBehalfOf
	}
	e.Source = audit.Source{IP: u.c.IP, Channel: u.c.Channel}
	*u.entries = append(*u.entries, sqlstore.Record{Entry: e, Principal: principal})
	return nil
}

// refuse records a refusal and returns it: do commits the entry.
func (u *unit) refuse(e *audit.Entry, principal string, err *Error) error {
	e.Outcome = audit.Denied
	if e.Details == nil {
		e.Details = map[string]any{}
	}
	e.Details["code"] = err.Code
	e.Details["message"] = err.Message
	if werr := u.append(e, principal); werr != nil {
		return werr
	}
	failpoint.Hit("broker.refusal.recorded")
	u.refused = err
	return err
}

func enabled(cat *policy.Catalog, id string) bool {
	for range 8 { // owners of owners; the catalog has no cycles
		p, ok := cat.Principal(id)
		if !ok || p.Disabled {
			return false
		}
		if p.Owner == "" {
			return true
		}
		id = p.Owner
	}
	return false
}

func intersect(a, b []string) []string {
	in := make(map[string]bool, len(b))
	for _, s := range b {
		in[s] = true
	}
	both := []string{}
	for _, s := range a {
		if in[s] {
			both = append(both, s)
		}
	}
	return both
}
