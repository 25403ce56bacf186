package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
)

func TestPostgresCommands(t *testing.T) {
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	pg.Run(t, "postgres", "create database shop")
	pg.Run(t, "shop", "create table things (name text)")
	testscript.Run(t, testscript.Params{
		Files: []string{"testdata/script/postgres.txtar"}, RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exitsCmd},
		Setup: func(env *testscript.Env) error {
			env.Setenv("UPSTREAM", pg.Upstream("shop"))
			env.Setenv("PGPASSWORD", pgtest.Password)
			return os.WriteFile(filepath.Join(env.WorkDir, "catalog.yaml"), fmt.Appendf(nil, `resources:
  - id: shop-db
    kind: postgres
    free_scope: true
    postgres:
      upstream: %s
      user: postgres
      password: {env: PGPASSWORD}
      rows:
        by-name: {table: public.things, where: "name = :name", literals: {name: text}}
        wrong: {table: public.things, where: "region = :region", literals: {region: text}}
`, pg.Upstream("shop")), 0o600)
		},
	})
}
