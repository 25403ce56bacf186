package access

import (
	"slices"
	"strings"
	"time"
)

// BreakGlass is what a rule allows in an emergency: access first, for so long
// at most, told to these at once.
type BreakGlass struct {
	MaxDuration time.Duration `json:"max_duration"`
	Notify      []string      `json:"notify"` // typed IDs: group:… or user:…
}

// Duty is the review that a broken glass owes. It has no deadline: it stays
// until enough people have looked, and until then nobody who answers to the
// same person breaks glass again.
type Duty struct {
	Told    []string   `json:"told"`              // accounts that were told at once
	Person  string     `json:"person"`            // who answers for the requester
	Finding bool       `json:"finding,omitempty"` // a reviewer denied it
	DoneAt  *time.Time `json:"done_at,omitempty"` // when enough people had looked
}

// mustHear is how many persons have to be told of a broken glass.
const mustHear = 2

// Open reports whether the review is still due.
func (d *Duty) Open() bool { return d != nil && d.DoneAt == nil }

func (d *Duty) clone() *Duty {
	if d == nil {
		return nil
	}
	c := *d
	c.Told = slices.Clone(d.Told)
	c.DoneAt = cloneTime(d.DoneAt)
	return &c
}

func (b *BreakGlass) clone() *BreakGlass {
	if b == nil {
		return nil
	}
	c := *b
	c.Notify = slices.Clone(b.Notify)
	return &c
}

// TakesVotes reports whether the state of r lets anybody vote: it waits to be
// decided, or a review of its broken glass is due.
func (r *Request) TakesVotes() bool { return r.State == Pending || r.Duty.Open() }

// breakGlass grants r before anybody has agreed. It holds the catalog in force
// to the same, and hears who is told: no notice that somebody unrelated gets
// and can act on, no access.
func breakGlass(r Request, cmd Submit, f Facts) ([]Event, error) {
	c := r.Content
	switch {
	case c.Extends != "":
		return nil, noLonger()
	case c.StartAt != nil && c.StartAt.After(f.Now):
		return nil, field("start_at", "Leave the start out: break-glass is for what cannot wait; ask in the ordinary way for a later one.")
	case c.ReasonDigest == "":
		return nil, field("reason", "Say why: access before anybody has agreed needs a reason.")
	case f.IssuingOff:
		return nil, issuingOff()
	case f.OpenDuty != "":
		return nil, ReviewDue(f.OpenDuty)
	case cmd.GrantID == "" || cmd.Person == "" || f.Directory == nil:
		return nil, invalid("a break-glass came without an ID for its grant, a directory, or who answers for it")
	case f.Current == nil || f.Current.Refusal != "" || f.Current.Terms.BreakGlass == nil || overCaps(c.Duration, c.Duration, f.Current.Terms) != "":
		return nil, invalid("a break-glass that the catalog in force does not bear out")
	case c.Duration > c.Terms.BreakGlass.MaxDuration:
		return nil, field("duration", "Break-glass gives %s at most; ask for %s or less.", spoken(c.Terms.BreakGlass.MaxDuration), spoken(c.Terms.BreakGlass.MaxDuration))
	}
	told, err := heard(c, cmd.Told, f.Directory)
	if err != nil {
		return nil, err
	}
	g := newGrant(&r, cmd.GrantID, f)
	return []Event{Submitted{Request: r}, GlassBroken{At: f.Now, Told: told, Person: cmd.Person}, RequestApproved{At: f.Now, By: byPolicy}, Granted{Grant: g}}, nil
}

// ReviewDue refuses to break glass while the review of a request is due.
func ReviewDue(request string) *Error {
	return refuse(CodeReviewDue, "The break-glass of %s has not been reviewed yet; have its reviewers look at it first, or ask in the ordinary way.", request)
}

// heard returns those of told whom the terms name and who have nothing to do
// with the requester, and refuses when they are fewer than two persons.
func heard(c Content, told []string, dir Directory) ([]string, error) {
	var accounts []string
	persons := map[string]bool{}
	for _, account := range told {
		person, ok := dir.Person(account)
		if !ok || !strings.HasPrefix(account, "user:") || !dir.Member(account, c.Terms.BreakGlass.Notify) || related(dir, account, c.Requester) {
			continue
		}
		accounts = append(accounts, account)
		persons[person] = true
	}
	if len(persons) < mustHear {
		return nil, invalid("a break-glass that %d people would be told of, of %s", len(persons), strings.Join(c.Terms.BreakGlass.Notify, ", "))
	}
	return accounts, nil
}

// lookBack records a review of a broken glass. A deny takes away what is left
// of the access; whatever is said, the duty ends when every stage has looked.
func lookBack(r *Request, review Review, f Facts) ([]Event, error) {
	events := []Event{Voted{review}}
	if review.Decision == Deny {
		events = append(events, GlassFound{At: f.Now, By: review.By})
	}
	if allFull(Apply(r, events...), f.Directory) {
		events = append(events, GlassReviewed{At: f.Now, By: review.By})
	}
	if g := r.Grant; review.Decision == Deny && g != nil && g.State != Ending && g.State != Ended {
		if g.over(f.Now) {
			return append(events, ending(g, g.ExpiresAt, EndExpired, byClock, f)...), nil
		}
		events = append(events, ending(g, f.Now, EndRevoked, review.By, f)...)
	}
	return events, nil
}

// votable refuses a vote on what is decided, and has no review due either.
func votable(r *Request, cmd CastVote, now time.Time) error {
	if r.Duty == nil {
		return undecided(r, now)
	}
	if !r.Duty.Open() {
		return refuse(CodeAlreadyDecided, "This break-glass has been reviewed already; its access can still be revoked.")
	}
	if cmd.Duration != 0 {
		return field("duration", "Leave the duration out: the access was taken already; deny it to end what is left.")
	}
	return nil
}

// noLonger refuses more time for what nobody agreed to beforehand.
func noLonger() *Error {
	return refuse(CodeLimitReached, "Access by break-glass is not extended: ask for a new request in the ordinary way, and its approvers decide before it begins.")
}
