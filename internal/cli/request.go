package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

// requestFlags are those of request and, in part, of extend.
type requestFlags struct {
	role, scope, duration, reason, ticket, start string
	dryRun, breakGlass                           bool
	waitFlags
}

func (a *app) requestCmd() *cobra.Command {
	var f requestFlags
	cmd := &cobra.Command{
		Use:   "request RESOURCE [--role R | --scope JSON] --for DURATION --reason TEXT",
		Short: "Ask for access",
		Long: `Request asks for access to a resource: a role of it, or a scope of your own in
JSON, for a while. The policy may grant it at once, refuse it, or ask people.
With --wait the command stays until they have decided.

A resource with one role needs no --role. --start takes a time such as
2026-11-23T14:00:00Z or a distance such as +2h; the access begins then, or when
it is approved, whichever is later.

--break-glass is for emergencies: where the policy allows it, access begins at
once and people are told at once. They review it afterwards, and until they
have, you cannot break glass again.`,
		Example: `  daypass request orders-api --role read --for 15m --reason "refund totals"
  daypass request orders-api --role write --for 1h --reason "fix order 7" --ticket INC-42 --wait
  daypass request orders-db --scope '{"actions":["select"],"tables":["public.orders"]}' --for 15m --reason audit --dry-run
  daypass request orders-api --role write --for 30m --reason "payments are down" --break-glass`,
		Args:              oneArg("RESOURCE"),
		ValidArgsFunction: a.completing(completeResources),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			body, err := a.submission(ctx, c, args[0], f)
			if err != nil {
				return err
			}
			if f.dryRun {
				return a.dryRun(ctx, c, body)
			}
			r, err := c.Submit(ctx, body)
			if err != nil {
				return err
			}
			return a.outcome(ctx, c, r, f.waitFlags)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.role, "role", "", "the `role` of the resource that you need")
	flags.StringVar(&f.scope, "scope", "", "a scope of your own in `JSON`, or @FILE")
	flags.StringVar(&f.duration, "for", "", "for how long: a `duration` such as 90s, 15m, 1h30m")
	flags.StringVar(&f.reason, "reason", "", "why, in `words` for those who decide")
	flags.StringVar(&f.ticket, "ticket", "", "the `ticket` that it belongs to")
	flags.StringVar(&f.start, "start", "", "when it shall begin: a `time`, or +2h (default: when approved)")
	flags.BoolVar(&f.breakGlass, "break-glass", false, "an emergency: access at once, told to others at once, reviewed afterwards")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say how it would be decided")
	f.register(cmd)
	must(cmd.RegisterFlagCompletionFunc("role", a.completing(completeRoles)))
	return cmd
}

// submission makes the body of the call out of flags.
func (a *app) submission(ctx context.Context, c *client.Client, resource string, f requestFlags) (api.SubmitRequest, error) {
	body := api.SubmitRequest{Resource: resource, Role: f.role, Reason: f.reason, Ticket: f.ticket, BreakGlass: f.breakGlass}
	if err := checkName("resource", resource); err != nil {
		return body, err
	}
	if f.role != "" && f.scope != "" {
		return body, Usage("--role and --scope exclude each other")
	}
	if f.role != "" {
		if err := checkName("role", f.role); err != nil {
			return body, err
		}
	}
	var err error
	if body.Duration, err = durationFlag("--for", f.duration); err != nil {
		return body, err
	}
	if body.StartAt, err = a.timeFlag("--start", f.start); err != nil {
		return body, err
	}
	if f.scope != "" {
		body.Scope, err = a.scopeFlag(f.scope)
	} else if f.role == "" {
		body.Role, err = onlyRole(ctx, c, resource)
	}
	return body, err
}

func durationFlag(name, value string) (api.Duration, error) {
	if value == "" {
		return 0, Usage("for how long? %s is needed, such as %s 15m", name, name)
	}
	d, err := api.ParseDuration(value)
	if err != nil {
		return 0, Usage("%s: %v", name, err)
	}
	return api.Duration(d), nil
}

func (a *app) timeFlag(name, value string) (*api.Time, error) {
	if value == "" {
		return nil, nil
	}
	if rest, ok := strings.CutPrefix(value, "+"); ok {
		d, err := api.ParseDuration(rest)
		if err != nil {
			return nil, Usage("%s: %v", name, err)
		}
		t := api.TimeOf(a.Now().Add(d))
		return &t, nil
	}
	var t api.Time
	if err := t.UnmarshalText([]byte(value)); err != nil {
		return nil, Usage("%s: %v", name, err)
	}
	return &t, nil
}

func (a *app) scopeFlag(value string) (json.RawMessage, error) {
	return a.objectFlag("--scope", value, `{"methods":["GET"],"paths":["/v1/**"]}`)
}

// objectFlag reads a JSON object, or a file that holds one.
func (a *app) objectFlag(name, value, example string) (json.RawMessage, error) {
	raw := []byte(value)
	if path, ok := strings.CutPrefix(value, "@"); ok {
		var err error
		if raw, err = a.readInput(path); err != nil {
			return nil, Usage("%s: %v", name, err)
		}
	}
	if !json.Valid(raw) || !strings.HasPrefix(strings.TrimSpace(string(raw)), "{") {
		return nil, Usage("%s: not a JSON object, such as %s", name, example)
	}
	return raw, nil
}

// onlyRole returns the role of a resource that has no other.
func onlyRole(ctx context.Context, c *client.Client, resource string) (string, error) {
	r, err := c.Resource(ctx, resource)
	if err != nil {
		return "", err
	}
	names := make([]string, 0, len(r.Roles))
	for _, role := range r.Roles {
		names = append(names, role.Name)
	}
	switch len(names) {
	case 1:
		return names[0], nil
	case 0:
		return "", Usage("%s has no role that you may ask for: say what you need with --scope", resource)
	}
	return "", Usage("%s has several roles: choose with --role one of %s", resource, strings.Join(names, ", "))
}

func (a *app) dryRun(ctx context.Context, c *client.Client, body api.SubmitRequest) error {
	d, err := c.DryRun(ctx, body)
	if err != nil {
		return err
	}
	err = a.print(d, func() {
		switch d.Decision {
		case "auto":
			a.out.printf("%s at once\n", paint(green, "would be approved"))
		case "break_glass":
			a.out.printf("%s: access at once, reviewed afterwards\n", paint(red, "would break glass"))
		case "refused":
			a.out.printf("%s (%s)\n", paint(red, "would be refused"), d.Code)
		default:
			a.out.printf("%s people\n", paint(yellow, "would ask"))
		}
		if d.Explanation != "" {
			a.out.field("why", "%s", d.Explanation)
		}
		a.showTarget(a.out, d.Target)
		for _, s := range d.Stages {
			a.out.field("stage", "%s", stageText(s))
		}
		if d.MaxDuration > 0 {
			a.out.field("at most", "%s", d.MaxDuration)
		}
		if g := d.BreakGlass; g != nil {
			a.out.field("emergency", "--break-glass gives at most %s at once and tells %s", g.MaxDuration, strings.Join(g.Notify, ", "))
		}
		if d.Policy.Rule != "" {
			a.out.field("rule", "%s", d.Policy.Rule)
		}
	})
	if err == nil && d.Decision == "refused" {
		return Exit(ExitDenied)
	}
	return err
}

// outcome waits if wanted, and prints a request with what happens next. Its
// error carries the exit code of the state it was left in.
func (a *app) outcome(ctx context.Context, c *client.Client, r *api.Request, w waitFlags) error {
	var waitErr error
	if w.wait && r.State == "pending" {
		a.err.printf("%s is asked: %s\n", r.ID, asked(r))
		var latest *api.Request
		if latest, waitErr = a.wait(ctx, c, r, w); latest != nil {
			r = latest
		}
		if waitErr != nil && !errors.Is(waitErr, context.Canceled) && !errors.Is(waitErr, context.DeadlineExceeded) {
			a.err.printf("%s may still be pending; \"daypass show %s --wait\" goes on waiting\n", r.ID, r.ID)
			return waitErr
		}
	}
	if err := a.print(r, func() { a.showOutcome(r) }); err != nil {
		return err
	}
	switch r.State {
	case "approved":
		return nil
	case "denied":
		return Exit(ExitDenied)
	case "pending":
		a.stillPending(r, waitErr)
		return Exit(ExitPending)
	}
	return Exit(ExitFailed)
}

// stillPending says how to go on with a request that is left pending.
func (a *app) stillPending(r *api.Request, why error) {
	switch {
	case errors.Is(why, context.DeadlineExceeded):
		a.err.printf("The wait ran out. %s is still pending.\n", r.ID)
	case why != nil:
		a.err.printf("Interrupted. %s is still pending.\n", r.ID)
	}
	a.err.printf("  next: daypass show %s --wait   (or daypass cancel %s)\n", r.ID, r.ID)
}

func (a *app) showOutcome(r *api.Request) {
	s := a.out
	s.printf("%s  %s  %s\n", r.ID, state(r.State), asked(r))
	a.showGlass(s, r)
	if r.Explanation != "" {
		s.field("why", "%s", r.Explanation)
	}
	for _, v := range r.Reviews {
		if v.Comment != "" {
			s.field("review", "%s by %s: %s", v.Decision, v.By, v.Comment)
		}
	}
	switch {
	case r.State == "pending":
		s.field("now", "%s", waitingFor(r))
		s.field("lapses", "%s", a.at(r.ApproveBy))
	case r.Grant != nil:
		s.field("grant", "%s  %s", r.Grant.ID, a.grantState(r.Grant))
		if r.Grant.Connect != nil {
			a.showConnect(r.Grant.Connect)
		}
		if r.State == "approved" && r.Extends == "" {
			s.field("next", "%s", nextUse(r))
		}
	}
}

func nextUse(r *api.Request) string {
	switch r.Kind {
	case "http":
		return fmt.Sprintf("daypass connect %s -- /PATH, or daypass credential %s", r.Grant.ID, r.Grant.ID)
	case "postgres":
		return fmt.Sprintf("daypass connect %s, or daypass credential %s --format dsn", r.Grant.ID, r.Grant.ID)
	}
	return "daypass credential " + r.Grant.ID
}

// waitFlags are those of every command that can wait for a decision.
type waitFlags struct {
	wait, cancelOnExit bool
	timeout            time.Duration
}

func (w *waitFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "stay until it is decided")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "with --wait: stay at most for this `duration`")
	cmd.Flags().BoolVar(&w.cancelOnExit, "cancel-on-exit", false, "with --wait: cancel the request when the wait ends without a decision")
}
