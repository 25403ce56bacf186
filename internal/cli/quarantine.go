package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/client"
)

func (a *app) quarantineCmd() *cobra.Command {
	show := func(ctx context.Context, c *client.Client, _ []string) error {
		q, err := c.Quarantine(ctx)
		if err != nil {
			return err
		}
		return a.print(q, func() {
			if !q.Active {
				a.out.printf("There is no quarantine: this store serves.\n")
				return
			}
			a.out.printf("%s since %s\n", paint(yellow, "in quarantine"), a.at(q.RestoredAt))
			a.out.field("backup", "%s, up to entry %d", a.at(q.BackupAt), q.Head)
			a.out.field("lost", "%s", q.Explanation)
			a.out.field("next", "daypass quarantine end")
		})
	}
	var keep, yes bool
	end := &cobra.Command{
		Use:   "end",
		Short: "Let a restored store serve again",
		Long: `End lets a store that was restored from a backup serve again. Everything that
was live or waiting in the backup ends first, because it may have been revoked
in what was lost; so do the API tokens made before the backup. --keep-tokens
keeps those: only when you know that none was revoked since.

It takes an admin's token that is in the catalog.`,
		Example: "  daypass quarantine end\n  daypass quarantine end --keep-tokens --yes",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			if !yes && a.interactive() {
				ok, err := a.confirm(ctx, "Really end all access that was live in the backup, and serve again?")
				if err != nil {
					return err
				}
				if !ok {
					a.err.printf("Nothing was done.\n")
					return Exit(ExitFailed)
				}
			}
			out, err := c.EndQuarantine(ctx, keep)
			if err != nil {
				return err
			}
			return a.print(out, func() {
				a.out.printf("%s: %s, %s and %s ended.\n", paint(green, "This store serves again"),
					plural(out.Grants, "grant", "grants"), plural(out.Requests, "waiting request", "waiting requests"), plural(out.Tokens, "API token", "API tokens"))
			})
		}),
	}
	end.Flags().BoolVar(&keep, "keep-tokens", false, "keep the API tokens made before the backup")
	end.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return parent(&cobra.Command{
		Use:   "quarantine",
		Short: "A store restored from a backup: what it lost, and serving again",
		Long: `A store that was restored from a backup gives no access until an admin says so:
what was revoked after the backup is, in it, still granted. "daypass restore"
says more.`,
		Example: "  daypass quarantine show\n  daypass quarantine end",
	}, &cobra.Command{
		Use: "show", Short: "Show whether it waits, and what was lost", Long: "Show says what the store was restored from, and what of the record is lost.",
		Example: "  daypass quarantine show", Args: noArgs, RunE: a.calling(show),
	}, end)
}
