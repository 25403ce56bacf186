package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/daypass/daypass/internal/cli"
	"github.com/daypass/daypass/internal/demo"
	"github.com/daypass/daypass/internal/scratchpg"
)

// demoCmd tells the whole story.
func demoCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "See the whole story in half a minute: on loopback, in a temporary folder",
		Long: `Start a server and a small HTTP service of orders on loopback, in a temporary
folder, and tell the story of a request: denied, asked, decided, used, ended;
approved by people, revoked, and proven. Where PostgreSQL's server is installed,
the demo starts a throw-away one and tells it of a database too. Nothing is left
behind.`,
		Example: "  daypass demo",
		Args:    cobra.NoArgs,
		GroupID: cli.GroupOperate,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 90*time.Second)
			defer cancel()
			color := term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""
			postgres, _ := scratchpg.Find() // without it the story says so
			return demo.Story(ctx, os.Stdout, color, demo.Options{Postgres: postgres})
		},
	}
}

// devCmd keeps the same cast running.
func devCmd() *cobra.Command {
	var o demo.Options
	var postgres string
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a ready server for trying things, with people, a service and a policy",
		Long: `Run a server with seeded people, resources and policy, on loopback only, and
print its URLs and everybody's tokens. With --data the folder is kept and used
again; its store is marked, and daypass serve refuses it. Where PostgreSQL's
server is installed, a throw-away one is started and guarded too, and removed at
the end.`,
		Example: "  daypass dev\n  daypass dev -o json > dev.json",
		Args:    cobra.NoArgs,
		GroupID: cli.GroupOperate,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			o.Listen, o.Gateway = free(o.Listen, "127.0.0.1:7400"), free(o.Gateway, "127.0.0.1:7480")
			if postgres != "off" {
				o.Postgres, _ = scratchpg.Find() // without it there is no database
				o.PostgresGateway = free(postgres, "127.0.0.1:7432")
			}
			w, err := demo.Start(context.WithoutCancel(cmd.Context()), o)
			if err != nil {
				return err
			}
			defer w.Close()
			format, err := cmd.Flags().GetString("output")
			if err != nil {
				return err
			}
			if err := w.PrintReady(os.Stdout, format == "json"); err != nil {
				return err
			}
			select {
			case err := <-w.Failed():
				return fmt.Errorf("stopped: %w", err)
			case <-cmd.Context().Done():
				return nil
			}
		},
	}
	c.Flags().StringVar(&o.Folder, "data", "", "keep everything in this `folder` (default: a temporary one, removed at the end)")
	c.Flags().StringVar(&o.Listen, "listen", "", "loopback `address` of the API (default 127.0.0.1:7400, or a free port if that is taken)")
	c.Flags().StringVar(&o.Gateway, "gateway", "", "loopback `address` of the HTTP gateway (default 127.0.0.1:7480, or a free port)")
	c.Flags().StringVar(&postgres, "postgres", "", "loopback `address` of the PostgreSQL gateway (default 127.0.0.1:7432, or a free port); off: no database")
	return c
}

// free returns the address that was given, else the usual one, else, when that
// is taken, any.
func free(given, usual string) string {
	if given != "" {
		return given
	}
	l, err := net.Listen("tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close()
	return usual
}
