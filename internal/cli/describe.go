package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/workload"
)

// state paints the word of a state.
func state(word string) markup {
	switch word {
	case "approved", "active":
		return paint(green, word)
	case "pending", "scheduled", "activating", "ending":
		return paint(yellow, word)
	case "denied":
		return paint(red, word)
	}
	return paint(grey, word)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// asked says what a request asks for, in a few words.
func asked(r *api.Request) string {
	what := r.Role
	if what == "" {
		what = "a scope"
	}
	return fmt.Sprintf("%s on %s (%s) for %s", what, r.Resource, r.Kind, r.Duration)
}

// showContent prints what a reviewer decides on.
func (a *app) showContent(s *screen, r *api.Request) {
	who := r.Requester
	if owner := deref(r.OnBehalfOf); owner != "" {
		who += " (of " + owner + ")"
	}
	if r.BreakGlass != nil {
		s.printf("%s: %s took %s before anybody agreed\n", paint(red, "BREAK-GLASS"), paint(bold, who), asked(r))
	} else {
		s.printf("%s asks for %s\n", paint(bold, who), asked(r))
	}
	s.field("scope", "%s", string(r.Scope))
	a.showTarget(s, r.Target)
	a.showWorkload(s, r.Workload)
	if r.Extends != "" {
		s.field("extends", "%s", r.Extends)
	}
	if r.StartAt != nil {
		s.field("start", "%s", a.at(*r.StartAt))
	}
	if r.Reason != "" {
		s.field("reason", "%s", r.Reason)
	}
	if r.Ticket != "" {
		s.field("ticket", "%s", r.Ticket)
	}
	for _, name := range r.Erased {
		s.field(name, "%s", paint(grey, "(erased)"))
	}
}

// showTarget says how far a scope reaches in its target, where the kind has
// looked there.
func (a *app) showTarget(s *screen, target json.RawMessage) {
	var found struct {
		Summary string `json:"summary"`
	}
	if json.Unmarshal(target, &found) == nil && found.Summary != "" {
		s.field("reaches", "%s", found.Summary)
	}
}

// showWorkload says which run of which job asks: what its platform has signed,
// and not what it says of itself.
func (a *app) showWorkload(s *screen, w *api.Workload) {
	if w == nil {
		return
	}
	s.field("job", "%s", workload.Describe(w))
	s.field("vouched", "%s, rule %q", w.Issuer, w.Rule)
}

// showRequest prints a request with all that is known of it.
func (a *app) showRequest(r *api.Request) {
	s := a.out
	s.printf("%s  %s\n", r.ID, state(r.State))
	a.showContent(s, r)
	s.field("asked", "%s", a.at(r.CreatedAt))
	if r.State == "pending" {
		s.field("lapses", "%s", a.at(r.ApproveBy))
	}
	if r.DecidedAt != nil {
		s.field("decided", "%s by %s", a.when(*r.DecidedAt), r.DecidedBy)
	}
	for _, stage := range r.Stages {
		s.field("stage", "%s", stageText(stage))
	}
	for _, v := range r.Reviews {
		narrowed := ""
		if v.Duration != nil {
			narrowed = " for " + v.Duration.String()
		}
		s.field("review", "%s by %s%s, %s", v.Decision, v.By, narrowed, a.when(v.At))
		if v.Comment != "" {
			s.field("", "%s", v.Comment)
		}
		if v.Erased {
			s.field("", "%s", paint(grey, "(comment erased)"))
		}
	}
	if r.Policy.Rule != "" {
		s.field("rule", "%s", r.Policy.Rule)
	}
	a.showGlass(s, r)
	if len(r.Policy.Guardrails) > 0 {
		s.field("guardrails", "%s", strings.Join(r.Policy.Guardrails, ", "))
	}
	if r.Explanation != "" {
		s.field("why", "%s", r.Explanation)
	}
	if r.Grant != nil {
		s.field("grant", "%s  %s", r.Grant.ID, a.grantState(r.Grant))
	}
	if len(r.Actions) > 0 {
		s.field("you may", "%s", strings.Join(r.Actions, ", "))
	}
}

// showGlass says who was told of a broken glass, and where its review stands.
func (a *app) showGlass(s *screen, r *api.Request) {
	g := r.BreakGlass
	if g == nil {
		return
	}
	s.field("told", "%s", strings.Join(g.Told, ", "))
	switch g.Review {
	case "due":
		s.field("review", "%s: %s", paint(yellow, "due"), waitingFor(r))
	case "passed":
		s.field("review", "%s", paint(green, "done"))
	}
	if g.Finding {
		s.field("finding", "%s", paint(red, "a reviewer denied it"))
	}
}

func stageText(s api.Stage) string {
	text := fmt.Sprintf("%s: %d of %d from %s", s.Name, len(s.Approvals), s.Quorum, strings.Join(s.From, " or "))
	if len(s.Approvals) > 0 {
		text += " (" + strings.Join(s.Approvals, ", ") + ")"
	}
	return text
}

// waitingFor says whose votes a pending request waits for.
func waitingFor(r *api.Request) string {
	for _, s := range r.Stages {
		if len(s.Approvals) < s.Quorum {
			return fmt.Sprintf("waiting for %s (%d of %d) from %s", s.Name, len(s.Approvals), s.Quorum, strings.Join(s.From, " or "))
		}
	}
	return "waiting for a decision"
}

// grantState says where a grant stands and when that ends. The clock has the
// last word: what has expired is over, whatever the state still says.
func (a *app) grantState(g *api.Grant) markup {
	word := state(g.State)
	text := ""
	switch {
	case g.State == "scheduled":
		text = ", starts " + a.when(g.StartsAt)
	case g.State == "ended":
		if g.EndedAt != nil {
			text = " " + a.when(*g.EndedAt)
		}
		if reason := deref(g.EndedReason); reason != "" {
			text += " (" + reason + ")"
		}
	case g.State == "ending":
		if g.CleanupPending {
			text = ", access is off, clean-up is being retried"
		}
	case !g.ExpiresAt.After(a.Now()):
		word, text = paint(grey, "expired"), " "+a.when(g.ExpiresAt)
	default:
		text = ", ends " + a.when(g.ExpiresAt)
	}
	return word + markup(clean(text))
}

// showGrant prints a grant with all that is known of it.
func (a *app) showGrant(g *api.Grant) {
	s := a.out
	s.printf("%s  %s\n", g.ID, a.grantState(g))
	s.printf("%s on %s (%s)\n", paint(bold, g.Principal), g.Resource, g.Kind)
	s.field("scope", "%s", string(g.Scope))
	s.field("request", "%s", g.Request)
	s.field("from", "%s", a.at(g.StartsAt))
	s.field("until", "%s", a.at(g.ExpiresAt))
	if g.Connect != nil {
		a.showConnect(g.Connect)
	}
	if len(g.Actions) > 0 {
		s.field("you may", "%s", strings.Join(g.Actions, ", "))
	}
}

func (a *app) showConnect(c *api.Connect) {
	if c.URL != "" {
		a.out.field("url", "%s", c.URL)
	}
	if c.DSN != "" {
		a.out.field("dsn", "%s", c.DSN)
	}
	for i, line := range c.Instructions {
		name := ""
		if i == 0 {
			name = "use"
		}
		a.out.field(name, "%s", line)
	}
}
