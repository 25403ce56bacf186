package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Vote is what a reviewer sends.
type Vote struct {
	Decision, ContentHash, Comment string
	Duration                       time.Duration // 0 = as asked
}

// Review records a vote and what follows from it.
func (b *Broker) Review(ctx context.Context, c identity.Caller, id string, v Vote, once *Once) (View, error) {
	class := sqlstore.Normal
	if v.Decision == string(access.Deny) {
		class = sqlstore.Ends // a denial must work on a full disk
	}
	return onceIn(b, ctx, c, class, once, nil, func(u *unit) (View, error) { return u.review(id, v) })
}

func (u *unit) review(id string, v Vote) (View, error) {
	r, err := u.seen(id)
	if err != nil {
		return View{}, err
	}
	if v.Decision == string(access.Approve) {
		if err := u.b.barred(); err != nil {
			return View{}, err
		}
	}
	comment, err := u.text(v.Comment, u.c.Principal)
	if err != nil {
		return View{}, err
	}
	cmd := access.CastVote{
		ReviewID: credential.NewID("rev"), GrantID: credential.NewIDAt("grt", u.now), By: u.c.Principal, Decision: access.Decision(v.Decision),
		ContentHash: v.ContentHash, Duration: v.Duration, CommentDigest: comment,
	}
	next, err := u.run(r, cmd, detail{reason: audit.Text{Digest: comment}, words: v.Comment})
	if err != nil {
		return View{}, u.refusedBy(audit.ReviewRefused, r, err)
	}
	return u.view(next)
}

// refusedBy records that the domain refused a command on r.
func (u *unit) refusedBy(kind string, r *access.Request, err error) error {
	var refused *access.Error
	if !errors.As(err, &refused) {
		return err
	}
	return u.deny(kind, r, domainError(refused))
}

// deny records a refusal about r and returns it.
func (u *unit) deny(kind string, r *access.Request, err *Error) error {
	e := entry(kind, "", map[string]any{"principal": r.Content.Requester})
	e.Request, e.Resource, e.Scope = r.ID, r.Content.Resource, r.Content.Scope
	if r.Grant != nil {
		e.Grant = r.Grant.ID
	}
	return u.refuse(e, r.Content.Requester, err)
}

// seen loads a request that the caller may see.
func (u *unit) seen(id string) (*access.Request, error) {
	if !credential.ValidID("req", id) {
		return nil, notFound("The request")
	}
	r, err := u.load(id)
	if errors.Is(err, sqlstore.ErrNotFound) {
		return nil, notFound("The request")
	}
	if err != nil {
		return nil, err
	}
	if !u.who().sees(r) {
		return nil, notFound("The request")
	}
	return r, nil
}

func (u *unit) who() who { return who{b: u.b, st: u.state, cat: u.state.catalog, c: u.c, tx: u.tx} }

// Cancel withdraws a pending request.
func (b *Broker) Cancel(ctx context.Context, c identity.Caller, id string) (View, error) {
	var v View
	err := b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
		r, err := u.seen(id)
		if err != nil {
			return err
		}
		if !u.who().mayCancel(r) {
			return u.deny(audit.AccessDenied, r, &Error{Kind: Forbidden, Code: "forbidden", Message: "Only the requester, their owner or an admin cancels a request; an approver denies it."})
		}
		next, err := u.run(r, access.Cancel{By: c.Principal}, detail{})
		if err != nil {
			return u.refusedBy(audit.AccessDenied, r, err)
		}
		v, err = u.view(next)
		return err
	})
	return v, err
}

// Request shows one request.
func (b *Broker) Request(ctx context.Context, c identity.Caller, id string) (View, error) {
	var v View
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		r, err := b.visible(tx, c, id)
		if err != nil {
			return err
		}
		v, err = b.who(c).view(tx, r)
		return err
	})
	return v, err
}

func (b *Broker) visible(tx *sqlstore.Tx, c identity.Caller, id string) (*access.Request, error) {
	if !credential.ValidID("req", id) {
		return nil, notFound("The request")
	}
	r, err := tx.Request(id)
	if errors.Is(err, sqlstore.ErrNotFound) {
		return nil, notFound("The request")
	}
	if err != nil {
		return nil, err
	}
	if r = b.asOf(r); !b.who(c).in(tx).sees(r) {
		return nil, notFound("The request")
	}
	return r, nil
}

// asOf shows a pending request that is out of time as lapsed, whether or not
// anything has noticed yet.
func (b *Broker) asOf(r *access.Request) *access.Request {
	if r.State != access.Pending || b.now().Before(r.ApproveBy) {
		return r
	}
	events, err := access.Decide(r, access.Tick{}, access.Facts{Now: b.now()})
	if err != nil {
		return r
	}
	return access.Apply(r, events...)
}

// WaitRequest returns the request as soon as its version is not the given one.
func (b *Broker) WaitRequest(ctx context.Context, c identity.Caller, id string, version int64) (View, error) {
	for {
		moved := b.hub.wait()
		v, err := b.Request(ctx, c, id)
		if err != nil || v.Version != version {
			return v, err
		}
		if b.hub.over() {
			return v, context.Canceled
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return v, ctx.Err()
		}
		if !b.stillAuthentic(c) {
			return View{}, &Error{Kind: Unauthorized, Code: "unauthorized", Message: "This token is no longer good."}
		}
	}
}

// RequestQuery selects requests. Role is requester, reviewer or "".
type RequestQuery struct {
	State, Role, Resource string
	// ReviewDue selects those whose broken glass waits for its review.
	ReviewDue bool
	// Requester selects those of one principal, as far as the caller may see
	// them; it goes with Role "".
	Requester string
	// Running selects those whose grant is in force or is still to begin.
	Running bool
	Page
}

// Requests lists the requests that the caller may see, newest first.
func (b *Broker) Requests(ctx context.Context, c identity.Caller, q RequestQuery) ([]View, string, error) {
	f := sqlstore.RequestFilter{Resource: q.Resource, ReviewDue: q.ReviewDue}
	switch access.State(q.State) {
	case "":
	case access.Pending, access.Approved, access.Denied, access.Cancelled:
		f.States = []access.State{access.State(q.State)}
	case access.Expired:
		// What has lapsed is shown as expired before anything has noticed.
		f.States = []access.State{access.Expired, access.Pending}
	default:
		return nil, "", invalid("query.state", "A request is pending, approved, denied, cancelled or expired.")
	}
	if q.Running {
		f.GrantStates = running
	}
	w := b.who(c)
	keep := who.sees
	switch q.Role {
	case "":
		f.Requester = q.Requester
	case "requester":
		f.Requester = c.Principal
	case "reviewer":
		keep = who.approver
	default:
		return nil, "", invalid("query.role", "Your role is requester or reviewer.")
	}
	var items []View
	cursor, err := b.scan(ctx, c, "requests", f, q.Page, func(tx *sqlstore.Tx, r *access.Request) (bool, error) {
		r = b.asOf(r)
		if !keep(w.in(tx), r) || q.State != "" && string(r.State) != q.State {
			return false, nil
		}
		if q.Running && !b.now().Before(r.Grant.ExpiresAt) {
			return false, nil // over, whether or not anything has noticed
		}
		v, err := w.view(tx, r)
		items = append(items, v)
		return true, err
	})
	return items, cursor, err
}

// scanStep is how many rows a list reads at a time.
const scanStep = 200

// scan walks requests, newest first, until take has taken a page.
func (b *Broker) scan(ctx context.Context, c identity.Caller, list string, f sqlstore.RequestFilter, p Page, take func(*sqlstore.Tx, *access.Request) (bool, error)) (next string, err error) {
	if f.Before, err = b.cursors.open(c, list, p.Cursor); err != nil {
		return "", err
	}
	limit := p.limit()
	f.Limit = scanStep
	err = b.view(ctx, func(tx *sqlstore.Tx) error {
		taken := 0
		for {
			rows, err := tx.Requests(f)
			if err != nil {
				return fmt.Errorf("listing %s: %w", list, err)
			}
			for _, r := range rows {
				f.Before = sqlstore.Cursor{At: r.CreatedAt, ID: r.ID}
				ok, err := take(tx, r)
				if err != nil {
					return err
				}
				if !ok {
					continue
				}
				if taken++; taken == limit {
					next = b.cursors.seal(c, list, f.Before)
					return nil
				}
			}
			if len(rows) < f.Limit || ctx.Err() != nil {
				return ctx.Err()
			}
		}
	})
	return next, err
}

// limit is the page size, 50 where it was not given.
func (p Page) limit() int {
	if p.Limit <= 0 {
		return 50
	}
	return min(p.Limit, 200)
}

// Me says who the caller is.
func (b *Broker) Me(_ context.Context, c identity.Caller) (api.Me, error) {
	cat := b.catalog()
	p, ok := cat.Principal(c.Principal)
	if !ok {
		return api.Me{}, &Error{Kind: Unauthorized, Code: "unauthorized", Message: "This principal is no longer known."}
	}
	person, _ := cat.Person(c.Principal)
	me := api.Me{ID: p.ID, Person: person, Kind: p.Kind(), Owner: p.Owner, Groups: nonNil(cat.Groups(p.ID)), Admin: p.Admin, Auditor: p.Auditor}
	me.Login, me.ExpiresAt = b.shownMeans(c)
	return me, nil
}
