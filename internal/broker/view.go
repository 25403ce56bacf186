package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// view shows a request to one caller, with its texts and its grant.
func (w who) view(tx *sqlstore.Tx, r *access.Request) (View, error) {
	w = w.in(tx)
	c := r.Content
	v := View{Version: r.Version, Request: api.Request{
		ID: r.ID, Revision: r.Revision, ContentHash: r.ContentHash, State: string(r.State),
		Requester: c.Requester, Resource: c.Resource, Kind: c.Kind, Role: c.Role, Scope: c.Scope,
		Target: c.Target, Duration: api.Duration(c.Duration), StartAt: timePtr(c.StartAt), Extends: c.Extends,
		CreatedAt: api.TimeOf(r.CreatedAt), ApproveBy: api.TimeOf(r.ApproveBy),
		DecidedAt: timePtr(r.DecidedAt), DecidedBy: r.DecidedBy,
		Policy: api.Policy{Version: c.Terms.PolicyVersion, Rule: c.Terms.Rule, Guardrails: nonNil(c.Terms.Guardrails)},
	}}
	if p, ok := w.cat.Principal(c.Requester); ok && p.Owner != "" {
		v.OnBehalfOf = &p.Owner
	}
	v.BreakGlass = shownGlass(r)
	if len(c.Workload) > 0 {
		v.Workload = new(api.Workload)
		if err := json.Unmarshal(c.Workload, v.Workload); err != nil {
			return View{}, fmt.Errorf("the job that asked for %s: %w", r.ID, err)
		}
	}
	var err error
	if v.Reason, err = tx.Text(c.ReasonDigest); err != nil {
		return View{}, err
	}
	if v.Ticket, err = tx.Text(c.TicketDigest); err != nil {
		return View{}, err
	}
	if c.ReasonDigest != "" && v.Reason == "" {
		v.Erased = append(v.Erased, "reason")
	}
	if c.TicketDigest != "" && v.Ticket == "" {
		v.Erased = append(v.Erased, "ticket")
	}
	if err := w.viewStages(tx, r, &v); err != nil {
		return View{}, err
	}
	owner := r
	if c.Extends != "" {
		if owner, err = tx.RequestOfGrant(c.Extends); err != nil {
			return View{}, fmt.Errorf("the grant that %s extends: %w", r.ID, err)
		}
	}
	if owner.Grant != nil {
		g := w.grant(owner)
		v.Grant = &g
	}
	v.Explanation = w.explain(tx, r)
	v.Actions = w.actions(r)
	if v.Grant != nil && c.Extends == "" {
		v.Actions = append(v.Actions, v.Grant.Actions...)
	}
	return v, nil
}

func (w who) viewStages(tx *sqlstore.Tx, r *access.Request, v *View) error {
	dir := w.b.directory(tx, w.st, r)
	stages := r.Stages()
	v.Stages, v.Reviews = make([]api.Stage, 0, len(stages)), make([]api.Review, 0, len(r.Reviews))
	for i, s := range stages {
		shown := api.Stage{Name: s.Name, From: nonNil(s.From), Quorum: s.Quorum, Approvals: []string{}}
		for _, vote := range votesIn(r, dir, i) {
			shown.Approvals = append(shown.Approvals, vote.By)
		}
		v.Stages = append(v.Stages, shown)
	}
	for _, vote := range r.Reviews {
		comment, err := tx.Text(vote.CommentDigest)
		if err != nil {
			return err
		}
		shown := api.Review{ID: vote.ID, By: vote.By, Decision: string(vote.Decision), Comment: comment, At: api.TimeOf(vote.At), Erased: vote.CommentDigest != "" && comment == ""}
		if vote.Stage >= 0 && vote.Stage < len(stages) {
			shown.Stage = stages[vote.Stage].Name
		}
		if vote.Duration > 0 {
			d := api.Duration(vote.Duration)
			shown.Duration = &d
		}
		v.Reviews = append(v.Reviews, shown)
	}
	return nil
}

// actions lists what the caller may do with the request itself.
func (w who) actions(r *access.Request) []string {
	actions := []string{}
	if w.mayVote(r) {
		actions = append(actions, "approve", "deny")
	}
	if r.State == access.Pending && w.mayCancel(r) {
		actions = append(actions, "cancel")
	}
	return actions
}

// grant shows a request's grant to one caller, by effective time: what has
// expired is not shown as active, whether or not anything has noticed yet.
func (w who) grant(r *access.Request) api.Grant {
	g := r.Grant
	shown := api.Grant{
		ID: g.ID, Request: r.ID, Principal: r.Content.Requester, Resource: r.Content.Resource, Kind: r.Content.Kind,
		Scope: r.Content.Scope, State: string(g.State), StartsAt: api.TimeOf(g.StartsAt), ExpiresAt: api.TimeOf(g.ExpiresAt),
		EndedAt: timePtr(g.EndedAt), CleanupPending: g.CleanupPending, BreakGlass: g.BreakGlass, Actions: []string{},
	}
	if g.EndedReason != "" {
		why := string(g.EndedReason)
		shown.EndedReason = &why
	}
	runs := g.State == access.Scheduled || g.State == access.Activating || g.State == access.Active
	if s := w.b.sweeps.of(r); s != nil {
		at, why := api.TimeOf(s.At), string(s.why(r.Content.Requester))
		shown.EndedAt, shown.EndedReason, shown.State = &at, &why, string(access.Ended)
		if w.b.cfg.Connectors[r.Content.Kind] && g.State != access.Scheduled {
			shown.State = string(access.Ending)
		}
		return shown
	}
	if runs && !w.b.now().Before(g.ExpiresAt) {
		at, why := api.TimeOf(g.ExpiresAt), string(access.EndExpired)
		shown.EndedAt, shown.EndedReason, shown.State = &at, &why, string(access.Ended)
		if w.b.cfg.Connectors[r.Content.Kind] && g.State != access.Scheduled {
			shown.State = string(access.Ending)
		}
		return shown
	}
	if !runs {
		return shown
	}
	if w.self(r) && g.State != access.Scheduled {
		shown.Actions = append(shown.Actions, "credential")
	}
	if w.mayRevoke(r) {
		shown.Actions = append(shown.Actions, "revoke")
	}
	if w.self(r) {
		if !g.BreakGlass {
			shown.Actions = append(shown.Actions, "extend")
		}
		if res, ok := w.cat.Resource(r.Content.Resource); ok && w.b.cfg.Connect != nil {
			c := w.b.cfg.Connect(res, shown)
			shown.Connect = &c
		}
	}
	return shown
}

// explain says in one sentence where a request stands and why.
func (w who) explain(tx *sqlstore.Tx, r *access.Request) string {
	t := r.Content.Terms
	if r.Duty != nil {
		return explainGlass(r, w.b.directory(tx, w.st, r))
	}
	switch r.State {
	case access.Pending:
		return waitsFor(r, w.b.directory(tx, w.st, r))
	case access.Approved:
		if t.Auto {
			return fmt.Sprintf("Approved by the rule %q, for %s.", t.Rule, api.FormatDuration(access.Effective(r)))
		}
		by := []string{}
		for _, v := range r.Reviews {
			if v.Decision == access.Approve {
				by = append(by, v.By)
			}
		}
		return fmt.Sprintf("Approved by %s under the rule %q, for %s.", strings.Join(by, ", "), t.Rule, api.FormatDuration(access.Effective(r)))
	case access.Denied:
		return fmt.Sprintf("Denied by %s: %s", r.DecidedBy, r.Outcome)
	case access.Cancelled:
		return fmt.Sprintf("Cancelled by %s.", r.DecidedBy)
	}
	return "Lapsed: " + r.Outcome
}

// votesIn are the approvals of a stage: those that still count while that can
// matter, and those that were cast once the request is decided.
func votesIn(r *access.Request, dir access.Directory, stage int) []access.Review {
	if r.TakesVotes() {
		return access.CountedVotes(r, dir, stage)
	}
	var cast []access.Review
	for _, v := range r.Reviews {
		if v.Stage == stage && (v.Decision == access.Approve || r.Duty != nil) {
			cast = append(cast, v)
		}
	}
	return cast
}

// waitsFor says whose approval a pending request has and still needs.
func waitsFor(r *access.Request, dir access.Directory) string {
	have, need := votes(r, dir)
	text := fmt.Sprintf("The rule %q needs the approval of %s, until %s.", r.Content.Terms.Rule, strings.Join(need, ", then "), stamp(r.ApproveBy))
	if len(have) > 0 {
		text = fmt.Sprintf("Approved so far by %s. ", strings.Join(have, ", ")) + text
	}
	return text
}

// votes says who has voted in r, and whose votes it still needs.
func votes(r *access.Request, dir access.Directory) (have, need []string) {
	for i, s := range r.Stages() {
		left := s.Quorum
		for _, v := range votesIn(r, dir, i) {
			left--
			have = append(have, v.By)
		}
		if left > 0 {
			need = append(need, fmt.Sprintf("%d of %s (%s)", left, strings.Join(s.From, " or "), s.Name))
		}
	}
	return have, need
}

func stamp(t time.Time) string { return api.TimeOf(t).String() }

func timePtr(t *time.Time) *api.Time {
	if t == nil {
		return nil
	}
	w := api.TimeOf(*t)
	return &w
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
