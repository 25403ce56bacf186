package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/internal/cli"
	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/lint"
	"github.com/daypass/daypass/internal/workload"
)

// configCmd checks files.
func configCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "Check configuration files", GroupID: cli.GroupOperate,
		Example: "  daypass config check daypass.yaml",
		RunE: func(*cobra.Command, []string) error {
			return cli.Usage("say what to do with it: daypass config check FILE")
		},
	}
	c.AddCommand(&cobra.Command{
		Use:   "check FILE",
		Short: "Check a server configuration and its catalog, strictly",
		Long: `Check a server configuration and the catalog it names. Every error is printed
as file:line:column. Nothing is started and nothing is changed.`,
		Example: "  daypass config check /etc/daypass/daypass.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := cmd.Flags().GetString("output")
			if err != nil {
				return err
			}
			return check(args[0]).tell(cmd, format == "json")
		},
	})
	return c
}

// checked is what a check found; it is printed as it is with -o json.
type checked struct {
	OK         bool          `json:"ok"`
	Problems   config.Errors `json:"-"`
	Listed     []problem     `json:"problems"`
	Warnings   []string      `json:"warnings"`
	Catalog    string        `json:"catalog,omitempty"` // its version
	Principals int           `json:"principals,omitempty"`
	Resources  int           `json:"resources,omitempty"`

	file, catalogFile string
	failure           error // of reading, rather than of what was read
}

type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// check reads a configuration and its catalog.
func check(file string) *checked {
	c := &checked{file: file, Listed: []problem{}, Warnings: []string{}}
	cfg, err := daemon.LoadConfig(file)
	if err != nil {
		return c.refuse(err)
	}
	c.Warnings = append(c.Warnings, cfg.Warnings()...)
	c.Warnings = append(c.Warnings, workload.Warnings(cfg.Identity.Workloads)...)
	if c.catalogFile = cfg.Catalog; cfg.Catalog == "" {
		c.OK = true
		return c
	}
	source, err := os.ReadFile(cfg.Catalog)
	if err != nil {
		return c.refuse(fmt.Errorf("reading the catalog: %w", err))
	}
	cat, err := policy.Parse(source, daemon.PolicyKinds())
	if err != nil {
		return c.refuse(err)
	}
	report := lint.Check(cat, lint.Options{RequestTTL: cfg.Limits.RequestTTL})
	if n := len(report.Findings); n > 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s does not say what it means in %d places; show them: daypass policy check %s", cfg.Catalog, n, cfg.Catalog))
	}
	for _, w := range cfg.Identity.Workloads {
		for _, r := range w.Rules {
			if _, known := cat.Principal(r.Principal); !known {
				c.Warnings = append(c.Warnings, fmt.Sprintf("identity.workloads: the rule %q lets jobs in as %s, which %s does not list: they are refused", r.Name, r.Principal, cfg.Catalog))
			}
		}
	}
	c.OK, c.Catalog, c.Principals, c.Resources = true, cat.Version(), len(cat.Principals()), len(cat.Resources())
	if w := cat.GlassWarning(cfg.Notify.Names()); w != "" {
		c.Warnings = append(c.Warnings, w)
	}
	return c
}

func (c *checked) refuse(err error) *checked {
	var inConfig config.Errors
	var inCatalog policy.Problems
	switch {
	case errors.As(err, &inConfig):
		c.Problems = inConfig
	case errors.As(err, &inCatalog):
		for _, p := range inCatalog {
			c.Problems = append(c.Problems, config.Error{File: c.catalogFile, Line: p.Line, Column: p.Column, Message: p.Message})
		}
	default:
		c.failure = err
	}
	for _, p := range c.Problems {
		c.Listed = append(c.Listed, problem{p.File, p.Line, p.Column, p.Message})
	}
	return c
}

func (c *checked) tell(cmd *cobra.Command, asJSON bool) error {
	out := cmd.OutOrStdout()
	switch {
	case c.failure != nil:
		return c.failure
	case asJSON:
		if err := json.NewEncoder(out).Encode(c); err != nil || c.OK {
			return err
		}
		return cli.Exit(cli.ExitFailed)
	}
	for _, w := range c.Warnings {
		if _, err := fmt.Fprintln(out, "warning:", w); err != nil {
			return err
		}
	}
	if !c.OK {
		return c.Problems
	}
	if c.catalogFile == "" {
		_, err := fmt.Fprintf(out, "%s: good; the catalog is managed over the API\n", c.file)
		return err
	}
	_, err := fmt.Fprintf(out, "%s: good\n%s: good, %d principals, %d resources, version %s\n", c.file, c.catalogFile, c.Principals, c.Resources, c.Catalog)
	return err
}
