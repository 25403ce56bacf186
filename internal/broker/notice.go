package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/notify"
	"github.com/daypass/daypass/internal/store/sqlstore"
	"github.com/daypass/daypass/internal/workload"
)

// payload is a job as the store keeps it. It holds no text and no recipients:
// those are looked up when it is carried out (WHK-18).
type payload struct {
	Request string `json:"request"`
	Notice  string `json:"notice,omitempty"`
	By      string `json:"by,omitempty"`    // the notifier that tells it
	Again   bool   `json:"again,omitempty"` // to be told again for as long as it is true
}

func readPayload(raw json.RawMessage) (payload, error) {
	var p payload
	err := json.Unmarshal(raw, &p)
	return p, err
}

// effect puts a job for the world into the transaction.
func (u *unit) effect(kind string, r *access.Request, in time.Duration) error {
	return u.enqueue(kind, r.Grant.ID, payload{Request: r.ID}, in)
}

func (u *unit) enqueue(kind, key string, p payload, in time.Duration) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	u.tx.AfterCommit(func() {
		u.b.jobs.Store(true)
		u.b.queued.publish()
	})
	return u.tx.Enqueue(sqlstore.Job{Kind: kind, Key: key, Payload: raw, RunAt: u.now.Add(in)})
}

// tell queues the notices of events: approvers hear what waits for them,
// requesters what became of it.
func (u *unit) tell(r *access.Request, events []access.Event) error {
	for _, ev := range events {
		notice := ""
		switch ev := ev.(type) {
		case access.Submitted:
			if !r.Content.Terms.Auto && r.Duty == nil {
				notice = notify.RequestPending
			}
		case access.Voted:
			if r.State == access.Pending && ev.Review.Decision == access.Approve && u.opened(r, ev.Review.Stage) {
				notice = notify.RequestPending
			}
			if r.Duty.Open() && u.opened(r, ev.Review.Stage) {
				notice = notify.ReviewDue
			}
		case access.GlassBroken:
			notice = notify.GlassBroken
		case access.GlassFound:
			notice = notify.GlassFound
		case access.GlassReviewed:
			notice = notify.GlassReviewed
		case access.RequestApproved:
			if r.Duty == nil { // else GlassBroken says it, to more people
				notice = notify.RequestApproved
			}
		case access.RequestCancelled:
			if ev.By != r.Content.Requester {
				notice = notify.RequestCancelled
			}
		case access.GrantActivated:
			if r.Content.StartAt != nil {
				notice = notify.GrantActive // it was approved long before
			}
		case access.RequestDenied:
			notice = notify.RequestDenied
		case access.RequestExpired:
			notice = notify.RequestExpired
		case access.GrantEnding:
			notice = notify.GrantEnded
		}
		if notice == "" {
			continue
		}
		// A job for each notifier: one that is down holds up no other, and
		// what was sent is not sent again because of it.
		for _, by := range u.b.cfg.Notifiers {
			if err := u.enqueue(jobNotify, "notify:"+by+":"+r.ID, payload{Request: r.ID, Notice: notice, By: by}, 0); err != nil {
				return err
			}
			if notice == notify.GlassBroken {
				if err := u.remind(r.ID, by); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// remindEvery is how often the reviewers of a broken glass are told that it
// still waits for them.
const remindEvery = 24 * time.Hour

// remind queues the next reminder of a review that is due. It has a queue of
// its own: nothing waits behind it for a day.
func (u *unit) remind(request, by string) error {
	return u.enqueue(jobNotify, "remind:"+by+":"+request, payload{Request: request, Notice: notify.ReviewDue, By: by, Again: true}, remindEvery)
}

// reminded queues the reminder after j, while the review is still due.
func (u *unit) reminded(j Job) error {
	r, err := u.tx.Request(j.Request)
	if err != nil || !r.Duty.Open() {
		return err
	}
	return u.remind(r.ID, j.By)
}

// opened reports whether the vote in stage opened a later one.
func (u *unit) opened(r *access.Request, stage int) bool {
	open, ok := access.OpenStage(r, u.directory(r))
	return ok && open > stage
}

// Notice resolves a notify job: what it tells, and whom, as of now. No
// recipients mean that there is nobody to tell any more: the request was
// decided meanwhile, or its approvers are gone.
func (b *Broker) Notice(ctx context.Context, j Job) (notify.Facts, []notify.Recipient, error) {
	f := notify.Facts{ID: fmt.Sprintf("msg_%s_%d", strings.TrimPrefix(j.Request, "req_"), j.ID), Type: j.Notice, At: b.now(), PublicURL: b.cfg.PublicURL}
	var to []notify.Recipient
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		r, err := tx.Request(j.Request)
		if err != nil {
			return fmt.Errorf("request %s: %w", j.Request, err)
		}
		if to = b.recipients(tx, b.asOf(r), j.Notice); len(to) == 0 {
			return nil
		}
		v, err := b.who(identity.Caller{Principal: to[0].Principal}).view(tx, r)
		if err != nil {
			return err
		}
		fill(&f, v, r)
		return nil
	})
	return f, to, err
}

// recipients are those whom a notice about r concerns right now.
func (b *Broker) recipients(tx *sqlstore.Tx, r *access.Request, notice string) []notify.Recipient {
	cat := b.catalog()
	var to []notify.Recipient
	for _, p := range cat.Principals() {
		concerned := p.ID == r.Content.Requester
		if owned, ok := cat.Principal(r.Content.Requester); ok && owned.Owner == p.ID {
			concerned = true
		}
		w := b.who(identity.Caller{Principal: p.ID}).in(tx)
		switch notice {
		case notify.RequestPending, notify.ReviewDue:
			concerned = w.mayVote(r)
		case notify.GlassBroken:
			concerned = concerned && p.ID != r.Content.Requester || w.told(r) || w.mayVote(r)
		case notify.GlassFound, notify.GlassReviewed:
			concerned = concerned || w.told(r)
		}
		if concerned && enabled(cat, p.ID) {
			to = append(to, notify.Recipient{Principal: p.ID, Email: p.Email})
		}
	}
	return to
}

// fill adds what the request says to the facts of a notice.
func fill(f *notify.Facts, v View, r *access.Request) {
	f.Request, f.Requester, f.Resource, f.Role, f.Scope = r.ID, v.Requester, v.Resource, v.Role, string(v.Scope)
	f.Duration, f.Reason, f.Ticket, f.Extends = access.Effective(r), v.Reason, v.Ticket, v.Extends
	f.By, f.Outcome, f.ApproveBy = r.DecidedBy, r.Outcome, r.ApproveBy
	f.Job = workload.Describe(v.Workload)
	if n := len(v.Reviews); n > 0 {
		f.Comment = v.Reviews[n-1].Comment
	}
	if n := len(r.Reviews); n > 0 && r.Duty != nil {
		f.By = r.Reviews[n-1].By
	}
	if v.Grant == nil {
		return
	}
	f.Grant, f.StartsAt, f.ExpiresAt = v.Grant.ID, v.Grant.StartsAt.Time, v.Grant.ExpiresAt.Time
	if f.Type == notify.GrantEnded && r.Grant != nil {
		f.EndedReason, f.By, f.Comment = string(r.Grant.EndedReason), r.Grant.EndedBy, ""
	}
}
