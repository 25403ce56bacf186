package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

func (a *app) tokenCmd() *cobra.Command {
	return parent(&cobra.Command{
		Use:     "token",
		Short:   "Make, list and revoke API tokens",
		Long:    "Token makes, lists and revokes API tokens: yours, and for admins everyone's.",
		Example: "  daypass token create --name laptop --ttl 720h\n  daypass token list\n  daypass token revoke tok_k3v7c2w5q4x6y7z2a3b4c5d6e7",
	}, a.tokenCreateCmd(), a.tokenListCmd(), a.tokenRevokeCmd())
}

func (a *app) tokenCreateCmd() *cobra.Command {
	var body api.TokenRequest
	var ttl string
	cmd := &cobra.Command{
		Use:   "create [--for PRINCIPAL] [--name NAME] --ttl DURATION",
		Short: "Make an API token",
		Long: `Create makes an API token and prints it alone on a line of standard output. It
is shown this once. --for makes one for a service or agent of yours; admins may
make one for anybody.`,
		Example: "  daypass token create --name laptop --ttl 720h\n  daypass token create --for service:ci-deploy --ttl 24h > token.txt",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			var err error
			if body.TTL, err = durationFlag("--ttl", ttl); err != nil {
				return err
			}
			if body.Principal != "" {
				if err := checkPrincipal(body.Principal); err != nil {
					return err
				}
			}
			t, err := c.CreateToken(ctx, body)
			if err != nil {
				return err
			}
			if t.Secret == nil {
				return fail("daypass token revoke "+t.ID, "the server did not show the token")
			}
			return a.print(t, func() {
				a.out.printf("%s\n", *t.Secret)
				a.err.printf("%s of %s, ends %s. It is not shown again.\n", t.ID, t.Principal, a.at(t.ExpiresAt))
			})
		}),
	}
	cmd.Flags().StringVar(&body.Principal, "for", "", "for this `principal` (default: you)")
	cmd.Flags().StringVar(&body.Name, "name", "", "a `name` to recognise it by")
	cmd.Flags().StringVar(&ttl, "ttl", "24h", "how long it works: a `duration` such as 24h")
	return cmd
}

func (a *app) tokenListCmd() *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List API tokens",
		Long:    "List shows API tokens, yours or for admins everyone's, without their secrets.",
		Example: "  daypass token list\n  daypass token list -o json",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := listing(l, func(p client.Page) (*api.List[api.Token], error) { return c.Tokens(ctx, p) })
			if err != nil {
				return err
			}
			return a.print(list, func() {
				if len(list.Items) == 0 {
					a.out.printf("No tokens.\n")
					return
				}
				rows := make([][]any, 0, len(list.Items))
				for _, t := range list.Items {
					rows = append(rows, []any{t.ID, t.Principal, t.Name, a.when(t.CreatedAt), a.when(t.ExpiresAt)})
				}
				a.out.table([]string{"TOKEN", "WHO", "NAME", "MADE", "ENDS"}, rows)
				a.more(list.NextCursor)
			})
		}),
	}
	l.register(cmd)
	return cmd
}

func (a *app) tokenRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke TOKEN",
		Short:   "End an API token",
		Long:    "Revoke ends an API token at once. TOKEN is its ID as \"daypass token list\" shows it, never the secret.",
		Example: "  daypass token revoke tok_k3v7c2w5q4x6y7z2a3b4c5d6e7",
		Args:    oneArg("TOKEN"),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			if !nameForm.MatchString(args[0]) || len(args[0]) > 48 {
				// Not repeated: it may be the secret itself.
				return Usage("that is not the ID of a token: \"daypass token list\" shows them")
			}
			if err := c.RevokeToken(ctx, args[0]); err != nil {
				return err
			}
			return a.print(map[string]string{"revoked": args[0]}, func() { a.out.printf("%s is revoked.\n", args[0]) })
		}),
	}
}

func (a *app) issuingCmd() *cobra.Command {
	switchTo := func(name string, enabled bool, short, long string) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: short, Long: long, Example: "  daypass issuing " + name, Args: noArgs,
			RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
				now, err := c.SetIssuing(ctx, enabled)
				if err != nil {
					return err
				}
				return a.print(now, func() {
					if now.Enabled {
						a.out.printf("Issuing is %s.\n", paint(green, "on"))
					} else {
						a.out.printf("Issuing is %s: nothing is approved or issued until \"daypass issuing on\". Ends and revocations go on.\n", paint(red, "off"))
					}
				})
			}),
		}
	}
	return parent(&cobra.Command{
		Use:     "issuing",
		Short:   "Switch all new access off or on",
		Long:    "Issuing is the switch for an emergency: while it is off nothing is approved and no credential issued. What was granted ends as it should.",
		Example: "  daypass issuing off\n  daypass issuing on",
	},
		switchTo("off", false, "Approve and issue nothing more", "Off stops approvals and credentials for everybody. Ends and revocations go on."),
		switchTo("on", true, "Approve and issue again", "On ends what \"daypass issuing off\" began."))
}

func (a *app) keysCmd() *cobra.Command {
	rotate := &cobra.Command{
		Use:     "rotate",
		Short:   "Make new signing keys",
		Long:    "Rotate makes new signing keys for tokens. The old ones verify until what they signed has expired.",
		Example: "  daypass keys rotate",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			keys, err := c.RotateKeys(ctx)
			if err != nil {
				return err
			}
			return a.print(keys, func() {
				for _, kid := range keys.Kids {
					a.out.printf("%s\n", kid)
				}
			})
		}),
	}
	return parent(&cobra.Command{
		Use:     "keys",
		Short:   "Rotate the signing keys",
		Long:    "Keys holds the commands for the keys with which the server signs.",
		Example: "  daypass keys rotate",
	}, rotate)
}
