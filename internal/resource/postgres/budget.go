package pgkind

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
)

// budget is what the sessions of one grant may still read, all together: who
// connects again gets no more.
type budget struct {
	grant    *live.Grant
	maxRows  int64 // 0: no limit
	maxBytes int64

	rows, bytes atomic.Int64
	sessions    int // guarded by budgets.mu

	filling sync.Mutex
	filled  bool // what was read before this process is in it
	unknown bool // how much that was is on no record
}

// fill counts, once, what the processes before this one let the grant read. The
// error is a *wire.Error when that is not known: nothing more may be read then.
func (b *budget) fill(ctx context.Context, spent func(context.Context, string) (gateway.Spent, error)) error {
	if b == nil || spent == nil {
		return nil
	}
	b.filling.Lock()
	defer b.filling.Unlock()
	if !b.filled {
		before, err := spent(ctx, b.grant.Request)
		if err != nil {
			return err
		}
		b.rows.Add(before.Rows)
		b.bytes.Add(before.Bytes)
		b.filled, b.unknown = true, before.Unknown
	}
	if b.unknown {
		return fatal(wire.CodeLimit, "the Daypass grant "+b.grant.ID+" has a limit, and Daypass stopped without a record of how much its sessions had read", "")
	}
	return nil
}

// spend takes rows, which have n bytes, and says what is used up when they are
// not to be had any more; then it takes nothing.
func (b *budget) spend(rows, n int64) (over string) {
	if b == nil {
		return ""
	}
	if total := b.rows.Add(rows); b.maxRows > 0 && total > b.maxRows {
		b.rows.Add(-rows)
		return fmt.Sprintf("its grant allows %d rows, and this would be more", b.maxRows)
	}
	if total := b.bytes.Add(n); b.maxBytes > 0 && total > b.maxBytes {
		b.rows.Add(-rows)
		b.bytes.Add(-n)
		return fmt.Sprintf("its grant allows %d bytes of results, and this would be more", b.maxBytes)
	}
	return ""
}

// budgets are those of the grants that live. They last as long as the process,
// and begin with what is on record of the processes before it.
type budgets struct {
	mu  sync.Mutex
	all map[string]*budget
	n   int // from which on they are looked through
}

// take returns the budget of a grant for one more session; nil when its scope
// has no limit.
func (b *budgets) take(grant *live.Grant, s *Scope, now time.Time) *budget {
	if s.fields.MaxRows == 0 && s.fields.MaxBytes == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = make(map[string]*budget)
	}
	if len(b.all) >= max(b.n, 1000) {
		for id, one := range b.all {
			if one.sessions == 0 && !now.Before(one.grant.ExpiresAt()) {
				delete(b.all, id)
			}
		}
		b.n = 2 * len(b.all)
	}
	one := b.all[grant.ID]
	if one == nil {
		one = &budget{grant: grant, maxRows: s.fields.MaxRows, maxBytes: s.fields.MaxBytes}
		b.all[grant.ID] = one
	}
	one.sessions++
	return one
}

func (b *budgets) release(one *budget) {
	if one == nil {
		return
	}
	b.mu.Lock()
	one.sessions--
	b.mu.Unlock()
}
