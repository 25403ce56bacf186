package cli

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
)

type backtestFlags struct {
	since, data     string
	frozen, failing bool
}

func (a *app) policyBacktestCmd() *cobra.Command {
	var f backtestFlags
	cmd := &cobra.Command{
		Use:   "backtest NEW --since 90d",
		Short: "Replay the recorded requests against a catalog and list what flips",
		Long: `Backtest decides every request that was made since then by another catalog, and
lists those that would have been decided otherwise. A requester's groups, a
role's scope and those who approve are as the new catalog has them; time,
duration, reason and ticket are as they were. Where a reason or ticket was
erased, what asks for it counts as met.

It asks the server, as an admin or auditor, who are on record for it; or with
--data it reads a server's data folder, also while the server runs.`,
		Example: `  daypass policy backtest catalog.yaml --since 90d
  daypass policy backtest catalog.yaml --since 720h --data /var/lib/daypass --fail-on-flip`,
		Args: oneArg("NEW"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.backtest(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.since, "since", "90d", "how far back: a `time span` such as 90d or 12h")
	flags.StringVar(&f.data, "data", "", "read this data `folder` of a server, instead of asking one")
	flags.BoolVar(&f.frozen, "recorded-groups", false, "with the groups of each requester as they were when it was asked")
	flags.BoolVar(&f.failing, "fail-on-flip", false, "exit code 1 when a decision flips")
	return cmd
}

func (a *app) backtest(ctx context.Context, path string, f backtestFlags) error {
	since, err := span(f.since)
	if err != nil {
		return err
	}
	source, err := a.readInput(path)
	if err != nil {
		return fail("", "%w", err)
	}
	var out api.Backtest
	if f.data != "" {
		if a.Backtest == nil {
			return fail("", "this program cannot read a data folder")
		}
		if _, err := a.catalog(path); err != nil {
			return err
		}
		if out, err = a.Backtest(ctx, f.data, source, a.Now().Add(-since), f.frozen); err != nil {
			return fail("", "%w", err)
		}
	} else {
		c, err := a.client()
		if err != nil {
			return err
		}
		answer, err := c.BacktestCatalog(ctx, source, since, f.frozen)
		if err != nil {
			return applyError(path, err)
		}
		out = *answer
	}
	if err := a.print(out, func() { a.showBacktest(out) }); err != nil {
		return err
	}
	if f.failing && out.Flipped > 0 {
		return Exit(ExitFailed)
	}
	return nil
}

// span is a duration, or a number of days.
func span(value string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(value, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 3650 {
			return 0, Usage("--since: %q is not a number of days such as 90d", value)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := durationFlag("--since", value)
	return d.Std(), err
}

func (a *app) showBacktest(b api.Backtest) {
	for _, f := range b.Flips {
		id := f.Request
		if id == "" {
			id = f.Event
		}
		what := f.Role
		if what == "" {
			what = "a scope"
		}
		a.out.printf("%s  %s  %s  %s of %s for %s\n", f.At, id, f.Requester, what, f.Resource, f.Duration)
		a.out.field("was", "%s  %s", paint(bold, f.From), f.Was)
		a.out.field("would be", "%s  %s", paint(bold, f.To), f.Now)
		if len(f.GroupsLost)+len(f.GroupsGained) > 0 {
			a.out.field("groups", "%s", strings.TrimSpace(signed("-", f.GroupsLost)+" "+signed("+", f.GroupsGained)))
		}
		if f.ScopeChanged {
			a.out.field("scope", "the role has another scope")
		}
		if f.Erased {
			a.out.field("unsure", "reason and ticket are not there any more, and count as given")
		}
	}
	if b.Truncated {
		a.out.printf("… and %s\n", plural(b.Flipped-len(b.Flips), "more", "more"))
	}
	a.out.printf("%s replayed since %s: %d the same, %s\n", plural(b.Replayed, "request", "requests"), b.Since, b.Same, paint(flipColour(b.Flipped), plural(b.Flipped, "flip", "flips")))
	for _, change := range slices.Sorted(maps.Keys(b.Changes)) {
		a.out.field(strconv.Itoa(b.Changes[change]), "%s", change)
	}
	if b.Refusals > 0 {
		a.out.field("refusals", "%d of them had been refused", b.Refusals)
	}
	if b.Erased > 0 {
		a.out.field("unsure", "%d without their reason or ticket, which count as given", b.Erased)
	}
	if b.NotCovered > 0 {
		a.out.field("left out", "%s of which too little is on record: for their reason or ticket, or before details were kept", plural(b.NotCovered, "refusal", "refusals"))
	}
}

func flipColour(n int) mark {
	if n > 0 {
		return yellow
	}
	return green
}

func signed(sign string, names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = sign + name
	}
	return strings.Join(out, " ")
}
