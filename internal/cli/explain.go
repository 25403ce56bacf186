package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/lint"
	"github.com/daypass/daypass/internal/policy/rehearse"
)

type explainFlags struct {
	as, role, scope, duration, reason, ticket, at, catalog, effective string
}

func (a *app) policyExplainCmd() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --as PRINCIPAL RESOURCE [--role R | --scope JSON]",
		Short: "Show step by step how a request would be decided",
		Long: `Explain shows every guardrail and rule in order, whether it matched, and the
value of each part of its condition; then the limits, the stages with those who
could vote and those who could not, and the decision.

With --catalog it reads a file, offline. Otherwise it asks the server about the
catalog in force: admins and auditors about everybody, the owners of a resource
about that resource. The server puts on record who looked at whose rights.`,
		Example: `  daypass policy explain --as user:ana orders-api --role read --for 15m
  daypass policy explain --catalog catalog.yaml --as user:ana orders-api --role read --for 2h --at 2026-11-29T10:00:00Z`,
		Args: oneArg("RESOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.explain(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.as, "as", "", "whose request: a `principal` such as user:ana")
	flags.StringVar(&f.role, "role", "", "the `role` that is asked for")
	flags.StringVar(&f.scope, "scope", "", "a scope in `JSON`, or @FILE")
	flags.StringVar(&f.duration, "for", "", "for how long: a `duration` (default: not stated, so never too long)")
	flags.StringVar(&f.reason, "reason", "", "the reason that is given, in `words`")
	flags.StringVar(&f.ticket, "ticket", "", "the `ticket` that is given")
	flags.StringVar(&f.at, "at", "", "when it is asked and begins: a `time`, or +2h (default: now)")
	flags.StringVar(&f.effective, "effective", "", "what it would really reach, in `JSON` or @FILE, for conditions that read effective (default: the server looks, a file does not know)")
	flags.StringVar(&f.catalog, "catalog", "", "a catalog `file`; nothing is asked of a server")
	return cmd
}

func (a *app) explain(ctx context.Context, resource string, f explainFlags) error {
	q := api.ExplainRequest{Principal: f.as, Resource: resource, Role: f.role, Reason: f.reason, Ticket: f.ticket}
	if f.as == "" {
		return Usage("whose request? --as is needed, such as --as user:ana")
	}
	var err error
	if f.duration != "" {
		if q.Duration, err = durationFlag("--for", f.duration); err != nil {
			return err
		}
	}
	if q.At, err = a.timeFlag("--at", f.at); err != nil {
		return err
	}
	if f.scope != "" {
		if q.Scope, err = a.scopeFlag(f.scope); err != nil {
			return err
		}
	}
	if f.effective != "" {
		if q.Effective, err = a.objectFlag("--effective", f.effective, `{"relations":2}`); err != nil {
			return err
		}
	}
	var out api.Explained
	if f.catalog != "" {
		out, err = a.explainFile(f.catalog, q)
	} else {
		var c *client.Client
		if c, err = a.client(); err == nil {
			var answer *api.Explained
			if answer, err = c.ExplainCatalog(ctx, q); err == nil {
				out = *answer
			}
		}
	}
	if err != nil {
		return err
	}
	return a.print(out, func() { a.showExplained(out) })
}

func (a *app) explainFile(path string, q api.ExplainRequest) (api.Explained, error) {
	c, err := a.catalog(path)
	if err != nil {
		return api.Explained{}, err
	}
	at := a.Now()
	if q.At != nil {
		at = q.At.Time
	}
	out, err := rehearse.Explain(c, rehearse.Question{
		Principal: q.Principal, Resource: q.Resource, Role: q.Role, Scope: q.Scope, Duration: q.Duration.Std(), Reason: q.Reason, Ticket: q.Ticket, At: at, Client: "cli", Effective: q.Effective,
	})
	var bad *rehearse.QuestionError
	if errors.As(err, &bad) {
		return out, fail("", "%w", err)
	}
	return out, err
}

var outcomeWords = map[string]markup{
	"matched": paint(green, "matched"), "not_matched": paint(grey, "did not match"), "failed": paint(red, "could not be evaluated"),
	"other_kind": paint(grey, "is for another kind"), "not_reached": paint(grey, "was not reached"),
}

func (a *app) showExplained(e api.Explained) {
	what := e.Role
	if what == "" {
		what = string(e.Scope)
	}
	a.out.printf("%s asks for %s on %s at %s\n", e.Principal, what, e.Resource, e.At)
	a.out.field("groups", "%s", orNone(e.Groups))
	a.showEntries("guardrail", e.Guardrails)
	a.showEntries("rule", e.Rules)
	a.out.printf("\n")
	switch e.Decision.Decision {
	case "auto":
		a.out.printf("%s at once\n", paint(green, "approved"))
	case "refused":
		a.out.printf("%s (%s)\n", paint(red, "refused"), e.Decision.Code)
	default:
		a.out.printf("%s people\n", paint(yellow, "asks"))
	}
	a.out.field("why", "%s", e.Decision.Explanation)
	if e.LimitedBy != "" {
		a.out.field("at most", "%s, by %s; %s in all", e.Decision.MaxDuration, e.LimitedBy, e.MaxTotal)
	}
	if e.ApproveWithin > 0 {
		a.out.field("waits", "%s for its reviews", e.ApproveWithin)
	}
	for _, s := range e.Stages {
		a.out.field("stage", "%s: %d of %s", s.Name, s.Quorum, strings.Join(s.From, " or "))
		a.out.field("", "can vote: %s", orNone(s.Eligible))
		for _, b := range s.Barred {
			a.out.field("", "cannot: %s %s", b.Principal, b.Why)
		}
	}
}

func (a *app) showEntries(what string, entries []api.ExplainedEntry) {
	for _, e := range entries {
		a.out.printf("\n%s %s %s\n", what, paint(bold, `"`+e.Name+`"`), outcomeWords[e.Outcome])
		if e.Why != "" {
			a.out.field("why", "%s", e.Why)
		}
		for _, p := range e.Parts {
			value := paint(grey, "not evaluated")
			if p.Value != nil {
				value = paint(valueColour(*p.Value), *p.Value)
			}
			a.out.printf("  %s%s  %s\n", strings.Repeat("  ", p.Depth), p.Text, value)
		}
	}
}

func valueColour(value string) mark {
	switch value {
	case "true":
		return green
	case "false":
		return yellow
	}
	return bold
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// catalog reads a catalog file that must be good.
func (a *app) catalog(path string) (*policy.Catalog, error) {
	source, err := a.readInput(path)
	if err != nil {
		return nil, fail("", "%w", err)
	}
	c, err := policy.Parse(source, a.Kinds)
	if err != nil {
		for _, p := range lint.Problems(err) {
			a.err.printf("%s:%d:%d: %s\n", path, p.Line, p.Column, p.Message)
		}
		return nil, fail("daypass policy check "+path, "%s is not a good catalog", path)
	}
	return c, nil
}
