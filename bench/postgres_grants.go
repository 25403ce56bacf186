//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	pgkind "github.com/daypass/daypass/internal/resource/postgres"
	"github.com/daypass/daypass/internal/scratchpg"
)

// granters is how many ask at once.
const granters = 16

// grants makes grants of a PostgreSQL: their roles alone, and whole ones.
func (b *bench) grants(ctx context.Context) error {
	b.report.note(b.out, "Grants of a PostgreSQL on this machine, without fsync, by %d clients: roles made and removed by the connector, one call after the other in each client, as the worker calls it; and whole grants: POST /v1/requests, approved by policy, made real as a role, then POST /v1/grants/{id}/credentials.", granters)
	pg, _, err := scratch(ctx)
	if err != nil {
		return err
	}
	defer pg.Stop()
	if err := b.roles(ctx, pg); err != nil {
		return err
	}
	s, err := b.before(ctx, pg, "grants", false)
	if err != nil {
		return err
	}
	defer s.stop()
	return b.wholeGrants(ctx, s)
}

// roles counts how many roles a second are made and removed again.
func (b *bench) roles(ctx context.Context, pg *scratchpg.Server) error {
	target, connector, err := b.target(ctx, pg)
	if err != nil {
		return err
	}
	defer connector.Close()
	var all []float64
	for range b.scale.rounds {
		var group sync.WaitGroup
		var n atomic.Int64
		errs := make(chan error, granters)
		began := time.Now()
		for range granters {
			group.Go(func() {
				for ; time.Since(began) < b.scale.round && ctx.Err() == nil; n.Add(1) {
					one := target
					grant := *target.Grant
					grant.ID = credential.NewID("grt")
					one.Grant, one.ExpiresAt = &grant, time.Now().Add(time.Minute)
					if err := errors.Join(connector.Provision(ctx, one), connector.Remove(ctx, one)); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		group.Wait()
		close(errs)
		if err := errors.Join(<-errs, ctx.Err()); err != nil {
			return err
		}
		all = append(all, float64(n.Load())/time.Since(began).Seconds())
	}
	rate := median(all)
	b.report.check(b.out, fmt.Sprintf("PostgreSQL roles made and removed at %d clients", granters), "≥ 2000/s", fmt.Sprintf("%.0f/s", rate), rate >= 2000,
		"PostgreSQL itself: CREATE ROLE with its memberships and settings, and DROP ROLE, on the same two cores")
	return nil
}

// target is a grant of the bench's database, to be had under any ID, and the
// connector that makes it real.
func (b *bench) target(ctx context.Context, pg *scratchpg.Server) (resource.Target, resource.Connector, error) {
	password := filepath.Join(b.work, "postgres.password")
	if err := os.WriteFile(password, []byte(superPassword), 0o600); err != nil {
		return resource.Target{}, nil, err
	}
	node, err := config.Parse("bench", fmt.Appendf(nil, "upstream: %q\nuser: %s\npassword: {file: %q}\n", pg.Upstream(benchDatabase), scratchpg.Superuser, password), config.MaxServerSize)
	if err != nil {
		return resource.Target{}, nil, err
	}
	parsed, err := pgkind.Kind{}.ParseConfig(node)
	if err != nil {
		return resource.Target{}, nil, err
	}
	scope, err := pgkind.Kind{}.ParseScope([]byte(`{"actions":["select"],"tables":["public.pgbench_accounts","public.pgbench_branches"]}`))
	if err != nil {
		return resource.Target{}, nil, err
	}
	connector, err := pgkind.Kind{}.Connector(resource.ConnectorDeps{
		Key: func(purpose string) []byte { sum := sha256.Sum256([]byte("bench " + purpose)); return sum[:] },
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		return resource.Target{}, nil, err
	}
	r := &policy.Resource{ID: "orders-db", Kind: pgkind.Kind{}, Config: parsed}
	looks, ok := connector.(resource.Inspector)
	if !ok {
		connector.Close()
		return resource.Target{}, nil, errors.New("the connector looks at nothing")
	}
	finding, err := looks.Inspect(ctx, r, scope)
	if err != nil {
		connector.Close()
		return resource.Target{}, nil, err
	}
	return resource.Target{Grant: &live.Grant{Resource: r.ID, Kind: "postgres", Scope: scope.JSON()}, Resource: r, Found: finding.Target}, connector, nil
}

// wholeGrants counts how many grants a second are asked for, approved, made
// real as a role, and given a credential.
func (b *bench) wholeGrants(ctx context.Context, s *server) error {
	var all []float64
	for range b.scale.rounds {
		rate, err := b.cycle(ctx, s, granters, "orders-db")
		if err != nil {
			return err
		}
		all = append(all, rate)
	}
	rate := median(all)
	b.report.check(b.out, fmt.Sprintf("PostgreSQL grants with role and credential, %d clients", granters), "≥ 800/s", fmt.Sprintf("%.0f/s", rate), rate >= 800,
		"the processor: two HTTP calls, four commits with their entries, hashes and signatures in one writer, a verifier of a millisecond, and PostgreSQL's CREATE ROLE; clients, server and PostgreSQL share two cores")
	return nil
}
