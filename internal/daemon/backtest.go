package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlite"
)

// Backtest replays the requests that a data folder has recorded since then
// against a catalog, offline or beside a running server. It changes nothing.
func Backtest(ctx context.Context, dir string, source []byte, since time.Time, frozen bool) (api.Backtest, error) {
	cat, err := policy.Parse(source, PolicyKinds())
	if err != nil {
		return api.Backtest{}, err
	}
	store, err := sqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return api.Backtest{}, fmt.Errorf("opening the store: %w", err)
	}
	defer func() { _ = store.Close() }() // it was only read
	return broker.Backtest(ctx, store, cat, broker.Replaying{Since: since, Until: time.Now(), Frozen: frozen})
}
