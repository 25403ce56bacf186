package access_test

import (
	"time"

	. "github.com/daypass/daypass/internal/access"
)

// This oracle says on its own what may be granted. It shares no code with the
// package: it looks at the commands that were accepted and at the world as it
// was when they were, and tries all assignments of persons to requirements.

// mayVote is Eligible said again, from the raw directory.
func mayVote(dir *people, account, requester string, from []string) bool {
	if len(account) < 6 || account[:5] != "user:" || account == requester {
		return false
	}
	if dir.person[account] == "" || dir.person[account] == dir.person[requester] {
		return false
	}
	return dir.Member(account, from) && !dir.Related(account, requester)
}

// ballot is an approval that was accepted.
type ballot struct {
	by       string
	then     *people
	duration time.Duration
	hash     string
}

// ballots returns the approvals among the accepted commands.
func ballots(history []step) (approvals []ballot, denied bool) {
	for _, s := range history {
		v, ok := s.cmd.(CastVote)
		if !ok || s.err != nil {
			continue
		}
		if v.Decision != Approve {
			denied = true
			continue
		}
		approvals = append(approvals, ballot{by: v.By, then: s.dir, duration: v.Duration, hash: v.ContentHash})
	}
	return approvals, denied
}

// covers reports whether distinct persons among the ballots can be assigned to
// every place of the stages, each eligible when they voted and now.
func covers(approvals []ballot, now *people, requester string, stages []Stage) bool {
	for _, s := range stages {
		if s.Quorum < 1 {
			return false // nothing is approved by nobody
		}
	}
	return shortfall(approvals, now, requester, stages) == 0
}

// shortfall is how many places no assignment can fill. It tries them all, place
// by place, and remembers what is left for each set of persons already used.
func shortfall(approvals []ballot, now *people, requester string, stages []Stage) int {
	persons := map[string]uint{} // person → bit
	for _, b := range approvals {
		if p := now.person[b.by]; persons[p] == 0 {
			persons[p] = 1 << len(persons)
		}
	}
	var places []uint // the persons who may take each
	for _, s := range stages {
		var may uint
		for _, b := range approvals {
			if mayVote(now, b.by, requester, s.From) && votedThen(b, requester) {
				may |= persons[now.person[b.by]]
			}
		}
		for range s.Quorum {
			places = append(places, may)
		}
	}
	known := map[[2]uint]int{}
	var fill func(i int, used uint) int
	fill = func(i int, used uint) int {
		if i == len(places) {
			return 0
		}
		if n, ok := known[[2]uint{uint(i), used}]; ok {
			return n
		}
		least := 1 + fill(i+1, used) // nobody takes this place
		for _, bit := range persons {
			if places[i]&bit&^used != 0 {
				least = min(least, fill(i+1, used|bit))
			}
		}
		known[[2]uint{uint(i), used}] = least
		return least
	}
	return fill(0, 0)
}

// votedThen reports whether the voter was a possible approver at all when the
// vote was cast; which group counted then is the stage's business.
func votedThen(b ballot, requester string) bool {
	return mayVote(b.then, b.by, requester, append([]string{"user:di"}, groups...))
}

// agreed is the longest that everybody agreed to.
func agreed(asked time.Duration, approvals []ballot) time.Duration {
	for _, b := range approvals {
		if b.duration > 0 && b.duration < asked {
			asked = b.duration
		}
	}
	return asked
}

// unjustified says why nothing may be granted after these steps in this
// world; empty when it may. It holds at an approval and at a scheduled start.
func unjustified(history []step, s step) string {
	r := s.after
	c := r.Content
	if c.Terms.BreakGlass != nil {
		return rashGlass(s)
	}
	approvals, denied := ballots(history)
	switch {
	case denied:
		return "somebody denied it"
	case s.f.IssuingOff:
		return "issuing is off"
	case s.f.Current == nil:
		return "the catalog in force is not known"
	case s.f.Current.Refusal != "":
		return "the catalog in force refuses it"
	case agreed(c.Duration, approvals) > s.f.Current.Terms.MaxDuration:
		return "it is longer than the catalog in force allows"
	case c.Terms.Auto == (len(c.Terms.Stages) > 0):
		return "the frozen terms are no terms"
	case !covers(approvals, s.dir, c.Requester, c.Terms.Stages):
		return "the frozen terms ask for more votes"
	case !s.f.Current.Terms.Auto && len(s.f.Current.Terms.Stages) == 0:
		return "the catalog in force names nobody"
	case !covers(approvals, s.dir, c.Requester, s.f.Current.Terms.Stages):
		return "the catalog in force asks for more votes"
	}
	for _, b := range approvals {
		if b.hash != c.Hash() {
			return "somebody voted for another content"
		}
	}
	return ""
}

// rashGlass says why this break-glass may give nothing; empty when it may.
func rashGlass(s step) string {
	c := s.after.Content
	cmd, ok := s.cmd.(Submit)
	heard := map[string]bool{}
	for _, a := range cmd.Told {
		if mayVote(s.dir, a, c.Requester, c.Terms.BreakGlass.Notify) {
			heard[s.dir.person[a]] = true
		}
	}
	switch {
	case !ok:
		return "glass is broken in the asking alone"
	case len(heard) < 2:
		return "fewer than two people would hear of it"
	case c.ReasonDigest == "":
		return "it gives no reason"
	case s.f.IssuingOff:
		return "issuing is off"
	case s.f.OpenDuty != "":
		return "an earlier one was never reviewed"
	case c.Duration > c.Terms.BreakGlass.MaxDuration:
		return "it is longer than the rule lets glass be broken for"
	case s.f.Current == nil || s.f.Current.Refusal != "" || s.f.Current.Terms.BreakGlass == nil:
		return "the catalog in force does not allow it"
	case s.after.Grant.StartsAt.After(s.f.Now):
		return "it is for later"
	}
	return ""
}

// looks returns the reviews among the accepted commands, whatever they said.
func looks(history []step) (all []ballot, denied bool) {
	for _, s := range history {
		if v, ok := s.cmd.(CastVote); ok && s.err == nil {
			all = append(all, ballot{by: v.By, then: s.dir, hash: v.ContentHash})
			denied = denied || v.Decision == Deny
		}
	}
	return all, denied
}
