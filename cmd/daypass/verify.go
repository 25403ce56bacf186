package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/cli"
	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/replay"
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

In a data folder the log is also played back, and every request, vote, grant,
credential, API token and switch beside it is compared with what it says.

Exit code 0 when the log is whole and the rows are what it says. 1 otherwise:
with the first bad sequence number on standard output, or, where the log is
whole and a row differs, with the first such request.`,
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
			if file != "" {
				report, err := daemon.VerifyFile(file, o)
				return printVerdict(cmd, report, report.String(), err)
			}
			found, err := daemon.VerifyData(cmd.Context(), data, o)
			return printVerdict(cmd, found.Report, found.String(), err)
		},
	}
	c.Flags().StringVar(&data, "data", "", "a server's data `folder` (default ./data)")
	c.Flags().StringVar(&file, "file", "", "an `export` made by daypass audit export")
	c.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "a signed checkpoint kept elsewhere, as `file`; may be repeated")
	c.Flags().StringVar(&key, "key", "", "the public `key` to trust, or @file")
	return c
}

// printVerdict says what a verification found: in words, or as one JSON object.
func printVerdict(cmd *cobra.Command, report audit.Report, detail string, err error) error {
	var fault *audit.Fault
	var row *replay.Difference
	if err != nil && !errors.As(err, &fault) && !errors.As(err, &row) {
		return err
	}
	format, ferr := cmd.Flags().GetString("output")
	if ferr != nil {
		return ferr
	}
	out := cmd.OutOrStdout()
	switch {
	case format == "json" && fault != nil:
		if err := json.NewEncoder(out).Encode(verdict{Seq: fault.Seq, Detail: fault.What}); err != nil {
			return err
		}
		return cli.Exit(cli.ExitFailed)
	case format == "json" && row != nil:
		if err := json.NewEncoder(out).Encode(verdict{Request: row.Request, Entries: report.Head.Seq, Vouched: report.Vouched, Detail: row.Error()}); err != nil {
			return err
		}
		return cli.Exit(cli.ExitFailed)
	case format == "json":
		return json.NewEncoder(out).Encode(verdict{Whole: true, Entries: report.Head.Seq, Vouched: report.Vouched, Detail: detail})
	case fault != nil:
		if _, err := fmt.Fprintf(out, "%d\n", fault.Seq); err != nil {
			return err
		}
		return fmt.Errorf("the audit log is not whole: %w", fault)
	case row != nil:
		if _, err := fmt.Fprintln(out, cmp.Or(row.Request, "-")); err != nil {
			return err
		}
		return fmt.Errorf("the audit log is whole, and the rows beside it are not what it says: %w", row)
	}
	_, err = fmt.Fprintf(out, "whole: %s\n", detail)
	return err
}

// verdict is what verify prints with -o json.
type verdict struct {
	Whole   bool   `json:"whole"`
	Seq     int64  `json:"seq,omitempty"`     // of the first bad entry
	Request string `json:"request,omitempty"` // the first whose row is not what the log says
	Entries int64  `json:"entries,omitempty"` // of a log that is whole
	Vouched int64  `json:"vouched,omitempty"` // the last entry that a checkpoint covers
	Detail  string `json:"detail"`
}
