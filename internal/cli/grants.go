package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

func (a *app) grantsCmd() *cobra.Command {
	var st string
	var l listFlags
	cmd := &cobra.Command{
		Use:     "grants [--state STATE]",
		Short:   "List grants: the access that was given",
		Long:    "Grants lists the grants that you may see, newest first, and when they end.",
		Example: "  daypass grants\n  daypass grants --state active -o json",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := listing(l, func(p client.Page) (*api.List[api.Grant], error) {
				return c.Grants(ctx, client.GrantQuery{State: st, Page: p})
			})
			if err != nil {
				return err
			}
			return a.print(list, func() {
				if len(list.Items) == 0 {
					a.out.printf("No grants.\n")
					return
				}
				a.grantTable(list.Items)
				a.more(list.NextCursor)
			})
		}),
	}
	cmd.Flags().StringVar(&st, "state", "", "only this `state`: scheduled, activating, active, ending, ended")
	must(cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"scheduled", "activating", "active", "ending", "ended"}, cobra.ShellCompDirectiveNoFileComp)))
	l.register(cmd)
	return cmd
}

func (a *app) grantTable(grants []api.Grant) {
	rows := make([][]any, 0, len(grants))
	for _, g := range grants {
		rows = append(rows, []any{g.ID, g.Principal, g.Resource, g.Kind, a.grantState(&g)})
	}
	a.out.table([]string{"GRANT", "WHO", "RESOURCE", "KIND", "STATE"}, rows)
}

func (a *app) revokeCmd() *cobra.Command {
	var body api.RevocationRequest
	cmd := &cobra.Command{
		Use:   "revoke GRANT | --principal P | --resource R",
		Short: "End access now: a grant, or everything of a principal or resource",
		Long: `Revoke ends a grant now; your own it gives back. With --principal or --resource
it ends every grant of one principal or on one resource (admins; owners for
their resources). Live connections are cut within seconds.`,
		Example: `  daypass revoke grt_k3v7c2w5q4x6y7z2a3b4c5d6e7 --reason "done"
  daypass revoke --principal user:ana --reason "laptop stolen"
  daypass revoke --resource orders-db --reason "incident 42"`,
		Args: func(cmd *cobra.Command, args []string) error {
			bulk := body.Principal != "" || body.Resource != ""
			if bulk && len(args) > 0 || body.Principal != "" && body.Resource != "" {
				return Usage("revoke one thing at a time: a grant, --principal or --resource")
			}
			if bulk {
				return nil
			}
			return oneArg("GRANT (or --principal or --resource)")(cmd, args)
		},
		ValidArgsFunction: a.completing(completeGrants),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			if len(args) == 0 {
				return a.revokeAll(ctx, c, body)
			}
			id, err := grantID(ctx, c, args[0])
			if err != nil {
				return err
			}
			g, err := c.Revoke(ctx, id, body.Reason)
			if err != nil {
				return err
			}
			return a.print(g, func() { a.out.printf("%s  %s\n", g.ID, a.grantState(g)) })
		}),
	}
	cmd.Flags().StringVar(&body.Reason, "reason", "", "why, in `words` for the record")
	cmd.Flags().StringVar(&body.Principal, "principal", "", "every grant of this `principal`, such as user:ana")
	cmd.Flags().StringVar(&body.Resource, "resource", "", "every grant on this `resource`")
	must(cmd.RegisterFlagCompletionFunc("resource", a.completing(completeResources)))
	return cmd
}

func (a *app) revokeAll(ctx context.Context, c *client.Client, body api.RevocationRequest) error {
	var err error
	if body.Principal != "" {
		err = checkPrincipal(body.Principal)
	} else {
		err = checkName("resource", body.Resource)
	}
	if err != nil {
		return err
	}
	done, err := c.RevokeAll(ctx, body)
	if err != nil {
		return err
	}
	return a.print(done, func() {
		if len(done.Grants) == 0 {
			a.out.printf("There was no grant to end.\n")
			return
		}
		a.out.printf("%s ended:\n", plural(max(done.Count, len(done.Grants)), "grant", "grants"))
		a.grantTable(done.Grants)
		if more := done.Count - len(done.Grants); more > 0 {
			a.out.printf("and %d more\n", more)
		}
	})
}

func (a *app) extendCmd() *cobra.Command {
	var f requestFlags
	cmd := &cobra.Command{
		Use:   "extend GRANT --for DURATION --reason TEXT",
		Short: "Ask for more time on a grant",
		Long: `Extend asks for more time on a grant of yours. That is a request and is decided
like one; credentials and connections go on. What is added, and the whole, is
limited by the policy.`,
		Example:           "  daypass extend grt_k3v7c2w5q4x6y7z2a3b4c5d6e7 --for 10m --reason \"still restoring\" --wait",
		Args:              oneArg("GRANT"),
		ValidArgsFunction: a.completing(completeGrants),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			d, err := durationFlag("--for", f.duration)
			if err != nil {
				return err
			}
			id, err := grantID(ctx, c, args[0])
			if err != nil {
				return err
			}
			r, err := c.Extend(ctx, id, api.ExtendRequest{Duration: d, Reason: f.reason, Ticket: f.ticket})
			if err != nil {
				return err
			}
			return a.outcome(ctx, c, r, f.waitFlags)
		}),
	}
	cmd.Flags().StringVar(&f.duration, "for", "", "how much longer: a `duration` such as 10m")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, in `words` for those who decide")
	cmd.Flags().StringVar(&f.ticket, "ticket", "", "the `ticket` that it belongs to")
	f.register(cmd)
	return cmd
}
