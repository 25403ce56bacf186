package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/lint"
	"github.com/daypass/daypass/internal/policy/rehearse"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Replaying says which recorded requests are replayed.
type Replaying struct {
	Since  time.Time
	Until  time.Time // now
	Frozen bool      // with the groups of a requester as they were
}

// maxFlips is how many flips a backtest lists; all are counted.
const maxFlips = 1000

// replayPage is how many requests are read in one transaction.
const replayPage = 500

// Viewer reads a store.
type Viewer interface {
	View(ctx context.Context, fn func(*sqlstore.Tx) error) error
}

// BacktestCatalog replays the recorded requests against a catalog. It tells of
// everybody's requests: only admins and auditors are told, and it is on record.
func (b *Broker) BacktestCatalog(ctx context.Context, c identity.Caller, source []byte, since time.Duration, frozen bool) (api.Backtest, error) {
	if !b.who(c).auditor() {
		return api.Backtest{}, b.forbid(ctx, c, "replaying requests", "Only admins and auditors replay the recorded requests.")
	}
	cat, err := policy.Parse(source, b.cfg.Kinds)
	if err != nil {
		return api.Backtest{}, &CatalogError{Problems: lint.Problems(err)}
	}
	now := b.now()
	out, err := Backtest(ctx, b.cfg.Store, cat, Replaying{Since: now.Add(-since), Until: now, Frozen: frozen})
	if err != nil {
		return out, b.storeError(err)
	}
	return out, b.do(ctx, c, sqlstore.Normal, func(u *unit) error {
		e := entry(audit.CatalogBacktested, "", map[string]any{"policy": cat.Version(), "since": out.Since.String(), "replayed": out.Replayed, "flipped": out.Flipped})
		e.Outcome = audit.Allowed
		return u.append(e, c.Principal)
	})
}

// Backtest replays the requests that a store recorded, newest first and page by
// page.
func Backtest(ctx context.Context, store Viewer, cat *policy.Catalog, o Replaying) (api.Backtest, error) {
	replay := rehearse.NewReplay(cat, o.Since, o.Until, o.Frozen, maxFlips)
	from := sqlstore.Cursor{}
	for more := true; more; {
		err := store.View(ctx, func(tx *sqlstore.Tx) error {
			var err error
			from, more, err = replayRequests(tx, replay, o.Since, from)
			return err
		})
		if err != nil {
			return api.Backtest{}, fmt.Errorf("replaying requests: %w", err)
		}
	}
	for before, more := int64(0), true; more; {
		err := store.View(ctx, func(tx *sqlstore.Tx) error {
			var err error
			before, more, err = replayRefusals(tx, replay, o.Since, before)
			return err
		})
		if err != nil {
			return api.Backtest{}, fmt.Errorf("replaying refusals: %w", err)
		}
	}
	return replay.Result(), nil
}

func replayRequests(tx *sqlstore.Tx, replay *rehearse.Replay, since time.Time, from sqlstore.Cursor) (next sqlstore.Cursor, more bool, err error) {
	rows, err := tx.Requests(sqlstore.RequestFilter{Before: from, Limit: replayPage})
	if err != nil || len(rows) == 0 {
		return from, false, err
	}
	var ids, digests []string
	for _, r := range rows {
		ids = append(ids, r.ID)
		for _, digest := range []string{r.Content.ReasonDigest, r.Content.TicketDigest} {
			if digest != "" {
				digests = append(digests, digest)
			}
		}
	}
	inputs, err := tx.Inputs(ids)
	if err != nil {
		return from, false, err
	}
	texts, err := tx.Texts(digests)
	if err != nil {
		return from, false, err
	}
	for _, r := range rows {
		if r.CreatedAt.Before(since) {
			return from, false, nil
		}
		was, err := recorded(r, inputs[r.ID], texts)
		if err != nil {
			return from, false, err
		}
		replay.Add(was)
	}
	last := rows[len(rows)-1]
	return sqlstore.Cursor{At: last.CreatedAt, ID: last.ID}, len(rows) == replayPage, nil
}

// recorded is a request as it was decided when it was made.
func recorded(r *access.Request, input json.RawMessage, texts map[string]string) (rehearse.Recorded, error) {
	was := rehearse.Recorded{ID: r.ID, Terms: r.Content.Terms}
	if err := json.Unmarshal(input, &was.Input); err != nil {
		return was, fmt.Errorf("the decision input of %s: %w", r.ID, err)
	}
	reached(&was.Input, r)
	var reason, ticket bool
	was.Input.Reason, reason = texts[r.Content.ReasonDigest]
	was.Input.Ticket, ticket = texts[r.Content.TicketDigest]
	was.Erased = r.Content.ReasonDigest != "" && !reason || r.Content.TicketDigest != "" && !ticket
	return was, nil
}

func replayRefusals(tx *sqlstore.Tx, replay *rehearse.Replay, since time.Time, before int64) (next int64, more bool, err error) {
	rows, err := tx.Events(sqlstore.EventFilter{Type: audit.RequestRefused, Before: before, Limit: replayPage})
	if err != nil || len(rows) == 0 {
		return before, false, err
	}
	for _, row := range rows {
		e, err := audit.DecodeEntry(row.Bytes)
		if err != nil {
			return before, false, fmt.Errorf("entry %d: %w", row.Seq, err)
		}
		if e.Time.Before(since) {
			return before, false, nil
		}
		if was, by := refusedBefore(e); by == byPolicy && was != nil {
			replay.Add(*was)
		} else if by == byPolicy {
			replay.Skip()
		}
	}
	return rows[len(rows)-1].Seq, len(rows) == replayPage, nil
}

// Who refused a request.
const (
	byPolicy = iota
	byOther  // a limit, a switch; or only a dry run
)

// refusalDetails are what the entry of a refusal has so that it can be
// replayed. Entries from before they were written have no policy.
type refusalDetails struct {
	Code       string       `json:"code"`
	Message    string       `json:"message"`
	DryRun     bool         `json:"dry_run"`
	Duration   api.Duration `json:"duration"`
	Principal  string       `json:"principal"`
	Role       string       `json:"role"`
	Field      string       `json:"field"`
	StartsAt   *api.Time    `json:"starts_at"`
	Groups     []string     `json:"groups"`
	Policy     string       `json:"policy"`
	BreakGlass bool         `json:"break_glass"`

	Effective json.RawMessage `json:"effective"`
}

// refusedBefore reads a refusal out of its entry; nil when too little of it is
// on record. What was refused for its reason or ticket cannot be replayed:
// their words are not kept.
func refusedBefore(e *audit.Entry) (*rehearse.Recorded, int) {
	var d refusalDetails
	raw, err := json.Marshal(e.Details)
	if err == nil {
		err = json.Unmarshal(raw, &d)
	}
	if err != nil {
		return nil, byPolicy
	}
	if d.DryRun || d.Code != policy.NotRequestable && d.Code != policy.DeniedByGuardrail {
		return nil, byOther
	}
	if d.Policy == "" || d.StartsAt == nil || d.Field == "reason" || d.Field == "ticket" {
		return nil, byPolicy
	}
	return &rehearse.Recorded{
		Event: e.ID, Code: d.Code, Why: d.Message, Erased: true,
		Input: policy.Input{
			Principal: d.Principal, Groups: d.Groups, Resource: e.Resource, Role: d.Role, Scope: e.Scope, Duration: d.Duration.Std(),
			StartsAt: d.StartsAt.Time, Now: e.Time, Client: e.Source.Channel, BreakGlass: d.BreakGlass, Effective: d.Effective,
		},
	}, byPolicy
}
