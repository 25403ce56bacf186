package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

func (a *app) resourcesCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "resources [RESOURCE]",
		Short: "What you may ask for, and how it would be decided",
		Long: `Resources lists what you may ask for: each role of each resource, whether a
policy would grant it by itself or who must agree, and for how long at most.`,
		Example: "  daypass resources\n  daypass resources orders-api\n  daypass resources -o json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return oneArg("RESOURCE")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: a.completing(completeResources),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			if len(args) == 1 {
				if err := checkName("resource", args[0]); err != nil {
					return err
				}
				r, err := c.Resource(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print(r, func() { a.showResources([]api.Resource{*r}, true) })
			}
			list := api.List[api.Resource]{Items: []api.Resource{}}
			var err error
			list.NextCursor, err = collect(maxListed, "", func(p client.Page) (*api.List[api.Resource], error) {
				return c.Resources(ctx, p)
			}, func(r api.Resource) { list.Items = append(list.Items, r) })
			if err != nil {
				return err
			}
			return a.print(list, func() { a.showResources(list.Items, false) })
		}),
	}
}

func (a *app) showResources(items []api.Resource, details bool) {
	var rows [][]any
	for _, r := range items {
		if len(r.Roles) == 0 {
			rows = append(rows, []any{r.ID, r.Kind, "-", "a scope of your own", "-"})
		}
		for _, role := range r.Roles {
			longest := "-"
			if role.Decision.MaxDuration > 0 {
				longest = role.Decision.MaxDuration.String()
			}
			rows = append(rows, []any{r.ID, r.Kind, role.Name, howDecided(role.Decision), longest})
		}
	}
	if len(rows) == 0 {
		a.out.printf("There is nothing that you may ask for.\n")
		return
	}
	a.out.table([]string{"RESOURCE", "KIND", "ROLE", "DECIDED BY", "AT MOST"}, rows)
	if !details {
		return
	}
	for _, r := range items {
		a.out.printf("\n")
		if len(r.Owners) > 0 {
			a.out.field("owners", "%s", strings.Join(r.Owners, ", "))
		}
		for _, name := range sortedKeys(r.Labels) {
			a.out.field("label", "%s=%s", name, r.Labels[name])
		}
		for _, role := range r.Roles {
			a.out.field("role", "%s %s", role.Name, string(role.Scope))
			if role.Decision.Explanation != "" {
				a.out.field("", "%s", role.Decision.Explanation)
			}
		}
	}
}

// howDecided says in a few words who decides.
func howDecided(d api.Decision) markup {
	switch d.Decision {
	case "auto":
		return paint(green, "policy, at once")
	case "refused":
		return paint(red, "refused: "+d.Code)
	}
	parts := make([]string, 0, len(d.Stages))
	for _, s := range d.Stages {
		parts = append(parts, plural(s.Quorum, "person", "people")+" of "+strings.Join(s.From, " or "))
	}
	text := strings.Join(parts, ", then ")
	if d.BreakGlass != nil {
		text += "; break-glass"
	}
	return paint(yellow, text)
}
