package broker

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// spentPage is how many entries are read in one transaction.
const spentPage = 1000

// Spent adds up what the sessions of a request's grant have read, as far as it is
// on record. It is asked once in the life of a process, before the grant has a
// session in it: every session that has a beginning and no end was another
// process's.
func (b *Broker) Spent(ctx context.Context, request string) (gateway.Spent, error) {
	var out gateway.Spent
	open := map[string]bool{}
	for after, more := int64(0), true; more; {
		err := b.view(ctx, func(tx *sqlstore.Tx) error {
			rows, err := tx.Events(sqlstore.EventFilter{Request: request, After: after, Ascending: true, Limit: spentPage})
			if err != nil {
				return err
			}
			for _, row := range rows {
				if err := addSpent(&out, open, row.Bytes); err != nil {
					return fmt.Errorf("entry %d: %w", row.Seq, err)
				}
				after = row.Seq
			}
			more = len(rows) == spentPage
			return nil
		})
		if err != nil {
			return gateway.Spent{}, fmt.Errorf("adding up what was read under %s: %w", request, err)
		}
	}
	out.Unknown = len(open) > 0
	return out, nil
}

// addSpent adds what one entry says.
func addSpent(to *gateway.Spent, open map[string]bool, entry []byte) error {
	var e struct {
		Type    string `json:"type"`
		Session string `json:"session"`
		Details struct {
			Rows  int64 `json:"rows"`
			Bytes int64 `json:"bytes"`
		} `json:"details"`
	}
	if err := json.Unmarshal(entry, &e); err != nil {
		return err
	}
	switch e.Type {
	case audit.SessionStarted:
		open[e.Session] = true
	case audit.SessionEnded:
		delete(open, e.Session)
	case audit.SessionQuery:
		to.Rows += e.Details.Rows
		to.Bytes += e.Details.Bytes
	}
	return nil
}
