package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

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
		Example: "  daypass policy check catalog.yaml && daypass apply -f catalog.yaml",
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
