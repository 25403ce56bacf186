package pgkind

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	mostTogether = 64               // of what one turn does
	turnTimeout  = 40 * time.Second // of one turn
)

// together does at once what many callers want each for itself: while a turn
// runs, what comes meanwhile gathers for the next one. Nobody waits for others
// to come. A turn must be quick, for everybody waits for it.
type together[T any] struct {
	take func(ctx context.Context, all []T) []error // an error for each

	mu      sync.Mutex
	waiting []*wish[T]
	running bool
}

type wish[T any] struct {
	ctx  context.Context //nolint:containedctx // of the caller, who waits for it
	what T
	done chan error
}

// do returns when what was wanted is done. When ctx ends before its turn it is
// not done; when in its turn, the turn ends once nobody in it waits any more, and
// what came of it is told.
func (t *together[T]) do(ctx context.Context, what T) error {
	w := &wish[T]{ctx, what, make(chan error, 1)}
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	if !t.running {
		t.running = true
		go t.run()
	}
	t.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	t.mu.Lock()
	at := slices.Index(t.waiting, w)
	if at >= 0 {
		t.waiting = slices.Delete(t.waiting, at, at+1)
	}
	t.mu.Unlock()
	if at >= 0 {
		return ctx.Err()
	}
	return <-w.done
}

// run takes turns until nothing waits.
func (t *together[T]) run() {
	for {
		t.mu.Lock()
		turn := slices.Clone(t.waiting[:min(mostTogether, len(t.waiting))])
		t.waiting = slices.Delete(t.waiting, 0, len(turn))
		if len(turn) == 0 {
			t.running = false
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		t.turn(turn)
	}
}

func (t *together[T]) turn(all []*wish[T]) {
	ctx, cancel := context.WithTimeout(context.Background(), turnTimeout)
	defer cancel()
	var left atomic.Int64
	left.Store(int64(len(all)))
	what := make([]T, len(all))
	for i, w := range all {
		what[i] = w.what
		stop := context.AfterFunc(w.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
		defer stop()
	}
	for i, err := range t.take(ctx, what) {
		all[i].done <- err
	}
}
