package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/internal/cli"
	"github.com/daypass/daypass/internal/daemon"
)

// serveCmd runs the server.
func serveCmd() *cobra.Command {
	var file string
	var json bool
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the server",
		Long: `Run the server with the configuration in FILE. SIGHUP reads the catalog again;
SIGTERM ends it: new calls are refused, open connections are cut at their end
or after 30 s.`,
		Example: "  daypass serve --config /etc/daypass/daypass.yaml",
		Args:    cobra.NoArgs,
		GroupID: cli.GroupOperate,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return cli.Usage("say which configuration to serve: daypass serve --config FILE")
			}
			cfg, err := daemon.LoadConfig(file)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if json {
				log = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil))
			}
			return run(cmd.Context(), file, daemon.Options{Config: cfg, Log: log, Setup: func(link string, until time.Time) {
				// Not into the log, which others read and which is kept.
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "Nobody can log in to this server yet. Whoever opens this link first becomes its admin for an hour (until %s, once):\n\n  %s\n\n", until.Local().Format("15:04:05"), link)
			}})
		},
	}
	c.Flags().StringVar(&file, "config", "", "the server's `file`")
	c.Flags().BoolVar(&json, "log-json", false, "write the log as JSON lines")
	return c
}

// run serves until a signal or a failure.
func run(ctx context.Context, file string, o daemon.Options) error {
	if err := harden(); err != nil {
		return err
	}
	defer makeRoom()()
	hang := make(chan os.Signal, 1)
	notifyHangup(hang)
	defer signal.Stop(hang)
	// The command's context ends at the first signal; the server is shut down
	// by hand then, so it must not end with it.
	d, err := daemon.Start(context.WithoutCancel(ctx), o)
	if err != nil {
		return err
	}
	o.Log.Info("serving", "api", d.URL(), "http_gateway", d.GatewayAddr("http"), "version", version)
	for {
		select {
		case <-hang:
			reload(ctx, d, file, o.Log)
		case err := <-d.Failed():
			// Nothing is acknowledged any more; a supervisor starts us again.
			return fmt.Errorf("stopped: %w", err)
		case <-ctx.Done():
			o.Log.Info("shutting down", "drain", daemon.Drain)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), daemon.Drain)
			defer cancel()
			again := make(chan os.Signal, 1)
			signal.Notify(again, os.Interrupt, syscall.SIGTERM)
			go func() { <-again; cancel() }()
			return d.Shutdown(ctx)
		}
	}
}

// reload reads the catalog again, and says whether the rest of the
// configuration needs a restart.
func reload(ctx context.Context, d *daemon.Daemon, file string, log *slog.Logger) {
	if err := d.Reload(ctx); err != nil {
		log.Error("the catalog was not applied; the one in force stays", "error", err)
	} else {
		log.Info("the catalog is applied")
	}
	switch next, err := daemon.LoadConfig(file); {
	case err != nil:
		log.Error("the configuration cannot be read; the server goes on with the one it was started with", "error", err)
	case d.NeedsRestart(next):
		log.Warn("the configuration has changed: restart the server to apply it; until then nothing of it is in force")
	}
}
