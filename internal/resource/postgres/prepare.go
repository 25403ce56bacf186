package pgkind

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/resource"
)

//go:embed grant_by.sql
var grantBySQL string

// Preparation is what a DBA is asked to do so that a login without superuser's
// rights can make and remove the roles of grants in a database.
type Preparation struct {
	Upstream string        // as in the catalog
	As       string        // who does it: a superuser
	Password config.Secret // of As
	User     string        // the login in the catalog
	Gateways []string      // addresses from which grants come, as pg_hba.conf has them; none: 127.0.0.1/32
	Harden   bool          // also take from PUBLIC what grants should not have
	Rows     bool          // also what row filters need
}

// Step is one change with its reason.
type Step struct {
	Why string   `json:"why"`
	SQL []string `json:"sql"`
}

// Plan is what is still to be done.
type Plan struct {
	Database string   `json:"database"`
	Steps    []Step   `json:"steps"`
	HBA      []string `json:"pg_hba"` // lines for pg_hba.conf, before those that are there
	Notes    []string `json:"notes"`

	server *server
}

// Prepare looks at a database and plans. Close the plan.
func Prepare(ctx context.Context, p Preparation) (*Plan, error) {
	at, err := parseEndpoint(p.Upstream)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	for _, name := range []string{p.As, p.User} {
		if !nameForm.MatchString(name) {
			return nil, fmt.Errorf("%q is not the name of a role: letters, digits, _ $ and -", clip(name))
		}
	}
	if strings.HasPrefix(p.User, rolePrefix) {
		return nil, fmt.Errorf("names that begin with %s are those of grants: choose another login", rolePrefix)
	}
	plan := &Plan{Database: at.database, Steps: []Step{}, HBA: []string{}, Notes: []string{}, server: lone(at, p.As, p.Password)}
	if err := plan.server.with(ctx, func(on conn) error {
		b := planner{Preparation: p, plan: plan, on: on}
		return b.all(ctx)
	}); err != nil {
		plan.Close()
		return nil, err
	}
	return plan, nil
}

// lone is a server for one errand, without a daemon.
func lone(at endpoint, user string, password config.Secret) *server {
	c := newConnector(resource.ConnectorDeps{Log: slog.New(slog.DiscardHandler), Now: time.Now, Key: func(string) []byte { return make([]byte, 32) }})
	s := newServer(c, at, user)
	s.password = password
	return s
}

// Close gives up the connection.
func (p *Plan) Close() { p.server.close() }

// Apply does all steps in one transaction.
func (p *Plan) Apply(ctx context.Context) error {
	var all []string
	for _, s := range p.Steps {
		all = append(all, s.SQL...)
	}
	if len(all) == 0 {
		return nil
	}
	return p.server.with(ctx, func(on conn) error { return on.transact(ctx, strings.Join(all, ";\n")) })
}

// Script is the plan as a DBA reads it, and psql runs it.
func (p *Plan) Script() string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- What Daypass needs in the database %s, to be read and run by a superuser.\n", p.Database)
	if len(p.Steps) == 0 {
		b.WriteString("-- Nothing is left to be done.\n")
	} else {
		b.WriteString("BEGIN;\n")
		for _, s := range p.Steps {
			b.WriteString("\n-- " + s.Why + "\n")
			for _, sql := range s.SQL {
				b.WriteString(sql + ";\n")
			}
		}
		b.WriteString("\nCOMMIT;\n")
	}
	if len(p.HBA) > 0 {
		b.WriteString("\n-- In pg_hba.conf, before the lines that are there; then SELECT pg_reload_conf();\n")
		for _, line := range p.HBA {
			b.WriteString("--   " + line + "\n")
		}
	}
	for _, note := range p.Notes {
		b.WriteString("\n-- " + note + "\n")
	}
	return b.String()
}
