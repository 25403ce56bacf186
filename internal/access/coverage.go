package access

import (
	"slices"
	"strings"
	"time"
)

// Eligible reports whether account may vote in stage on a request of
// requester, as dir says now: a known user who is among the approvers and is
// neither the requester nor tied to them (A9).
func Eligible(dir Directory, account, requester string, stage Stage) bool {
	if !strings.HasPrefix(account, "user:") {
		return false
	}
	if _, ok := dir.Person(account); !ok {
		return false
	}
	return dir.Member(account, stage.From) && !related(dir, account, requester)
}

// related reports whether a and b are one person, or one owns the other. It
// compares persons itself as well: nothing here rests on one answer alone.
func related(dir Directory, a, b string) bool {
	if a == b || dir.Related(a, b) {
		return true
	}
	pa, okA := dir.Person(a)
	pb, okB := dir.Person(b)
	return okA && okB && pa == pb
}

// Effective returns for how long r would be, or was, granted: the smallest of
// what was asked and what each approver agreed to.
func Effective(r *Request) time.Duration {
	d := r.Content.Duration
	for _, v := range r.Reviews {
		if v.Decision == Approve && v.Duration > 0 {
			d = min(d, v.Duration)
		}
	}
	return d
}

// CountedVotes returns the approvals that fill a stage (an index into
// r.Stages()) as dir says now.
func CountedVotes(r *Request, dir Directory, stage int) []Review {
	var in []Review
	for _, v := range countedVotes(r, dir) {
		if v.Stage == stage {
			in = append(in, v)
		}
	}
	return in
}

// countedVotes returns the approvals (of a break-glass: the reviews) that hold now: for this very content
// (A8), by somebody who is still eligible in the stage of the vote (A11), and
// one for each person, also where two accounts turned out to be one person's
// only after both had voted (A10).
func countedVotes(r *Request, dir Directory) []Review {
	var valid []Review
	persons := make(map[string]bool)
	stages := r.Stages()
	for _, v := range r.Reviews {
		// Whoever reviews afterwards has looked, whatever they found.
		looked := v.Decision == Approve || v.Decision == Deny && r.Duty != nil
		if !looked || v.ContentHash != r.ContentHash || v.Stage < 0 || v.Stage >= len(stages) {
			continue
		}
		if !Eligible(dir, v.By, r.Content.Requester, stages[v.Stage]) {
			continue
		}
		person, _ := dir.Person(v.By)
		if persons[person] || persons[v.Person] {
			continue
		}
		persons[person], persons[v.Person] = true, true
		valid = append(valid, v)
	}
	return valid
}

// firstShort returns the index of the first stage that lacks a vote.
func firstShort(r *Request, dir Directory) (int, bool) {
	votes := make(map[int]int)
	for _, v := range countedVotes(r, dir) {
		votes[v.Stage]++
	}
	for i, s := range r.Stages() {
		// A quorum below one is never met: nothing is approved by nobody (A13).
		if s.Quorum < 1 || votes[i] < s.Quorum {
			return i, true
		}
	}
	return 0, false
}

// allFull reports whether every stage, frozen or added, has its votes. Only an
// automatic approval has no stages.
func allFull(r *Request, dir Directory) bool {
	_, short := firstShort(r, dir)
	return !short && (len(r.Stages()) > 0 || r.Content.Terms.Auto)
}

// OpenStage returns the one stage of a request that takes votes now:
// the first that is not full. When a voter who had lost their group is back,
// all stages can be full with nobody left to complete the approval; then the
// last one stays open.
func OpenStage(r *Request, dir Directory) (int, bool) {
	n := len(r.Stages())
	if !r.TakesVotes() || n == 0 {
		return 0, false
	}
	if i, short := firstShort(r, dir); short {
		return i, true
	}
	return n - 1, true
}

// uncovered returns what t asks for beyond the votes that r has: each stage
// that is short, with the number of persons it still lacks. Every vote may
// stand for one requirement only (A10), so votes are matched to stages with
// augmenting paths; earlier stages are served first, so that the same votes
// always leave the same rest.
func uncovered(r *Request, dir Directory, t Terms) ([]Stage, error) {
	if t.Auto {
		return nil, nil
	}
	if err := checkStages(t.Stages); err != nil {
		return nil, err
	}
	votes := countedVotes(r, dir)
	seat := make([]int, len(votes)) // the stage that each vote stands for
	for v := range seat {
		seat[v] = -1
	}
	var place func(stage int, tried []bool) bool
	place = func(stage int, tried []bool) bool {
		for v := range votes {
			if tried[v] || !Eligible(dir, votes[v].By, r.Content.Requester, t.Stages[stage]) {
				continue
			}
			tried[v] = true
			if seat[v] == -1 || place(seat[v], tried) {
				seat[v] = stage
				return true
			}
		}
		return false
	}
	var missing []Stage
	for i, s := range t.Stages {
		lacking := s.Quorum
		for lacking > 0 && place(i, make([]bool, len(votes))) {
			lacking--
		}
		if lacking > 0 {
			missing = append(missing, Stage{Name: s.Name, From: slices.Clone(s.From), Quorum: lacking})
		}
	}
	return missing, nil
}
