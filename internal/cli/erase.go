package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

func (a *app) auditEraseCmd() *cobra.Command {
	var body api.ErasureRequest
	var yes bool
	cmd := &cobra.Command{
		Use:   "erase --request ID | --principal P --reason TEXT",
		Short: "Erase personal text: reasons, tickets, comments",
		Long: `Erase forgets the reason, ticket and comments of one request, or all that one
person wrote and all on their requests, for good. It is on record, with the
digests and why. The record stays whole: it holds salted digests alone, and
every proof still holds. Everything that showed the text says it was erased.

It does not reach backups, exports and notices that were taken before.`,
		Example: "  daypass audit erase --request req_k3v7c2w5q4x6y7z2a3b4c5d6e7 --reason \"asked for by the person\"\n  daypass audit erase --principal user:ana --reason \"left the company\" --yes",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			if (body.Request == "") == (body.Principal == "") {
				return Usage("erase the texts of one --request or of one --principal")
			}
			if body.Reason == "" {
				return Usage("why? --reason is needed: an erasure is on record")
			}
			if !yes && a.interactive() {
				ok, err := a.confirm(ctx, "Really erase these texts? It cannot be undone.")
				if err != nil {
					return err
				}
				if !ok {
					a.err.printf("Nothing was done.\n")
					return Exit(ExitFailed)
				}
			}
			out, err := c.Erase(ctx, body)
			if err != nil {
				return err
			}
			return a.print(out, func() {
				a.out.printf("Erased %s of %s, and %s.\n", plural(out.Texts, "text", "texts"), plural(out.Requests, "request", "requests"), plural(out.Replies, "kept answer", "kept answers"))
			})
		}),
	}
	cmd.Flags().StringVar(&body.Request, "request", "", "of this `request`")
	cmd.Flags().StringVar(&body.Principal, "principal", "", "of this `person`, with all accounts")
	cmd.Flags().StringVar(&body.Reason, "reason", "", "why, in `words` for the record")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
