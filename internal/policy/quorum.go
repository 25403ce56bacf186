package policy

import (
	"slices"

	"github.com/daypass/daypass/internal/access"
)

// candidates are the distinct persons who could fill one stage.
type candidates struct {
	stage   access.Stage
	persons []string // sorted
}

// candidatesOf are those in stage who are not related to requester; with an
// empty requester, whoever asks.
func (c *Catalog) candidatesOf(stage access.Stage, requester string) candidates {
	var persons []string
	unrelated := func(*Principal) bool { return true }
	if requester != "" {
		unrelated = c.unrelatedTo(requester)
	}
	for _, id := range stage.From {
		for _, user := range c.usersOf[id] {
			if p := c.principals[user]; unrelated(p) {
				persons = append(persons, p.person())
			}
		}
	}
	slices.Sort(persons)
	return candidates{stage: stage, persons: slices.Compact(persons)}
}

// fillable reports whether every stage can get its quorum when each person
// counts once in all of them: a matching of seats to persons.
func fillable(stages []candidates) bool {
	seats := 0
	for _, s := range stages {
		if s.stage.Quorum < 1 || len(s.persons) < s.stage.Quorum {
			return false
		}
		seats += s.stage.Quorum
	}
	enough := true
	for _, s := range stages {
		enough = enough && len(s.persons) >= seats
	}
	if enough { // no two stages can get in each other's way
		return true
	}
	seatOf := make(map[string]int) // person → index into the stages
	var place func(stage int, asked map[string]bool) bool
	place = func(stage int, asked map[string]bool) bool {
		for _, person := range stages[stage].persons {
			if asked[person] {
				continue
			}
			asked[person] = true
			holder, taken := seatOf[person]
			if !taken || place(holder, asked) {
				seatOf[person] = stage
				return true
			}
		}
		return false
	}
	for i, s := range stages {
		for range s.stage.Quorum {
			if !place(i, make(map[string]bool)) {
				return false
			}
		}
	}
	return true
}
