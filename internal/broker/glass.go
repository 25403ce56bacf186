package broker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// told are the accounts that hear at once when the caller breaks glass.
func (u *unit) told(g *access.BreakGlass) []string {
	return u.state.catalog.Approvers(access.Stage{From: g.Notify}, u.c.Principal)
}

// openDuty returns a request whose broken glass waits for its review, and for
// which person answers: with whatever account it was made, by the catalog of
// then and of now. It is "" when there is none.
func (u *unit) openDuty(person string) (string, error) {
	due, err := u.tx.Requests(sqlstore.RequestFilter{ReviewDue: true})
	if err != nil {
		return "", fmt.Errorf("looking for reviews that are due: %w", err)
	}
	cat := u.state.catalog
	for _, r := range due {
		answers := r.Duty.Person
		if p, ok := cat.Person(answers); ok {
			answers = p
		}
		if answers == person || r.Duty.Person == person || cat.Answerable(r.Content.Requester) == person {
			return r.ID, nil
		}
	}
	return "", nil
}

// told reports whether the caller was told of a broken glass: who hears of it
// may look at it.
func (w who) told(r *access.Request) bool {
	return r.Duty != nil && slices.Contains(r.Duty.Told, w.c.Principal) && enabled(w.cat, w.c.Principal)
}

// shownGlass is a request's broken glass as the API shows it; nil for none.
func shownGlass(r *access.Request) *api.BreakGlass {
	g := r.Content.Terms.BreakGlass
	if g == nil || r.Duty == nil {
		return nil
	}
	out := &api.BreakGlass{
		MaxDuration: api.Duration(g.MaxDuration), Notify: nonNil(g.Notify), Told: nonNil(r.Duty.Told),
		Review: "due", Finding: r.Duty.Finding, ReviewedAt: timePtr(r.Duty.DoneAt),
	}
	if !r.Duty.Open() {
		out.Review = "passed"
		if r.Duty.Finding {
			out.Review = "finding"
		}
	}
	return out
}

// explainGlass says where a broken glass stands.
func explainGlass(b *access.Request, dir access.Directory) string {
	d := b.Duty
	text := fmt.Sprintf("Break-glass: %s took access before anybody agreed, for %s under the rule %q; %s were told at once. ",
		b.Content.Requester, api.FormatDuration(access.Effective(b)), b.Content.Terms.Rule, strings.Join(d.Told, ", "))
	have, need := votes(b, dir)
	switch {
	case d.Open() && len(have) > 0:
		text += fmt.Sprintf("Reviewed so far by %s; a review by %s is still due.", strings.Join(have, ", "), strings.Join(need, ", then "))
	case d.Open():
		text += fmt.Sprintf("A review by %s is due.", strings.Join(need, ", then "))
	default:
		text += fmt.Sprintf("It was reviewed by %s.", strings.Join(have, ", "))
	}
	if d.Finding {
		text += " A reviewer denied it: that is a finding, and ended what was left of the access."
	}
	return text
}

// reviewers are those who have looked at a broken glass.
func reviewers(r *access.Request) []string {
	out := make([]string, 0, len(r.Reviews))
	for _, v := range r.Reviews {
		out = append(out, v.By)
	}
	return out
}
