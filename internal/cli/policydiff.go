package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/internal/policy/rehearse"
)

func (a *app) policyDiffCmd() *cobra.Command {
	var at string
	var failing bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say whose access differs between two catalogs, and how",
		Long: `Diff lists what was added, removed and changed, and then asks both catalogs
what everybody could get of every role: who can ask for something newly or no
longer, what is granted at once or takes other people, for how long. Where a
condition looks at the duration or the time, it is asked for durations around
those that are named, and at other times of the day and week. Reason and ticket
are left out, and taken as given where a guardrail wants them.`,
		Example: "  git show main:catalog.yaml > old.yaml && daypass policy diff old.yaml catalog.yaml",
		Args:    twoArgs("OLD", "NEW"),
		RunE: func(_ *cobra.Command, args []string) error {
			was, err := a.catalog(args[0])
			if err != nil {
				return err
			}
			now, err := a.catalog(args[1])
			if err != nil {
				return err
			}
			when, err := a.timeFlag("--at", at)
			if err != nil {
				return err
			}
			moment := a.Now()
			if when != nil {
				moment = when.Time
			}
			d := rehearse.Diff(was, now, moment)
			if err := a.print(d, func() { a.showDiff(d) }); err != nil {
				return err
			}
			if failing && !d.Empty() {
				return Exit(ExitFailed)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "when is asked: a `time`, or +2h (default: now)")
	cmd.Flags().BoolVar(&failing, "fail-on-change", false, "exit code 1 when anybody's access differs")
	return cmd
}

func (a *app) showDiff(d rehearse.Differences) {
	if d.Old == d.New {
		a.out.printf("The two are the same catalog: %s\n", d.New)
		return
	}
	for _, c := range d.Things {
		a.out.printf("%s %s %s", c.How, c.What, paint(bold, c.Name))
		if len(c.Fields) > 0 {
			a.out.printf(": %s", strings.Join(c.Fields, ", "))
		}
		a.out.printf("\n")
	}
	if d.Empty() {
		a.out.printf("%s\n", paint(green, "Nobody's access differs."))
	}
	for _, c := range d.Access {
		a.out.printf("\n%s on %s\n", paint(bold, plural(len(c.Principals), "principal", "principals")), plural(len(c.Roles), "role", "roles"))
		a.out.field("who", "%s", few(c.Principals))
		a.out.field("role", "%s", few(c.Roles))
		a.out.field("before", "%s", c.From)
		a.out.field("after", "%s", c.To)
		if len(c.When) > 0 {
			a.out.field("when", "%s", few(c.When))
		}
	}
	if len(d.Asked) > 1 {
		a.out.printf("\nAsked: %s\n", strings.Join(d.Asked, "; "))
	}
	if d.Bounded != "" {
		a.out.printf("Not everything was looked at: %s.\n", d.Bounded)
	}
}

// few names at most five of many.
func few(names []string) string {
	if len(names) > 5 {
		return strings.Join(names[:5], ", ") + " and " + plural(len(names)-5, "other", "others")
	}
	return strings.Join(names, ", ")
}
