package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

func (a *app) applyCmd() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "apply -f CATALOG",
		Short: "Put a catalog in force: principals, resources, policy",
		Long: `Apply puts a catalog, in YAML or JSON, in force as a whole or not at all, and
only if nobody else has changed it meanwhile. Where the server's config names a
catalog file, that file is the truth and apply is refused.`,
		Example: "  daypass policy check -f catalog.yaml && daypass apply -f catalog.yaml",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			source, err := a.catalogFile(file)
			if err != nil {
				return err
			}
			before, etag, err := c.Catalog(ctx)
			if err != nil {
				return err
			}
			after, err := c.PutCatalog(ctx, source, etag)
			if err != nil {
				return applyError(file, err)
			}
			return a.print(after, func() {
				if after.Version == before.Version {
					a.out.printf("Nothing changed: %s was in force already.\n", after.Version)
					return
				}
				a.out.printf("%s is in force.\n", after.Version)
				a.out.field("before", "%s", before.Version)
			})
		}),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the catalog: a `path`, or - for standard input")
	return cmd
}

// applyError says of the errors in a catalog where in the file they are.
func applyError(file string, err error) error {
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	if e.Status == 412 {
		e.Problem.Detail = "Somebody else changed the catalog at the same time; nothing was applied."
		return &Error{Code: ExitFailed, Err: e, Next: "daypass apply -f " + file}
	}
	for i, f := range e.Problem.Errors {
		if place, ok := strings.CutPrefix(f.Location, "body:"); ok {
			e.Problem.Errors[i].Location = file + ":" + place
		}
	}
	return e
}

func (a *app) policyCmd() *cobra.Command {
	var file string
	check := &cobra.Command{
		Use:     "check -f CATALOG",
		Short:   "Say what is wrong with a catalog, without applying it",
		Long:    "Check asks the server whether it would take a catalog, and prints what is wrong as file:line:column. It changes nothing.",
		Example: "  daypass policy check -f catalog.yaml\n  daypass policy check -f - < catalog.yaml",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			source, err := a.catalogFile(file)
			if err != nil {
				return err
			}
			result, err := c.CheckCatalog(ctx, source)
			if err != nil {
				return err
			}
			err = a.print(result, func() { a.showCheck(file, result) })
			if err == nil && !result.OK {
				return Exit(ExitFailed)
			}
			return err
		}),
	}
	check.Flags().StringVarP(&file, "file", "f", "", "the catalog: a `path`, or - for standard input")
	return parent(&cobra.Command{
		Use:     "policy",
		Short:   "Work on policies",
		Long:    "Policy holds the commands that help to write a policy.",
		Example: "  daypass policy check -f catalog.yaml",
	}, check)
}

func (a *app) showCheck(file string, result *api.CatalogCheck) {
	if result.OK {
		a.out.printf("%s is %s  %s\n", file, paint(green, "good"), result.Version)
		return
	}
	for _, p := range result.Problems {
		a.out.printf("%s:%d:%d: %s\n", file, p.Line, p.Column, p.Message)
	}
	a.err.printf("%s in %s\n", plural(len(result.Problems), "problem", "problems"), file)
}

func (a *app) catalogFile(path string) ([]byte, error) {
	if path == "" {
		return nil, Usage("which catalog? -f is needed, such as -f catalog.yaml")
	}
	b, err := a.readInput(path)
	if err != nil {
		return nil, fail("", "%w", err)
	}
	return b, nil
}
