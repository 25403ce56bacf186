// Command daypass is Daypass: server, client, and the tools to check both.
package main

import (
	"context"
	"os"

	"github.com/daypass/daypass/internal/cli"
	"github.com/daypass/daypass/internal/daemon"
)

// version is set at release time (-ldflags "-X main.version=…").
var version = "dev"

func main() {
	root := cli.New(cli.Options{Version: version, Kinds: daemon.PolicyKinds(), Backtest: daemon.Backtest})
	for _, c := range root.Commands() {
		switch c.Name() {
		case "audit":
			c.AddCommand(verifyCmd())
		case "token":
			c.AddCommand(mintCmd())
		}
	}
	root.AddCommand(serveCmd(), devCmd(), demoCmd(), configCmd(), backupCmd(), restoreCmd(), postgresCmd())
	os.Exit(cli.Execute(context.Background(), root, os.Args[1:]))
}
