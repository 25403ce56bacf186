package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// tickBatch is how many requests one transaction lets time act on: enough for
// a commit to be worth its price, few enough that a caller who comes meanwhile
// does not notice.
const tickBatch = 500

// Due lets time act on every request whose deadline has come, and returns the
// next deadline, zero for none. Access does not depend on it: what has expired
// gives no access whether or not Due ran.
func (b *Broker) Due(ctx context.Context) (next time.Time, err error) {
	for {
		moved, waits, err := b.actOnDue(ctx)
		switch {
		case err != nil:
			return time.Time{}, err
		case moved > 0: // what came due meanwhile is next
		case waits:
			// Starts that wait for issuing to be switched on: the worker wakes
			// when it is, and a second is soon enough for the rest.
			return b.now().Add(time.Second), nil
		default:
			err := b.view(ctx, func(tx *sqlstore.Tx) (err error) {
				next, err = tx.NextDeadline()
				return err
			})
			if err != nil {
				return time.Time{}, fmt.Errorf("reading deadlines: %w", err)
			}
			if next.IsZero() || next.After(b.now()) {
				return next, nil
			}
		}
	}
}

// actOnDue goes once through all requests whose deadline has come, the
// earliest first, a batch in each commit. While one is being written the next
// is read. It returns how many time has moved, and whether others wait.
func (b *Broker) actOnDue(ctx context.Context) (moved int, waits bool, err error) {
	type batch struct {
		due []*access.Request
		err error
	}
	read := func(after sqlstore.Cursor) <-chan batch {
		out := make(chan batch, 1)
		go func() {
			var next batch
			next.err = b.view(ctx, func(tx *sqlstore.Tx) (err error) {
				next.due, err = tx.DueRequests(b.now(), after, tickBatch)
				return err
			})
			out <- next
		}()
		return out
	}
	next := read(sqlstore.Cursor{})
	for {
		now := <-next
		if now.err != nil {
			return moved, waits, fmt.Errorf("reading deadlines: %w", now.err)
		}
		full := len(now.due) == tickBatch
		if full {
			last := now.due[tickBatch-1]
			next = read(sqlstore.Cursor{At: last.Deadline(), ID: last.ID})
		}
		n, err := b.actOn(ctx, now.due)
		moved, waits = moved+n, waits || n < len(now.due)
		if err != nil {
			if full {
				<-next
			}
			return moved, waits, fmt.Errorf("acting on deadlines: %w", err)
		}
		if !full {
			return moved, waits, nil
		}
	}
}

// actOn lets time act on requests, in one commit. If one of them cannot be
// decided they are tried one by one, so that it holds up nobody else.
func (b *Broker) actOn(ctx context.Context, due []*access.Request) (moved int, err error) {
	if len(due) == 0 {
		return 0, nil
	}
	act := func(due ...*access.Request) error {
		n, stale := 0, false
		failpoint.Hit("broker.due.before")
		err := b.do(ctx, systemWorker, sqlstore.Ends, func(u *unit) error {
			n = 0
			if err := u.endsMany(); err != nil {
				return err
			}
			for _, before := range due {
				if stale {
					var err error
					if before, err = u.tx.Request(before.ID); err != nil {
						return err
					}
				}
				after, err := u.tick(before)
				if err != nil {
					// Somebody has changed it since it was read: what is there
					// now is decided on when this is tried again.
					stale = true
					return fmt.Errorf("request %s: %w", before.ID, err)
				}
				if after != before {
					n++
				}
			}
			return nil
		})
		failpoint.Hit("broker.due.after")
		if err == nil {
			moved += n
		}
		return err
	}
	if err = act(due...); err == nil || ctx.Err() != nil {
		return moved, err
	}
	for _, r := range due {
		if err := act(r); err != nil {
			b.cfg.Log.Error("a deadline could not be acted on; access ends all the same", "request", r.ID, "error", err)
		}
	}
	if moved > 0 {
		return moved, nil
	}
	return 0, err
}

// endsMany says that many grants may end in this transaction, and none is to be
// extended: whether any extension waits is asked once for all.
func (u *unit) endsMany() error {
	waits, err := u.tx.AnyExtensionPending()
	u.waiting = &waits
	return err
}
