package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/live"
)

// Check decides on one attempt whose traffic somebody else carries: another
// proxy asks for each request. There is no session, so nothing that passed is
// cut at the end of the grant, and of what is allowed only the first use of a
// credential is on record, before the answer; the proxy's own log has the rest.
// Denials are recorded and counted as those of Open are. The error is always a
// *Denial.
func (g *Guard) Check(ctx context.Context, a Attempt) (*live.Grant, error) {
	grant, d := g.check(ctx, a)
	if g.count(d); d != nil {
		return nil, d
	}
	return grant, nil
}

func (g *Guard) check(ctx context.Context, a Attempt) (*live.Grant, *Denial) {
	c, d := g.authenticate(ctx, a)
	if d != nil {
		return nil, d
	}
	if err := g.allow(a, c.Grant); err != nil {
		if errors.Is(err, errPanic) {
			return nil, &Denial{Status: Unavailable, Why: WhyFailed, Grant: c.Grant, Err: err}
		}
		return nil, g.deny(ctx, a, c, "", &Denial{Status: Forbidden, Why: WhyScope, Reason: err.Error(), Grant: c.Grant})
	}
	if c.Credential.Used() {
		return c.Grant, nil
	}
	e := entryOf(&a, c.Grant, audit.AccessAllowed, audit.Allowed)
	e.Details = withDoing(a)
	if err := g.rec.Record(ctx, &e, c.Grant.Principal, true); err != nil {
		return nil, &Denial{Status: Unavailable, Why: WhyNotRecorded, Grant: c.Grant, Err: fmt.Errorf("recording access: %w", err)}
	}
	c.Credential.MarkUsed()
	if again := g.index.Check(c.Credential.Hash); again.State != live.Live { // it ended while that was written
		return nil, g.deny(ctx, a, useOf(again), "", ended(useOf(again)))
	}
	return c.Grant, nil
}
