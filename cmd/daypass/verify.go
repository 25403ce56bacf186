package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/cli"
	"github.com/daypass/daypass/internal/daemon"
)

// verifyCmd checks an audit log without any server.
func verifyCmd() *cobra.Command {
	var data, file, key string
	var checkpoints []string
	c := &cobra.Command{
		Use:   "verify [--data DIR | --file EXPORT.ndjson] [--checkpoint FILE]",
		Short: "Check the audit log offline: every entry, their order, the signature",
		Long: `Check an audit log without the server: in its data folder (also while the
server runs), or in an export. A checkpoint that was kept elsewhere also finds
a log whose tail was cut off or that was rewritten as a whole.

Exit code 0 when the log is whole; 1 otherwise, with the first bad sequence
number on standard output.`,
		Example: `  daypass audit verify --data /var/lib/daypass
  daypass audit verify --file audit.ndjson --checkpoint last-week.note`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data != "" && file != "" {
				return cli.Usage("verify a data folder or an export, one of the two")
			}
			if data == "" && file == "" {
				data = "data"
			}
			o := daemon.VerifyOptions{Key: key}
			if strings.HasPrefix(key, "@") {
				b, err := os.ReadFile(key[1:])
				if err != nil {
					return fmt.Errorf("reading the key: %w", err)
				}
				o.Key = strings.TrimSpace(string(b))
			}
			for _, path := range checkpoints {
				b, err := os.ReadFile(path)
				if err != nil {
					return fmt.Errorf("reading the checkpoint: %w", err)
				}
				o.Checkpoints = append(o.Checkpoints, b)
			}
			var report audit.Report
			var err error
			if file != "" {
				report, err = daemon.VerifyFile(file, o)
			} else {
				report, err = daemon.VerifyData(cmd.Context(), data, o)
			}
			var fault *audit.Fault
			if errors.As(err, &fault) {
				fmt.Fprintf(cmd.OutOrStdout(), "%d\n", fault.Seq)
				return fmt.Errorf("the audit log is not whole: %w", fault)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "whole: %s\n", report)
			return nil
		},
	}
	c.Flags().StringVar(&data, "data", "", "a server's data `folder` (default ./data)")
	c.Flags().StringVar(&file, "file", "", "an `export` made by daypass audit export")
	c.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "a signed checkpoint kept elsewhere, as `file`; may be repeated")
	c.Flags().StringVar(&key, "key", "", "the public `key` to trust, or @file")
	return c
}
