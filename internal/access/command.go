package access

import "time"

// Command is what somebody wants to happen to a request.
type Command interface{ command() }

// Submit makes a request. IDs, digests and terms are facts that come with it.
// The broker has already refused what policy refuses.
type Submit struct {
	ID      string
	GrantID string // for an automatic approval, and for one that breaks glass
	Content Content
	// Told are the accounts that hear at once of a request that breaks glass,
	// and Person is who answers for its requester.
	Told   []string
	Person string
}

// CastVote is one reviewer's vote. An empty ContentHash is refused.
type CastVote struct {
	ReviewID      string
	GrantID       string // used if this vote completes the approval
	By            string
	Decision      Decision
	ContentHash   string        // of what the reviewer was shown
	Duration      time.Duration // approve for so long only; 0 = as asked
	CommentDigest string
}

// Cancel withdraws a pending request. Who may is the broker's question.
type Cancel struct{ By string }

// Tick lets time act: an unreviewed request lapses, a scheduled grant starts,
// a grant expires. It is harmless at any time and any number of times.
type Tick struct{}

// Provisioned says that the connector made the grant real.
type Provisioned struct{}

// ProvisionFailed says that the connector gave up.
type ProvisionFailed struct{ Reason string }

// Removed says that the connector has removed the grant from its target.
type Removed struct{}

// RemoveFailed says that a clean-up did not work yet and will be tried again.
type RemoveFailed struct{ Reason string }

// End ends a grant early. It also ends one that is only scheduled.
type End struct {
	By     string
	Reason EndReason // EndReturned, EndRevoked or EndPolicy
	// Since is when it ended, where that is on record already and only the grant
	// itself does not say so yet; zero for now.
	Since time.Time
}

// Extend lengthens the grant by the duration of an approved extension.
type Extend struct {
	By       string // the extension request's ID
	Duration time.Duration
	MaxTotal time.Duration // the smaller of what was frozen and what holds now
}

// Lapse ends a pending extension whose grant is over.
type Lapse struct{ Reason string }

func (Submit) command()          {}
func (CastVote) command()        {}
func (Cancel) command()          {}
func (Tick) command()            {}
func (Provisioned) command()     {}
func (ProvisionFailed) command() {}
func (Removed) command()         {}
func (RemoveFailed) command()    {}
func (End) command()             {}
func (Extend) command()          {}
func (Lapse) command()           {}
