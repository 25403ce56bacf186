package sqlstore

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// Request loads a request with its reviews and grant.
func (t *Tx) Request(id string) (*access.Request, error) {
	act := "loading request " + id
	row, err := read(t, act, func() (db.RequestRow, error) { return t.q.Request(t.ctx, id) })
	if err != nil {
		return nil, err
	}
	return decodeRequest(act, row.Version, row.Body)
}

// RequestOfGrant loads the request that a grant belongs to.
func (t *Tx) RequestOfGrant(grant string) (*access.Request, error) {
	act := "loading the request of grant " + grant
	row, err := read(t, act, func() (db.RequestOfGrantRow, error) { return t.q.RequestOfGrant(t.ctx, &grant) })
	if err != nil {
		return nil, err
	}
	return decodeRequest(act, row.Version, row.Body)
}

// PutRequest inserts r (Version 0) or replaces it if its stored version is
// still r.Version, else ErrConflict. It moves r.Version on.
func (t *Tx) PutRequest(r *access.Request) (err error) {
	act := "keeping request " + r.ID
	was := r.Version
	r.Version++
	defer func() {
		if err != nil {
			r.Version = was
		}
	}()
	body, err := encodeRequest(r)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	row := db.InsertRequestParams{
		ID: r.ID, Version: r.Version, State: string(r.State),
		Requester: r.Content.Requester, Resource: r.Content.Resource, Extends: optional(r.Content.Extends),
		CreatedAt: millis(r.CreatedAt), Body: body,
		Incarnation: r.Content.Incarnation, Kind: r.Content.Kind, Scope: string(r.Content.Scope),
	}
	if at := r.Deadline(); !at.IsZero() {
		row.Deadline = new(millis(at))
	}
	if r.Duty.Open() {
		row.ReviewDue = new(int64(1))
	}
	if g := r.Grant; g != nil {
		row.GrantID, row.GrantState = &g.ID, new(string(g.State))
		row.StartsAt, row.ExpiresAt = new(millis(g.StartsAt)), new(millis(g.ExpiresAt))
	}
	failpoint.Hit("store.request.before")
	n, err := t.write(act, func() (int64, error) {
		if was == 0 {
			return t.q.InsertRequest(t.ctx, row)
		}
		if row.GrantID != nil {
			if n, err := t.q.UpdateGrant(t.ctx, db.UpdateGrantParams{
				ID: row.ID, Version: was, Next: row.Version, State: row.State, GrantID: row.GrantID, StartsAt: row.StartsAt,
				Requester: row.Requester, Resource: row.Resource, CreatedAt: row.CreatedAt,
				Deadline: row.Deadline, GrantState: row.GrantState, ExpiresAt: row.ExpiresAt, Body: row.Body, ReviewDue: row.ReviewDue,
			}); n > 0 || err != nil {
				return n, err
			}
		}
		return t.q.UpdateRequest(t.ctx, db.UpdateRequestParams{
			ID: row.ID, Version: was, Next: row.Version, State: row.State,
			Requester: row.Requester, Resource: row.Resource, Extends: row.Extends, CreatedAt: row.CreatedAt, Deadline: row.Deadline,
			GrantID: row.GrantID, GrantState: row.GrantState, StartsAt: row.StartsAt, ExpiresAt: row.ExpiresAt, Body: row.Body, ReviewDue: row.ReviewDue,
			Incarnation: row.Incarnation, Kind: row.Kind, Scope: row.Scope,
		})
	})
	failpoint.Hit("store.request.after")
	return one(act, n, err, ErrConflict)
}

// PutInput keeps the decision input of a stored request, once, without its
// texts; ErrConflict the second time.
func (t *Tx) PutInput(request string, input json.RawMessage) error {
	act := "keeping the decision input of " + request
	n, err := t.write(act, func() (int64, error) { return t.q.InsertInput(t.ctx, request, string(input)) })
	failpoint.Hit("store.input.after")
	return one(act, n, err, ErrConflict)
}

// Input returns what PutInput kept.
func (t *Tx) Input(request string) (json.RawMessage, error) {
	s, err := read(t, "reading the decision input of "+request, func() (string, error) { return t.q.Input(t.ctx, request) })
	if err != nil {
		return nil, err
	}
	return json.RawMessage(s), nil
}

// PendingExtensions lists the requests for more time on a grant that wait.
func (t *Tx) PendingExtensions(grant string) ([]*access.Request, error) {
	const act = "listing extensions"
	rows, err := read(t, act, func() ([]db.PendingExtensionsRow, error) { return t.q.PendingExtensions(t.ctx, &grant) })
	if err != nil {
		return nil, err
	}
	out := make([]*access.Request, len(rows))
	for i, row := range rows {
		if out[i], err = decodeRequest(act, row.Version, row.Body); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AnyExtensionPending reports whether any request for more time waits.
func (t *Tx) AnyExtensionPending() (bool, error) {
	one, err := read(t, "looking for extensions", func() ([]*string, error) { return t.q.AnyExtensionPending(t.ctx) })
	return len(one) > 0, err
}

// DueRequests returns at most limit requests whose deadline is at or before
// now, the earliest first: those after a place in that order, whose At is a
// deadline, or from the beginning.
func (t *Tx) DueRequests(now time.Time, after Cursor, limit int) ([]*access.Request, error) {
	q := newQuery("SELECT version, body FROM requests")
	q.where("deadline <= ?", millis(now))
	if after != (Cursor{}) {
		q.where("(deadline, id) > (?, ?)", millis(after.At), after.ID)
	}
	q.tail("ORDER BY deadline, id", limit)
	return list(t, "looking for due requests", q, scanRequest)
}

// NextDeadline returns the earliest deadline of all; zero when there is none.
func (t *Tx) NextDeadline() (time.Time, error) {
	at, err := orNone(read(t, "looking for the next deadline", func() (*int64, error) { return t.q.NextDeadline(t.ctx) }))
	if err != nil || at == nil {
		return time.Time{}, err
	}
	return instant(*at), nil
}

// CountPending counts pending requests of requester, all and those for resource.
func (t *Tx) CountPending(requester, resource string) (all, onResource int, err error) {
	const act = "counting pending requests"
	n, err := read(t, act, func() (int64, error) { return t.q.CountPending(t.ctx, requester) })
	if err != nil {
		return 0, 0, err
	}
	on, err := read(t, act, func() (int64, error) { return t.q.CountPendingOn(t.ctx, requester, resource) })
	if err != nil {
		return 0, 0, err
	}
	return int(n), int(on), nil
}
