// Command daypass is Daypass: server, client, and the tools to check both.
package main

import (
	"context"
	"os"

	"github.com/daypass/daypass/internal/cli"
)

// version is set at release time (-ldflags "-X main.version=…").
var version = "dev"

func main() {
	root := cli.New(cli.Options{Version: version})
	for _, c := range root.Commands() {
		if c.Name() == "audit" {
			c.AddCommand(verifyCmd())
		}
	}
	operate := configCmd()
	for _, c := range append(startCmds(), operate) {
		root.AddCommand(c)
	}
	os.Exit(cli.Execute(context.Background(), root, os.Args[1:]))
}
