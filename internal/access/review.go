package access

import (
	"strings"
	"time"
)

// castVote records one person's vote and what follows from it. The order of
// the checks is part of the contract: who may not vote learns that, and
// nothing of where the request stands.
func castVote(r *Request, cmd CastVote, f Facts) ([]Event, error) {
	if cmd.ContentHash == "" {
		return nil, field("content_hash", "Send the content_hash of the request as it was shown to you.")
	}
	if cmd.Decision != Approve && cmd.Decision != Deny {
		return nil, field("decision", "Decide approve or deny.")
	}
	if f.Directory == nil || cmd.ReviewID == "" || cmd.By == "" {
		return nil, invalid("a vote came without a directory, an ID or a voter")
	}
	person, stage, err := admit(r, cmd, f)
	if err != nil {
		return nil, err
	}
	review := Review{
		ID: cmd.ReviewID, By: cmd.By, Person: person, Decision: cmd.Decision, Stage: stage,
		ContentHash: cmd.ContentHash, CommentDigest: cmd.CommentDigest, At: f.Now,
	}
	if r.Duty != nil {
		return lookBack(r, review, f)
	}
	if cmd.Decision == Deny {
		return []Event{Voted{review}, RequestDenied{At: f.Now, By: cmd.By, Reason: "An approver denied it; ask them what would have to change, and ask anew."}}, nil
	}
	if f.IssuingOff {
		return nil, issuingOff()
	}
	review.Duration = cmd.Duration
	voted := Voted{review}
	after := Apply(r, voted)
	if !allFull(after, f.Directory) {
		return []Event{voted}, nil
	}
	followed, err := complete(after, cmd, f)
	if err != nil {
		return nil, err
	}
	return append([]Event{voted}, followed...), nil
}

// admit says for whom and for which stage a vote counts, or why it does not.
func admit(r *Request, cmd CastVote, f Facts) (person string, stage int, err error) {
	dir := f.Directory
	if related(dir, cmd.By, r.Content.Requester) {
		return "", 0, refuse(CodeSelfApproval, "You asked for this, or you and the requester are one or own one another; let somebody else decide, or cancel it.")
	}
	person, ok := dir.Person(cmd.By)
	if !ok || !strings.HasPrefix(cmd.By, "user:") {
		return "", 0, refuse(CodeNotAnApprover, "Only a user whom the catalog knows and has not disabled can review; sign in as one.")
	}
	if err := votable(r, cmd, f.Now); err != nil {
		return "", 0, err
	}
	if cmd.ContentHash != r.ContentHash {
		return "", 0, refuse(CodeContentChanged, "This is not the request that you were shown; look at it again, and decide on what it says now.")
	}
	if r.Content.Hash() != r.ContentHash {
		// What is stored is not what was submitted: nobody was shown it.
		return "", 0, refuse(CodeContentChanged, "The content of this request is not what was submitted; cancel it and ask anew.")
	}
	if votedBefore(r, dir, cmd.By, person) {
		return "", 0, refuse(CodeAlreadyVoted, "You have voted on this request already, perhaps with another account; another approver must be the next.")
	}
	if err := maySit(r, dir, cmd.By); err != nil {
		return "", 0, err
	}
	stage, _ = OpenStage(r, dir)
	if cmd.Duration < 0 || cmd.Duration%time.Second != 0 || cmd.Duration > r.Content.Duration {
		return "", 0, field("duration", "Approve for a whole number of seconds, at most the %s that were asked for.", spoken(r.Content.Duration))
	}
	return person, stage, nil
}

// maySit refuses a voter who is no approver at all, and one whose stage is not
// the open one.
func maySit(r *Request, dir Directory, by string) error {
	open, ok := OpenStage(r, dir)
	sits := false
	for i, s := range r.Stages() {
		if Eligible(dir, by, r.Content.Requester, s) {
			if ok && i == open {
				return nil
			}
			sits = true
		}
	}
	if sits {
		return refuse(CodeStageNotOpen, "The stage that you approve in is not open: it waits for an earlier one, or has its votes; look at the request again later.")
	}
	return refuse(CodeNotAnApprover, "You are not among the approvers of this request; ask one of them.")
}

// votedBefore reports whether the person has voted on r, with whatever
// account: as the directory says now, and as it said when the vote was cast.
func votedBefore(r *Request, dir Directory, by, person string) bool {
	for _, v := range r.Reviews {
		if v.By == by || v.Person == person {
			return true
		}
		if p, ok := dir.Person(v.By); ok && p == person {
			return true
		}
	}
	return false
}

// complete says what follows when every stage of r, the last vote included,
// is full: the stricter of the frozen terms and the catalog in force (A7).
func complete(r *Request, cmd CastVote, f Facts) ([]Event, error) {
	if f.Current == nil {
		return nil, invalid("a vote that may complete an approval came without the catalog in force")
	}
	if f.Current.Refusal != "" {
		return []Event{deniedByPolicy(f, f.Current.Refusal)}, nil
	}
	duration := Effective(r)
	if reason := overCaps(duration, duration, f.Current.Terms); reason != "" {
		return []Event{deniedByPolicy(f, reason)}, nil
	}
	missing, err := uncovered(r, f.Directory, f.Current.Terms)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return []Event{StagesAdded{Stages: missing}}, nil
	}
	approved := RequestApproved{At: f.Now, By: cmd.By}
	if r.Content.Extends != "" {
		return completeExtension(r, duration, approved, f)
	}
	if cmd.GrantID == "" || r.Grant != nil {
		return nil, invalid("an approval needs an ID for its grant, and gives only one")
	}
	return []Event{approved, Granted{Grant: newGrant(r, cmd.GrantID, f)}}, nil
}

// completeExtension never grants: the grant is another request's, and is
// lengthened by an Extend in the same transaction.
func completeExtension(r *Request, duration time.Duration, approved Event, f Facts) ([]Event, error) {
	if f.Base == nil || f.Base.ID != r.Content.Extends {
		return nil, invalid("the approval of an extension came without its grant")
	}
	if !f.Base.live(f.Now) {
		return []Event{RequestExpired{At: f.Now, Reason: "The grant that it was to extend is over; ask for a new one."}}, nil
	}
	limit := min(r.Content.Terms.MaxTotal, f.Current.Terms.MaxTotal)
	if tooLong(f.Base, duration, limit) {
		return []Event{deniedByPolicy(f, "With this extension the grant would last longer than "+spoken(limit)+" in total; ask for less, or for a new grant when this one is over.")}, nil
	}
	return []Event{approved}, nil
}

func deniedByPolicy(f Facts, reason string) Event {
	return RequestDenied{At: f.Now, By: byPolicy, Reason: reason}
}
