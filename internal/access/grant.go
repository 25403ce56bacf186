package access

import "time"

// newGrant is the grant of r approved at f.Now: the window begins at the
// approval or at the start asked for, whichever is later.
func newGrant(r *Request, id string, f Facts) Grant {
	g := Grant{ID: id, State: Active, StartsAt: f.Now, BreakGlass: r.Content.Terms.BreakGlass != nil}
	if at := r.Content.StartAt; at != nil && at.After(f.Now) {
		g.StartsAt = at.UTC().Truncate(time.Millisecond)
	}
	g.ExpiresAt = g.StartsAt.Add(Effective(r)).Truncate(time.Millisecond)
	switch {
	case g.StartsAt.After(f.Now):
		g.State = Scheduled
	case f.Connector:
		g.State = Activating
	}
	return g
}

// live reports whether the grant gives access at now or may still do so.
func (g *Grant) live(now time.Time) bool {
	if g == nil || !now.Before(g.ExpiresAt) {
		return false
	}
	return g.State == Scheduled || g.State == Activating || g.State == Active
}

// over reports whether the grant is ending or ended, or the clock says so.
func (g *Grant) over(now time.Time) bool { return !g.live(now) }

// tooLong reports whether the grant, longer by d, would exceed limit in total.
func tooLong(g *Grant, d, limit time.Duration) bool {
	return d > limit-g.ExpiresAt.Sub(g.StartsAt) // so, because a sum could overflow
}

func tickGrant(r *Request, f Facts) ([]Event, error) {
	g := r.Grant
	if g.State == Ending || g.State == Ended {
		return nil, nil
	}
	if g.over(f.Now) {
		// Access ended in the instant of expiry, whenever it is noticed (A1).
		return ending(g, g.ExpiresAt, EndExpired, byClock, f), nil
	}
	if g.State != Scheduled || f.Now.Before(g.StartsAt) {
		return nil, nil
	}
	if f.IssuingOff {
		return nil, nil
	}
	covered, err := stillCovered(r, f)
	if err != nil {
		return nil, err
	}
	if !covered {
		return ending(g, f.Now, EndPolicy, byPolicy, f), nil
	}
	events := []Event{GrantActivating{At: f.Now}}
	if !f.Connector {
		events = append(events, GrantActivated{At: f.Now})
	}
	return events, nil
}

// stillCovered reports whether the catalog and the directory in force would
// still bear out the approval of a grant that is about to start (A7, A11).
func stillCovered(r *Request, f Facts) (bool, error) {
	if f.Current == nil || f.Directory == nil {
		return false, invalid("a scheduled start came without the catalog in force")
	}
	if f.Current.Refusal != "" || overCaps(Effective(r), r.Grant.ExpiresAt.Sub(r.Grant.StartsAt), f.Current.Terms) != "" {
		return false, nil
	}
	if !allFull(r, f.Directory) {
		return false, nil
	}
	missing, err := uncovered(r, f.Directory, f.Current.Terms)
	return err == nil && len(missing) == 0, err
}

// ending ends a live grant. Only what a connector may have touched is cleaned
// up; the rest is over at once.
func ending(g *Grant, at time.Time, reason EndReason, by string, f Facts) []Event {
	events := []Event{GrantEnding{At: at, Reason: reason, By: by}}
	if !f.Connector || g.State == Scheduled {
		events = append(events, GrantEnded{At: f.Now})
	}
	return events
}

func end(r *Request, cmd End, f Facts) ([]Event, error) {
	switch cmd.Reason {
	case EndReturned, EndRevoked, EndPolicy:
	default:
		return nil, invalid("nobody can end a grant for the reason %q", cmd.Reason)
	}
	if cmd.By == "" {
		return nil, invalid("an end came without its author")
	}
	g := r.Grant
	if g == nil {
		return nil, refuse(CodeNotActive, "There is no grant to end: the request is %s; cancel it if it still waits.", r.State)
	}
	if g.State == Ending || g.State == Ended {
		return nil, nil
	}
	at := f.Now
	if !cmd.Since.IsZero() {
		at = cmd.Since.UTC().Truncate(time.Millisecond)
		if at.After(f.Now) || at.Before(r.CreatedAt) {
			return nil, invalid("an end that lies ahead, or before the request")
		}
	}
	if g.over(at) {
		return ending(g, g.ExpiresAt, EndExpired, byClock, f), nil
	}
	return ending(g, at, cmd.Reason, cmd.By, f), nil
}

func extend(r *Request, cmd Extend, f Facts) ([]Event, error) {
	if cmd.By == "" || cmd.Duration <= 0 || cmd.Duration%time.Second != 0 {
		return nil, invalid("an extension needs its request and a whole number of seconds")
	}
	if f.IssuingOff {
		return nil, issuingOff()
	}
	g := r.Grant
	if !g.live(f.Now) {
		return nil, refuse(CodeNotActive, "The grant to extend is not live any more; ask for a new one.")
	}
	if g.BreakGlass {
		return nil, noLonger()
	}
	if tooLong(g, cmd.Duration, cmd.MaxTotal) {
		return nil, refuse(CodeLimitReached, "With this extension the grant would last longer than %s in total; ask for less, or for a new grant when this one is over.", spoken(cmd.MaxTotal))
	}
	return []Event{GrantExtended{ExpiresAt: g.ExpiresAt.Add(cmd.Duration), By: cmd.By}}, nil
}

// provisioned turns access on, unless it came too late: then the clean-up that
// the end has asked for, or will, takes it away again.
func provisioned(r *Request, f Facts) ([]Event, error) {
	if r.Grant == nil || r.Grant.State != Activating || r.Grant.over(f.Now) {
		return nil, nil
	}
	return []Event{GrantActivated{At: f.Now}}, nil
}

func provisionFailed(r *Request, f Facts) ([]Event, error) {
	g := r.Grant
	if g == nil || g.State != Activating {
		return nil, nil
	}
	if g.over(f.Now) {
		return ending(g, g.ExpiresAt, EndExpired, byClock, f), nil
	}
	return ending(g, f.Now, EndActivationFailed, byConnector, f), nil
}

func removed(r *Request, f Facts) ([]Event, error) {
	if r.Grant == nil || r.Grant.State != Ending {
		return nil, nil
	}
	return []Event{GrantEnded{At: f.Now}}, nil
}

func removeFailed(r *Request, cmd RemoveFailed) ([]Event, error) {
	if r.Grant == nil || r.Grant.State != Ending {
		return nil, nil
	}
	return []Event{CleanupFailed(cmd)}, nil
}
