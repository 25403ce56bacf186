package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

// listFlags are those of every command that lists.
type listFlags struct {
	limit  int
	cursor string
}

func (l *listFlags) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&l.limit, "limit", 50, "show at most so `many`")
	cmd.Flags().StringVar(&l.cursor, "cursor", "", "go on where the `cursor` of an earlier answer points")
}

// listing fetches what a list command shows.
func listing[T any](l listFlags, page func(client.Page) (*api.List[T], error)) (*api.List[T], error) {
	if l.limit < 1 || l.limit > maxListed {
		return nil, Usage("--limit must be between 1 and %d", maxListed)
	}
	list := &api.List[T]{Items: []T{}}
	var err error
	list.NextCursor, err = collect(l.limit, l.cursor, page, func(item T) { list.Items = append(list.Items, item) })
	return list, err
}

// more says on standard error how to see what a list left out.
func (a *app) more(cursor *string) {
	if c := deref(cursor); c != "" {
		a.err.printf("There are more: add --cursor %s, or raise --limit.\n", c)
	}
}

func (a *app) requestsCmd() *cobra.Command {
	var mine, review, all, due bool
	var q client.RequestQuery
	var l listFlags
	cmd := &cobra.Command{
		Use:   "requests [--mine | --to-review | --all]",
		Short: "List requests: yours, those that wait for you, or all you may see",
		Long: `Requests lists requests, newest first: your own (the default), those that wait
for your vote, or all that you may see. Those that broke glass and wait for
your review come first under --to-review; --review-due lists them alone.`,
		Example: "  daypass requests\n  daypass requests --to-review\n  daypass requests --all --state denied -o json",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			if due {
				q.Review = "due"
				all = !mine && !review
			}
			switch {
			case mine && review || mine && all || review && all:
				return Usage("--mine, --to-review and --all exclude each other")
			case review:
				q.Role = "reviewer"
				if review = q.State == "" && q.Review == ""; review {
					q.State = "pending"
				}
			case !all:
				q.Role = "requester"
			}
			list, err := listing(l, func(p client.Page) (*api.List[api.Request], error) {
				q.Page = p
				return c.Requests(ctx, q)
			})
			if err != nil {
				return err
			}
			if review && l.cursor == "" {
				if err := reviewsDue(ctx, c, q, list); err != nil {
					return err
				}
			}
			if review {
				// A reviewer also sees those that had their vote already.
				list.Items = slices.DeleteFunc(list.Items, func(r api.Request) bool { return !slices.Contains(r.Actions, "approve") })
			}
			return a.print(list, func() { a.showRequests(list, review) })
		}),
	}
	flags := cmd.Flags()
	flags.BoolVar(&mine, "mine", false, "your own (the default)")
	flags.BoolVar(&review, "to-review", false, "those that wait for your vote")
	flags.BoolVar(&all, "all", false, "all that you may see")
	flags.BoolVar(&due, "review-due", false, "those that broke glass and were not reviewed yet")
	flags.StringVar(&q.State, "state", "", "only this `state`: pending, approved, denied, cancelled, expired")
	flags.StringVar(&q.Resource, "resource", "", "only for this `resource`")
	l.register(cmd)
	must(cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"pending", "approved", "denied", "cancelled", "expired"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("resource", a.completing(completeResources)))
	return cmd
}

// reviewsDue puts those that broke glass and wait for a review before the
// others.
func reviewsDue(ctx context.Context, c *client.Client, q client.RequestQuery, list *api.List[api.Request]) error {
	q.State, q.Review = "", "due"
	due := []api.Request{}
	_, err := collect(maxListed, "", func(p client.Page) (*api.List[api.Request], error) {
		q.Page = p
		return c.Requests(ctx, q)
	}, func(r api.Request) { due = append(due, r) })
	list.Items = append(due, list.Items...)
	return err
}

func (a *app) showRequests(list *api.List[api.Request], review bool) {
	if len(list.Items) == 0 {
		if review {
			a.out.printf("Nothing waits for your vote.\n")
		} else {
			a.out.printf("No requests.\n")
		}
		return
	}
	rows := make([][]any, 0, len(list.Items))
	for _, r := range list.Items {
		role := r.Role
		if role == "" {
			role = "(scope)"
		}
		next := ""
		switch {
		case r.State == "pending":
			next = "lapses " + a.when(r.ApproveBy)
		case r.BreakGlass != nil && r.BreakGlass.Review == "due":
			next = "BREAK-GLASS, review due; grant " + plainText(a.grantState(r.Grant))
		case r.Grant != nil:
			next = "grant " + plainText(a.grantState(r.Grant))
		}
		rows = append(rows, []any{r.ID, state(r.State), r.Requester, r.Resource, role, r.Duration, a.when(r.CreatedAt), next})
	}
	a.out.table([]string{"REQUEST", "STATE", "WHO", "RESOURCE", "ROLE", "FOR", "ASKED", "NOW"}, rows)
	a.more(list.NextCursor)
}

// plainText takes the colours out of m.
func plainText(m markup) string {
	return strings.Map(func(r rune) rune {
		if isMark(r) {
			return -1
		}
		return r
	}, string(m))
}

func (a *app) showCmd() *cobra.Command {
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a request or a grant",
		Long: `Show prints all that is known of a request or a grant: who asks for what and
why, who has decided, and what you may do with it now. With --wait it stays
until a pending request is decided.`,
		Example:           "  daypass show req_k3v7c2w5q4x6y7z2a3b4c5d6e7\n  daypass show req_k3v7c2w5q4x6y7z2a3b4c5d6e7 --wait --timeout 30m",
		Args:              oneArg("ID"),
		ValidArgsFunction: a.completing(completeRequests, completeGrants),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			if strings.HasPrefix(args[0], "grt_") {
				if err := checkID("grant", "grt_", args[0]); err != nil {
					return err
				}
				g, err := c.Grant(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print(g, func() { a.showGrant(g) })
			}
			if err := checkID("request", "req_", args[0]); err != nil {
				return err
			}
			r, err := c.Request(ctx, args[0])
			if err != nil {
				return err
			}
			if w.wait {
				return a.outcome(ctx, c, r, w)
			}
			return a.print(r, func() { a.showRequest(r) })
		}),
	}
	w.register(cmd)
	return cmd
}

func (a *app) cancelCmd() *cobra.Command {
	return &cobra.Command{
		Use:               "cancel REQUEST",
		Short:             "Withdraw a pending request",
		Long:              "Cancel withdraws a request that nobody has decided yet. A grant is given back with \"daypass revoke\".",
		Example:           "  daypass cancel req_k3v7c2w5q4x6y7z2a3b4c5d6e7",
		Args:              oneArg("REQUEST"),
		ValidArgsFunction: a.completing(completePending),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			if err := checkID("request", "req_", args[0]); err != nil {
				return err
			}
			r, err := c.Cancel(ctx, args[0])
			if err != nil {
				return err
			}
			return a.print(r, func() { a.out.printf("%s  %s\n", r.ID, state(r.State)) })
		}),
	}
}
