package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

// A completer suggests values: each a word, and after a tab what it is.
type completer func(ctx context.Context, c *client.Client, args []string) []string

// completing makes a completion function of completers. It keeps silent about
// everything that goes wrong: a shell is in the middle of a line.
func (a *app) completing(sources ...completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		c, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, stop := context.WithTimeout(ctx, 2*time.Second)
		defer stop()
		var words []string
		for _, source := range sources {
			words = append(words, source(ctx, c, args)...)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// suggestion drops words that could do something in a shell, and cleans what
// describes them.
func suggestion(words []string, word, what string) []string {
	if !idForm.MatchString(word) && !nameForm.MatchString(word) {
		return words
	}
	return append(words, word+"\t"+strings.ReplaceAll(clean(what), "\t", " "))
}

func completeResources(ctx context.Context, c *client.Client, args []string) (words []string) {
	if len(args) > 0 {
		return nil
	}
	_ = eachPage(200, func(p client.Page) (*api.List[api.Resource], error) { return c.Resources(ctx, p) },
		func(r api.Resource) { words = suggestion(words, r.ID, r.Kind) })
	return words
}

func completeRoles(ctx context.Context, c *client.Client, args []string) (words []string) {
	if len(args) != 1 || checkName("resource", args[0]) != nil {
		return nil
	}
	r, err := c.Resource(ctx, args[0])
	if err != nil {
		return nil
	}
	for _, role := range r.Roles {
		words = suggestion(words, role.Name, plainText(howDecided(role.Decision)))
	}
	return words
}

func requestsOf(q client.RequestQuery) completer {
	return func(ctx context.Context, c *client.Client, args []string) (words []string) {
		if len(args) > 0 {
			return nil
		}
		q.Page = client.Page{Limit: 50}
		list, err := c.Requests(ctx, q)
		if err != nil {
			return nil
		}
		for _, r := range list.Items {
			words = suggestion(words, r.ID, r.State+": "+r.Requester+", "+asked(&r))
		}
		return words
	}
}

func completeRequests(ctx context.Context, c *client.Client, args []string) []string {
	return requestsOf(client.RequestQuery{})(ctx, c, args)
}

func completePending(ctx context.Context, c *client.Client, args []string) []string {
	return requestsOf(client.RequestQuery{State: "pending", Role: "requester"})(ctx, c, args)
}

func completeReviews(ctx context.Context, c *client.Client, args []string) []string {
	return requestsOf(client.RequestQuery{State: "pending", Role: "reviewer"})(ctx, c, args)
}

func completeGrants(ctx context.Context, c *client.Client, args []string) (words []string) {
	if len(args) > 0 {
		return nil
	}
	list, err := c.Grants(ctx, client.GrantQuery{State: "active", Page: client.Page{Limit: 50}})
	if err != nil {
		return nil
	}
	for _, g := range list.Items {
		words = suggestion(words, g.ID, g.Principal+" on "+g.Resource)
	}
	return words
}
