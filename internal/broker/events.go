package broker

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// EventQuery selects audit entries: newest first, or ascending after a
// sequence number.
type EventQuery struct {
	After                              int64
	HasAfter                           bool
	Request, Principal, Resource, Type string
	Page
}

// Events lists audit entries to an admin or auditor.
func (b *Broker) Events(ctx context.Context, c identity.Caller, q EventQuery) ([]api.Event, string, error) {
	if !b.who(c).auditor() {
		return nil, "", b.forbid(ctx, c, "reading the audit log", "Only admins and auditors read the audit log.")
	}
	f := sqlstore.EventFilter{After: q.After, Ascending: q.HasAfter, Request: q.Request, Principal: q.Principal, Resource: q.Resource, Type: q.Type, Limit: q.limit()}
	at, err := b.cursors.open(c, "events", q.Cursor)
	if err != nil {
		return nil, "", err
	}
	if at.ID != "" {
		seq, err := strconv.ParseInt(at.ID, 10, 64)
		if err != nil {
			return nil, "", err
		}
		if f.Ascending {
			f.After = seq
		} else {
			f.Before = seq
		}
	}
	// One call that reads from the beginning is somebody taking the log out.
	if f.Ascending && q.After == 0 && q.Cursor == "" {
		if err := b.exported(ctx, c); err != nil {
			return nil, "", err
		}
	}
	out := []api.Event{}
	err = b.view(ctx, func(tx *sqlstore.Tx) error {
		rows, err := tx.Events(f)
		if err != nil {
			return err
		}
		for _, row := range rows {
			e, err := shownEvent(row)
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	next := ""
	if len(out) == f.Limit {
		next = b.cursors.seal(c, "events", sqlstore.Cursor{ID: strconv.FormatInt(out[len(out)-1].Seq, 10)})
	}
	return out, next, err
}

func (b *Broker) exported(ctx context.Context, c identity.Caller) error {
	return b.do(ctx, c, sqlstore.Normal, func(u *unit) error {
		e := entry(audit.Exported, "", map[string]any{"from": 1})
		e.Outcome = audit.Allowed
		return u.append(e, c.Principal)
	})
}

// shownEvent is a stored entry as the API shows it.
func shownEvent(row sqlstore.Event) (api.Event, error) {
	e, err := audit.EventOf(row.Bytes, &row.Leaf, optional(row.Reason))
	if err != nil {
		return e, fmt.Errorf("entry %d: %w", row.Seq, err)
	}
	if row.Salt != ([16]byte{}) {
		e.Leaf.ReasonSalt = hex.EncodeToString(row.Salt[:])
	}
	return e, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Checkpoint returns the signed head of the audit log.
func (b *Broker) Checkpoint(ctx context.Context, c identity.Caller) (api.Checkpoint, error) {
	if !b.who(c).auditor() {
		return api.Checkpoint{}, b.forbid(ctx, c, "reading the checkpoint", "Only admins and auditors read the audit log's checkpoint.")
	}
	var out api.Checkpoint
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		_, signed, err := tx.Head()
		out = api.Checkpoint{Checkpoint: string(signed), Key: b.cfg.AuditKey}
		return err
	})
	return out, err
}

// Proof proves that an entry is in the log that the checkpoint signs.
func (b *Broker) Proof(ctx context.Context, c identity.Caller, event string) (api.Proof, error) {
	if !b.who(c).auditor() {
		return api.Proof{}, b.forbid(ctx, c, "reading a proof", "Only admins and auditors read the audit log's proofs.")
	}
	if !credential.ValidID("evt", event) {
		return api.Proof{}, notFound("The entry")
	}
	var out api.Proof
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		p, err := tx.Proof(event)
		if errors.Is(err, sqlstore.ErrNotFound) {
			return notFound("The entry")
		}
		out = p
		return err
	})
	return out, err
}

// streamed are the types of entries that GET /v1/events tells of.
func streamed(kind string) bool {
	return strings.HasPrefix(kind, "request.") || strings.HasPrefix(kind, "grant.") || kind == audit.ReviewRecorded
}

// Stream sends what happens to the requests that the caller may see, from
// after a sequence number on (negative: from now). It ends with ctx, at a
// shutdown, or when the caller's token is no longer good.
func (b *Broker) Stream(ctx context.Context, c identity.Caller, after int64, send func(api.StreamEvent) error) error {
	for {
		moved := b.hub.wait()
		if !b.stillAuthentic(c) {
			return &Error{Kind: Unauthorized, Code: "unauthorized", Message: "This token is no longer good."}
		}
		var batch []api.StreamEvent
		last, err := b.streamFrom(ctx, c, after, &batch)
		if err != nil {
			return err
		}
		for _, e := range batch {
			if err := send(e); err != nil {
				return err
			}
		}
		more := after >= 0 && last > after
		if after = last; more {
			continue
		}
		if b.hub.over() {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// streamFrom reads the next entries that c may see; last is how far it read.
func (b *Broker) streamFrom(ctx context.Context, c identity.Caller, after int64, batch *[]api.StreamEvent) (last int64, err error) {
	err = b.view(ctx, func(tx *sqlstore.Tx) error {
		head, _, err := tx.Head()
		if err != nil {
			return err
		}
		if after < 0 || after > head.Seq {
			last = head.Seq
			return nil
		}
		last = after
		rows, err := tx.Events(sqlstore.EventFilter{After: after, Ascending: true, Limit: scanStep})
		if err != nil {
			return err
		}
		w := b.who(c).in(tx)
		for _, row := range rows {
			last = row.Seq
			e, err := audit.DecodeEntry(row.Bytes)
			if err != nil {
				return fmt.Errorf("entry %d: %w", row.Seq, err)
			}
			if e.Request == "" || !streamed(e.Type) {
				continue
			}
			r, err := tx.Request(e.Request)
			if err != nil {
				if errors.Is(err, sqlstore.ErrNotFound) {
					continue
				}
				return err
			}
			if !w.sees(r) {
				continue
			}
			v, err := w.view(tx, r)
			if err != nil {
				return err
			}
			*batch = append(*batch, api.StreamEvent{Seq: row.Seq, Type: e.Type, Time: api.TimeOf(e.Time), Request: &v.Request})
		}
		return nil
	})
	return last, err
}
