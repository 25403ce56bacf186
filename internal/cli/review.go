package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

func (a *app) approveCmd() *cobra.Command {
	var shorter, comment string
	var yes bool
	cmd := &cobra.Command{
		Use:   "approve REQUEST [--for SHORTER] [--comment TEXT]",
		Short: "Approve a request",
		Long: `Approve shows what a request asks for, and votes for exactly that: if it is no
longer what was shown, the vote does not count. On a terminal it asks first.
--for approves a shorter time than was asked.

Of a request that broke glass it is a review afterwards: it gives nothing, and
frees the requester's next emergency once enough people have looked.`,
		Example:           "  daypass approve req_k3v7c2w5q4x6y7z2a3b4c5d6e7\n  daypass approve req_k3v7c2w5q4x6y7z2a3b4c5d6e7 --for 10m --comment \"enough for a look\" --yes",
		Args:              oneArg("REQUEST"),
		ValidArgsFunction: a.completing(completeReviews),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			body := api.ReviewRequest{Decision: "approve", Comment: comment}
			if shorter != "" {
				d, err := durationFlag("--for", shorter)
				if err != nil {
					return err
				}
				body.Duration = &d
			}
			return a.review(ctx, c, args[0], body, yes)
		}),
	}
	cmd.Flags().StringVar(&shorter, "for", "", "approve only so long: a `duration` such as 10m")
	cmd.Flags().StringVar(&comment, "comment", "", "a `text` for the requester and the record")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) denyCmd() *cobra.Command {
	var comment string
	var yes bool
	cmd := &cobra.Command{
		Use:               "deny REQUEST --comment TEXT",
		Short:             "Deny a request",
		Long:              "Deny ends a request with a no, which is final, and tells the requester why. Of a\nrequest that broke glass it ends what is left of the access, and is a finding.",
		Example:           "  daypass deny req_k3v7c2w5q4x6y7z2a3b4c5d6e7 --comment \"use the replica\"",
		Args:              oneArg("REQUEST"),
		ValidArgsFunction: a.completing(completeReviews),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			if strings.TrimSpace(comment) == "" {
				return Usage("why? --comment is needed: it tells the requester what to do instead")
			}
			return a.review(ctx, c, args[0], api.ReviewRequest{Decision: "deny", Comment: comment}, yes)
		}),
	}
	cmd.Flags().StringVar(&comment, "comment", "", "a `text` for the requester and the record")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// review shows a request and votes on what it showed.
func (a *app) review(ctx context.Context, c *client.Client, id string, body api.ReviewRequest, yes bool) error {
	if err := checkID("request", "req_", id); err != nil {
		return err
	}
	r, err := c.Request(ctx, id)
	if err != nil {
		return err
	}
	body.ContentHash = r.ContentHash
	a.showContent(a.err, r)
	if body.Duration != nil {
		a.err.field("you give", "%s", *body.Duration)
	}
	if !yes && a.interactive() {
		ok, err := a.confirm(ctx, "Really "+body.Decision+" this?")
		if err != nil {
			return err
		}
		if !ok {
			a.err.printf("Nothing was done.\n")
			return Exit(ExitFailed)
		}
	}
	after, err := c.Review(ctx, id, body)
	if err != nil {
		return err
	}
	return a.print(after, func() {
		a.out.printf("%s  %s\n", after.ID, state(after.State))
		switch {
		case after.BreakGlass != nil:
			a.showGlass(a.out, after)
		case after.State == "pending":
			a.out.field("now", "%s", waitingFor(after))
		case after.Grant != nil:
			a.out.field("grant", "%s  %s", after.Grant.ID, a.grantState(after.Grant))
		}
	})
}

// interactive reports whether somebody sits at a terminal and can be asked.
func (a *app) interactive() bool {
	f, ok := a.Stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && a.err.tty
}

// confirm asks a question; only y and yes are a yes.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	a.err.printf("%s [y/N] ", question)
	type reply struct {
		line string
		err  error
	}
	read := make(chan reply, 1)
	go func() {
		line, err := bufio.NewReader(a.Stdin).ReadString('\n')
		read <- reply{line, err}
	}()
	select {
	case <-ctx.Done():
		a.err.printf("\n")
		return false, ctx.Err()
	case r := <-read:
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			return false, r.err
		}
		word := strings.ToLower(strings.TrimSpace(r.line))
		return word == "y" || word == "yes", nil
	}
}
