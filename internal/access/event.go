package access

import "time"

// Event is what was decided. Events carry all that a replay needs: applying
// the same events to the same request always gives the same request.
type Event interface{ event() }

// Submitted: the request exists.
type Submitted struct{ Request Request }

// Voted: a vote was recorded. A vote may be followed in the same decision by
// StagesAdded, RequestApproved or RequestDenied.
type Voted struct{ Review Review }

// StagesAdded: the catalog in force asks for more than the frozen terms did.
type StagesAdded struct{ Stages []Stage }

// GlassBroken: access was taken before anybody agreed. From here on a review
// of it is due.
type GlassBroken struct {
	At     time.Time
	Told   []string // accounts
	Person string   // who answers for the requester
}

// GlassFound: a reviewer says that it should not have been.
type GlassFound struct {
	At time.Time
	By string
}

// GlassReviewed: enough people have looked at it; nothing is due any more.
type GlassReviewed struct {
	At time.Time
	By string // the last reviewer
}

// RequestApproved: enough valid votes, or a rule approved by itself.
type RequestApproved struct {
	At time.Time
	By string // the last voter, or system:policy
}

// RequestDenied: by a reviewer, or by the catalog in force (system:policy).
type RequestDenied struct {
	At     time.Time
	By     string
	Reason string
}

// RequestCancelled: withdrawn.
type RequestCancelled struct {
	At time.Time
	By string
}

// RequestExpired: nobody decided in time, or the grant to be extended is over.
type RequestExpired struct {
	At     time.Time
	Reason string
}

// Granted: the grant exists, Scheduled, Activating or Active.
type Granted struct{ Grant Grant }

// GrantActivating: the start has come and a connector must act.
type GrantActivating struct{ At time.Time }

// GrantActivated: access is on.
type GrantActivated struct{ At time.Time }

// GrantExtended: the same grant lasts longer.
type GrantExtended struct {
	ExpiresAt time.Time
	By        string // the extension request's ID
}

// GrantEnding: access is off; a connector must clean up. For kinds without a
// connector GrantEnded follows in the same decision.
type GrantEnding struct {
	At     time.Time
	Reason EndReason
	By     string
}

// GrantEnded: nothing is left of it.
type GrantEnded struct{ At time.Time }

// CleanupFailed: still ending; it will be tried again.
type CleanupFailed struct{ Reason string }

func (Submitted) event()        {}
func (Voted) event()            {}
func (StagesAdded) event()      {}
func (GlassBroken) event()      {}
func (GlassFound) event()       {}
func (GlassReviewed) event()    {}
func (RequestApproved) event()  {}
func (RequestDenied) event()    {}
func (RequestCancelled) event() {}
func (RequestExpired) event()   {}
func (Granted) event()          {}
func (GrantActivating) event()  {}
func (GrantActivated) event()   {}
func (GrantExtended) event()    {}
func (GrantEnding) event()      {}
func (GrantEnded) event()       {}
func (CleanupFailed) event()    {}
