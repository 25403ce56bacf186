package access

import (
	"fmt"
	"time"
)

// Who decides when no person does.
const (
	byPolicy    = "system:policy"    // the catalog: an automatic approval, a refusal at approval or start
	byClock     = "system:clock"     // time ran out
	byConnector = "system:connector" // the target could not be made ready
)

// maxAhead is how far in the future a start may lie (CONTRACT §4).
const maxAhead = 30 * 24 * time.Hour

// Decide says what a command brings about on r, or why it is refused: every
// error is an *Error. r is nil for Submit, and nothing is changed or kept: the
// caller applies the events. No events and no error means that there is
// nothing to do.
//
// Decide trusts no earlier Tick: what the clock has already ended is treated
// as ended, whatever State still says.
func Decide(r *Request, cmd Command, f Facts) ([]Event, error) {
	if f.Now.IsZero() {
		return nil, invalid("a command came without the time")
	}
	// Down, never up: a window must not reach past what the clock allows (A3).
	f.Now = f.Now.UTC().Truncate(time.Millisecond)
	if cmd, ok := cmd.(Submit); ok {
		if r != nil {
			return nil, invalid("the request exists already")
		}
		return submit(cmd, f)
	}
	if r == nil {
		return nil, invalid("a %T needs a request", cmd)
	}
	switch cmd := cmd.(type) {
	case CastVote:
		return castVote(r, cmd, f)
	case Cancel:
		return cancel(r, cmd, f)
	case Tick:
		return tick(r, f)
	case Lapse:
		return lapse(r, cmd, f)
	case End:
		return end(r, cmd, f)
	case Extend:
		return extend(r, cmd, f)
	case Provisioned:
		return provisioned(r, f)
	case ProvisionFailed:
		return provisionFailed(r, f)
	case Removed:
		return removed(r, f)
	case RemoveFailed:
		return removeFailed(r, cmd)
	}
	return nil, invalid("unknown command %T", cmd)
}

// Deadline is the next instant at which Tick can do something; zero for never.
// A scheduled grant whose start has come while issuing is off keeps its start
// as its deadline although Tick does nothing then: whoever waits for deadlines
// ticks such a request again when issuing is switched on, or at ExpiresAt.
func (r *Request) Deadline() time.Time {
	if r.State == Pending {
		return r.ApproveBy
	}
	if r.Grant == nil {
		return time.Time{}
	}
	switch r.Grant.State {
	case Scheduled:
		return r.Grant.StartsAt
	case Activating, Active:
		return r.Grant.ExpiresAt
	}
	return time.Time{}
}

// tick lets time act on whatever stage of its life the request is in.
func tick(r *Request, f Facts) ([]Event, error) {
	if r.State == Pending {
		if lapsed(r, f.Now) {
			return []Event{RequestExpired{At: r.ApproveBy, Reason: "Nobody decided in time; ask again if it is still needed."}}, nil
		}
		return nil, nil
	}
	if r.Grant == nil {
		return nil, nil
	}
	return tickGrant(r, f)
}

// lapsed reports whether a request that is still Pending is out of time.
func lapsed(r *Request, now time.Time) bool { return !now.Before(r.ApproveBy) }

func cancel(r *Request, cmd Cancel, f Facts) ([]Event, error) {
	if cmd.By == "" {
		return nil, invalid("a cancellation came without its author")
	}
	if err := undecided(r, f.Now); err != nil {
		return nil, err
	}
	return []Event{RequestCancelled{At: f.Now, By: cmd.By}}, nil
}

// lapse does nothing to a request that is decided already: it comes with the
// end of another grant, which must not fail because of it (A38).
func lapse(r *Request, cmd Lapse, f Facts) ([]Event, error) {
	if r.State != Pending {
		return nil, nil
	}
	reason := cmd.Reason
	if reason == "" {
		reason = "The grant that it was to extend is over; ask for a new one."
	}
	return []Event{RequestExpired{At: f.Now, Reason: reason}}, nil
}

// undecided refuses what needs a request that is still open at now.
func undecided(r *Request, now time.Time) error {
	if r.State != Pending {
		return refuse(CodeAlreadyDecided, "This request is already %s; look at it again, and ask anew if access is still needed.", r.State)
	}
	if lapsed(r, now) {
		return refuse(CodeAlreadyDecided, "This request lapsed at %s because nobody decided in time; ask anew if access is still needed.", stamp(r.ApproveBy))
	}
	return nil
}

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func field(name, format string, args ...any) *Error {
	return &Error{Code: CodeInvalidField, Field: name, Message: fmt.Sprintf(format, args...)}
}

// invalid is a refusal that only a bug in the caller can cause.
func invalid(format string, args ...any) *Error {
	return &Error{Code: CodeInvalidCommand, Message: "Report this as a bug in Daypass: " + fmt.Sprintf(format, args...) + "."}
}
