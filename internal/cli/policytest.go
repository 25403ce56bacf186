package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/policy/rehearse"
)

type testFlags struct {
	catalog, junit string
	minCoverage    int
}

func (a *app) policyTestCmd() *cobra.Command {
	var f testFlags
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Run the cases of a file against the catalog that it names",
		Long: `Test reads a file of cases, in YAML: what is given and what must come out. It
prints what came out otherwise, and the rules and guardrails that no case
matched. Nothing is asked of a server.

Exit code 1 when a case fails, or less of the policy is covered than wanted.`,
		Example: "  daypass policy test policy_test.yaml --min-coverage 100 --junit report.xml",
		Args:    oneArg("FILE"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.policyTest(args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.catalog, "catalog", "", "the catalog `file` (default: the one that the cases name, beside them)")
	flags.StringVar(&f.junit, "junit", "", "also write the results as JUnit XML into this `file`")
	flags.IntVar(&f.minCoverage, "min-coverage", 0, "how many `percent` of the rules and guardrails some case must match")
	return cmd
}

func (a *app) policyTest(path string, f testFlags) error {
	if f.minCoverage < 0 || f.minCoverage > 100 {
		return Usage("--min-coverage is between 0 and 100")
	}
	source, err := a.readInput(path)
	if err != nil {
		return fail("", "%w", err)
	}
	suite, err := rehearse.ParseSuite(path, source, a.Now())
	if err != nil {
		var errs config.Errors
		if !errors.As(err, &errs) {
			return fail("", "%w", err)
		}
		for _, e := range errs {
			a.err.printf("%s\n", e)
		}
		return fail("", "%s is not a file of cases", path)
	}
	if f.catalog == "" {
		if f.catalog = suite.Catalog; !filepath.IsAbs(f.catalog) && path != "-" {
			f.catalog = filepath.Join(filepath.Dir(path), f.catalog)
		}
	}
	c, err := a.catalog(f.catalog)
	if err != nil {
		return err
	}
	verdict := rehearse.Run(c, suite)
	if f.junit != "" {
		if err := writeJUnit(f.junit, path, verdict); err != nil {
			return fail("", "%w", err)
		}
	}
	if err := a.print(verdict, func() { a.showVerdict(path, verdict) }); err != nil {
		return err
	}
	short := verdict.Coverage.Percent < f.minCoverage
	if short {
		a.err.printf("The cases cover %d%% of the policy, less than %d%%.\n", verdict.Coverage.Percent, f.minCoverage)
	}
	if short || verdict.Failed > 0 {
		return Exit(ExitFailed)
	}
	return nil
}

func writeJUnit(path, suite string, v rehearse.Verdict) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	var b bytes.Buffer
	if err := v.JUnit(&b, suite); err != nil {
		return err
	}
	return streamFile(root, filepath.Base(path), func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err })
}

func (a *app) showVerdict(path string, v rehearse.Verdict) {
	for _, r := range v.Results {
		if r.Passed {
			continue
		}
		a.out.printf("%s:%d:%d: %s %s\n", path, r.Line, r.Column, paint(red, "failed"), r.Name)
		for _, d := range r.Differences {
			a.out.printf("  %s\n    want  %s\n    got   %s\n", d.What, d.Want, d.Got)
		}
		if r.Explanation != "" {
			a.out.field("why", "%s", r.Explanation)
		}
	}
	if v.Failed > 0 {
		a.out.printf("%s, %d passed\n", paint(red, plural(v.Failed, "case failed", "cases failed")), v.Passed)
	} else {
		a.out.printf("%s\n", paint(green, plural(v.Passed, "case passed", "cases passed")))
	}
	a.out.field("coverage", "%d%% of rules and guardrails", v.Coverage.Percent)
	for _, name := range v.Coverage.Rules {
		a.out.field("no case for", "rule %s", quotes(name))
	}
	for _, name := range v.Coverage.Guardrails {
		a.out.field("no case for", "guardrail %s", quotes(name))
	}
}

func quotes(s string) string { return `"` + s + `"` }
