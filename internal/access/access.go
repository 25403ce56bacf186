// Package access is the domain of Daypass: requests, the terms a policy froze
// into them, reviews, and grants. It is pure and deterministic: no I/O, no
// clock, no randomness, no goroutines. Whatever it must know of the world
// comes in with the command, and whatever it decides goes out as events.
//
// It refuses to know policies, stores, credentials or faces: it does not care
// how a scope reads or who may see what.
package access

import (
	"encoding/json"
	"time"
)

// State is where a request stands.
type State string

// The states of a request. Every state but Pending is final.
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Denied    State = "denied"
	Cancelled State = "cancelled"
	Expired   State = "expired"
)

// GrantState is where a grant stands.
type GrantState string

// The states of a grant, in the order in which it passes through them.
const (
	Scheduled  GrantState = "scheduled"
	Activating GrantState = "activating"
	Active     GrantState = "active"
	Ending     GrantState = "ending"
	Ended      GrantState = "ended"
)

// EndReason says why a grant ended.
type EndReason string

// The reasons for which a grant ends.
const (
	EndExpired          EndReason = "expired"
	EndReturned         EndReason = "returned"
	EndRevoked          EndReason = "revoked"
	EndPolicy           EndReason = "policy"
	EndActivationFailed EndReason = "activation_failed"
)

// Decision is what a reviewer says.
type Decision string

// The two decisions of a reviewer.
const (
	Approve Decision = "approve"
	Deny    Decision = "deny"
)

// Stage is one step of an approval: so many persons out of these groups.
type Stage struct {
	Name   string   `json:"name"`
	From   []string `json:"from"`   // typed IDs: group:… or user:…
	Quorum int      `json:"quorum"` // persons, at least 1
}

// Terms are what policy fixed for a request when it was made. They are frozen
// and part of the content hash.
type Terms struct {
	PolicyVersion string        `json:"policy_version"` // sha256:… of the catalog
	Rule          string        `json:"rule"`
	Guardrails    []string      `json:"guardrails"`
	Auto          bool          `json:"auto"`   // approved by the rule itself; Stages is empty then
	Stages        []Stage       `json:"stages"` // in the order in which they open
	MaxDuration   time.Duration `json:"max_duration"`
	MaxTotal      time.Duration `json:"max_total"`      // cap on a grant with all its extensions
	ApproveWithin time.Duration `json:"approve_within"` // how long the request may wait for its reviews
	// BreakGlass is set when the request takes access first: the stages then
	// review it afterwards.
	BreakGlass *BreakGlass `json:"break_glass,omitempty"`
}

// Content is all that an approver decides on. Its hash is what a vote names.
type Content struct {
	Requester   string          `json:"requester"`
	Resource    string          `json:"resource"`
	Incarnation string          `json:"incarnation"` // of the resource: one removed and made anew is another
	Kind        string          `json:"kind"`
	Role        string          `json:"role,omitempty"`
	Scope       json.RawMessage `json:"scope"` // canonical JSON
	// Target is what the kind found in the target when it was asked for, as
	// canonical JSON: shown to reviewers, and part of what a vote is bound to.
	Target json.RawMessage `json:"target,omitempty"`
	// Workload is the job that asked, as its platform vouched for it, as
	// canonical JSON: shown to reviewers, and part of what a vote is bound to.
	Workload     json.RawMessage `json:"workload,omitempty"`
	Duration     time.Duration   `json:"duration"`
	StartAt      *time.Time      `json:"start_at,omitempty"`
	ReasonDigest string          `json:"reason_digest,omitempty"` // salted: the text itself can be erased
	TicketDigest string          `json:"ticket_digest,omitempty"`
	Extends      string          `json:"extends,omitempty"` // the grant that an extension lengthens
	Terms        Terms           `json:"terms"`
}

// Review is one person's vote on one request.
type Review struct {
	ID            string        `json:"id"`
	By            string        `json:"by"`     // the account that voted
	Person        string        `json:"person"` // the person behind it: persons are counted
	Decision      Decision      `json:"decision"`
	Stage         int           `json:"stage"` // index into Request.Stages()
	ContentHash   string        `json:"content_hash"`
	Duration      time.Duration `json:"duration,omitempty"` // narrowed to; 0 = as asked
	CommentDigest string        `json:"comment_digest,omitempty"`
	At            time.Time     `json:"at"`
}

// Request is one principal asking for one scope on one resource. With its
// reviews and its grant it is the aggregate that is loaded, decided on and
// written as one.
type Request struct {
	ID          string     `json:"id"`
	Version     int64      `json:"version"`  // moves with every commit; compare-and-swap key and ETag
	Revision    int        `json:"revision"` // moves only when the content does
	ContentHash string     `json:"content_hash"`
	Content     Content    `json:"content"`
	State       State      `json:"state"`
	CreatedAt   time.Time  `json:"created_at"`
	ApproveBy   time.Time  `json:"approve_by"`
	DecidedAt   *time.Time `json:"decided_at,omitempty"`
	DecidedBy   string     `json:"decided_by,omitempty"` // principal, or system:policy
	Outcome     string     `json:"outcome,omitempty"`    // a sentence: why it was denied, lapsed …
	Reviews     []Review   `json:"reviews,omitempty"`
	Added       []Stage    `json:"added,omitempty"` // stages that a stricter catalog added after submission; not in the hash
	Duty        *Duty      `json:"duty,omitempty"`  // of a request that broke glass: its review afterwards
	Grant       *Grant     `json:"grant,omitempty"`
}

// Grant is the access itself, on the half-open interval [StartsAt, ExpiresAt).
type Grant struct {
	ID             string     `json:"id"`
	State          GrantState `json:"state"`
	StartsAt       time.Time  `json:"starts_at"`
	ExpiresAt      time.Time  `json:"expires_at"`
	EndedAt        *time.Time `json:"ended_at,omitempty"`
	EndedReason    EndReason  `json:"ended_reason,omitempty"`
	EndedBy        string     `json:"ended_by,omitempty"`
	CleanupPending bool       `json:"cleanup_pending,omitempty"`
	BreakGlass     bool       `json:"break_glass,omitempty"` // taken before anybody agreed; never extended
}

// ActiveAt reports whether the grant gives access at now. It is arithmetic on
// the state and the clock: no sweeper needs to have run.
func (g *Grant) ActiveAt(now time.Time) bool {
	return g != nil && g.State == Active && !now.Before(g.StartsAt) && now.Before(g.ExpiresAt)
}

// Stages returns the stages that the request must pass: those frozen into its
// terms, then those that a stricter catalog added since.
func (r *Request) Stages() []Stage {
	if len(r.Added) == 0 {
		return r.Content.Terms.Stages
	}
	all := make([]Stage, 0, len(r.Content.Terms.Stages)+len(r.Added))
	return append(append(all, r.Content.Terms.Stages...), r.Added...)
}

// Directory answers who somebody is, from one immutable version of the
// catalog. All IDs are typed ("user:ana", "group:dba").
type Directory interface {
	// Person returns the principal that stands for the person behind an
	// account; false for an unknown or disabled principal.
	Person(id string) (person string, ok bool)
	// Member reports whether id itself, or a group it belongs to directly or
	// through other groups, is in set.
	Member(id string, set []string) bool
	// Related reports whether a and b are one person, or one owns the other
	// directly or through others. Unknown principals are related to nobody.
	Related(a, b string) bool
}

// Facts is what the world outside says at the instant of a command.
type Facts struct {
	Now time.Time // UTC, whole milliseconds
	// Directory is needed by CastVote and by a Tick that may start a grant.
	// It leaves out who joined a group only since the request was made.
	Directory Directory
	// Current is the catalog in force evaluated anew for this request. It is
	// needed by a Submit that a rule approves by itself, by a CastVote that
	// may complete an approval, and by a Tick that may start a grant; nil
	// refuses whatever would grant. Ends need neither it nor Directory.
	Current *Verdict
	// Base is the grant that an extension lengthens, as it is now; its ID is
	// Content.Extends.
	Base *Grant
	// Connector says that a grant of this kind must be made real inside its
	// target before it is active.
	Connector bool
	// OpenDuty is a request whose break-glass still waits for its review and
	// whose requester answers to the same person; empty for none. It is needed
	// by a Submit that breaks glass.
	OpenDuty string
	// IssuingOff says that nothing may be approved now; ends go on.
	IssuingOff bool
}

// Verdict is what the catalog in force says of a request: terms, or a refusal.
type Verdict struct {
	Terms   Terms
	Refusal string // a sentence; empty when Terms hold
}
