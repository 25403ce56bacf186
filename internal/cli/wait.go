package cli

import (
	"context"
	"errors"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

// wait follows a request until it is no longer pending, and shows meanwhile
// whom it waits for and the time that is left. When the wait ends early it
// returns the latest that is known together with the reason; with cancelOnExit
// it cancels the request when it is interrupted or runs out of time.
func (a *app) wait(ctx context.Context, c *client.Client, r *api.Request, w waitFlags) (*api.Request, error) {
	waiting := ctx
	if w.timeout > 0 {
		var stop context.CancelFunc
		waiting, stop = context.WithTimeout(ctx, w.timeout)
		defer stop()
	}
	latest, err := a.watch(waiting, c, r)
	a.err.endLive()
	if err == nil || !w.cancelOnExit || waiting.Err() == nil {
		return latest, err
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	cancelled, cancelErr := c.Cancel(last, r.ID)
	if cancelErr != nil {
		a.err.printf("%s could not be cancelled: %v\n", r.ID, cancelErr)
		return latest, err
	}
	return cancelled, nil
}

type change struct {
	request *api.Request
	err     error
}

func (a *app) watch(ctx context.Context, c *client.Client, r *api.Request) (*api.Request, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	changes := make(chan change)
	go func() {
		for r, err := range c.FollowRequest(ctx, r.ID) {
			select {
			case changes <- change{r, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	clock := time.NewTicker(time.Second)
	defer clock.Stop()
	for {
		a.err.showLive(waitingFor(r), ", "+a.left(r.ApproveBy)+" left")
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-clock.C:
		case ch := <-changes:
			if ch.err != nil {
				if ctx.Err() != nil && errors.Is(ch.err, ctx.Err()) {
					return r, ctx.Err()
				}
				return r, ch.err
			}
			if r = ch.request; r.State != "pending" {
				return r, nil
			}
		}
	}
}
