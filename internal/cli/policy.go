package cli

import (
	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/policy/lint"
)

func (a *app) policyCmd() *cobra.Command {
	return parent(&cobra.Command{
		Use:     "policy",
		Short:   "Work on policies: check, explain, test, compare",
		Long:    "Policy holds the commands that tell what a catalog says before it rules.",
		Example: "  daypass policy check catalog.yaml",
	}, a.policyCheckCmd(), a.policyExplainCmd(), a.policyTestCmd(), a.policyDiffCmd(), a.policyBacktestCmd())
}

func (a *app) policyCheckCmd() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a catalog, and what it cannot mean",
		Long: `Check reads a catalog here, without a server, and prints what it finds as
file:line:column: severity code message. Errors make a server refuse the
catalog. Warnings are of what does not do what it says: rules that never decide,
approvals that nobody could give, names that nothing has. They are proven by
asking every condition about all principals, resources and roles; what is only
suspected says so.

Exit code 1 with an error; with --strict also with a warning.`,
		Example: "  daypass policy check catalog.yaml\n  daypass policy check --strict - < catalog.yaml",
		Args:    oneArg("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			source, err := a.readInput(args[0])
			if err != nil {
				return fail("", "%w", err)
			}
			_, check := lint.Source(source, a.Kinds, lint.Options{})
			if err := a.print(check, func() { a.showCheck(args[0], check) }); err != nil {
				return err
			}
			if !check.OK || strict && has(check.Findings, "warning") {
				return Exit(ExitFailed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit code 1 also with a warning")
	return cmd
}

func has(findings []api.CatalogFinding, severity string) bool { return number(findings, severity) > 0 }

func number(findings []api.CatalogFinding, severity string) int {
	n := 0
	for _, f := range findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

var severityColour = map[string]mark{"error": red, "warning": yellow, "note": grey}

func (a *app) showCheck(file string, check api.CatalogCheck) {
	for _, f := range check.Findings {
		suspected := ""
		if f.Suspected {
			suspected = " (suspected, not proven)"
		}
		a.out.printf("%s:%d:%d: %s %s: %s%s\n", file, f.Line, f.Column, paint(severityColour[f.Severity], f.Severity), f.Code, f.Message, suspected)
		if f.Fix != "" {
			a.out.field("fix", "%s", f.Fix)
		}
	}
	if check.Bounded != "" {
		a.out.printf("Not everything was looked at: %s.\n", check.Bounded)
	}
	if !check.OK {
		a.err.printf("%s in %s\n", plural(number(check.Findings, "error"), "error", "errors"), file)
		return
	}
	a.out.printf("%s is %s  %s\n", file, paint(green, "good"), check.Version)
	if n, m := number(check.Findings, "warning"), number(check.Findings, "note"); n+m > 0 {
		a.out.field("findings", "%s, %s", plural(n, "warning", "warnings"), plural(m, "note", "notes"))
	}
}
