package main

import (
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
	testscript.Run(t, testscript.Params{
		Files: []string{"testdata/script/postgres.txtar"}, RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exitsCmd},
		Setup: func(env *testscript.Env) error {
			env.Setenv("UPSTREAM", pg.Upstream("shop"))
			env.Setenv("PGPASSWORD", pgtest.Password)
			return nil
		},
	})
}
