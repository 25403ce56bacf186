package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
	"github.com/daypass/daypass/internal/audit"
)

func (a *app) auditCmd() *cobra.Command {
	return parent(&cobra.Command{
		Use:     "audit",
		Short:   "Read the record of all that happened",
		Long:    "Audit reads the tamper-evident record: who did what, when, and whether it was allowed. It is for admins and auditors.",
		Example: "  daypass audit list --resource orders-api\n  daypass audit tail\n  daypass audit export > audit.ndjson",
	}, a.auditListCmd(), a.auditTailCmd(), a.auditExportCmd(), a.auditEraseCmd())
}

func auditFilters(cmd *cobra.Command, q *client.AuditQuery) {
	cmd.Flags().StringVar(&q.Request, "request", "", "only about this `request`")
	cmd.Flags().StringVar(&q.Principal, "principal", "", "only about this `principal`")
	cmd.Flags().StringVar(&q.Resource, "resource", "", "only about this `resource`")
	cmd.Flags().StringVar(&q.Type, "type", "", "only of this `type`, such as access.denied")
}

func checkFilters(q client.AuditQuery) error {
	if q.Request != "" {
		if err := checkID("request", "req_", q.Request); err != nil {
			return err
		}
	}
	if q.Resource != "" {
		return checkName("resource", q.Resource)
	}
	return nil
}

func (a *app) auditListCmd() *cobra.Command {
	var q client.AuditQuery
	var l listFlags
	var after int64
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List entries, newest first",
		Long:    "List prints entries of the record, newest first, or with --after SEQ those after it in the order in which they happened.",
		Example: "  daypass audit list --type access.denied --limit 20\n  daypass audit list --request req_k3v7c2w5q4x6y7z2a3b4c5d6e7 -o json",
		Args:    noArgs,
	}
	cmd.RunE = a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
		if err := checkFilters(q); err != nil {
			return err
		}
		if cmd.Flags().Changed("after") {
			q.After = &after
		}
		list, err := listing(l, func(p client.Page) (*api.List[api.Event], error) {
			q.Page = p
			return c.AuditEvents(ctx, q)
		})
		if err != nil {
			return err
		}
		return a.print(list, func() {
			rows := make([][]any, 0, len(list.Items))
			for _, e := range list.Items {
				rows = append(rows, auditRow(e))
			}
			if len(rows) == 0 {
				a.out.printf("No entries.\n")
				return
			}
			a.out.table([]string{"SEQ", "TIME", "TYPE", "OUTCOME", "ACTOR", "RESOURCE", "ABOUT"}, rows)
			a.more(list.NextCursor)
		})
	})
	auditFilters(cmd, &q)
	cmd.Flags().Int64Var(&after, "after", 0, "only entries after this `sequence number`, oldest first")
	l.register(cmd)
	return cmd
}

func auditRow(e api.Event) []any {
	about := deref(e.Grant)
	if about == "" {
		about = deref(e.Request)
	}
	if reason := deref(e.Reason); reason != "" {
		about += " " + reason
	}
	return []any{e.Seq, e.Time.Local().Format("2006-01-02 15:04:05"), e.Type, outcome(e.Outcome), e.Actor, deref(e.Resource), about}
}

func outcome(word string) markup {
	switch word {
	case "allowed":
		return paint(green, word)
	case "denied":
		return paint(red, word)
	}
	return paint(yellow, word)
}

func (a *app) auditTailCmd() *cobra.Command {
	var q client.AuditQuery
	var lines int
	var follow bool
	cmd := &cobra.Command{
		Use:     "tail",
		Short:   "Print the latest entries, and go on as new ones come",
		Long:    "Tail prints the latest entries of the record and then each new one within about a second, until it is interrupted.",
		Example: "  daypass audit tail\n  daypass audit tail -n 100 --resource orders-api -o json\n  daypass audit tail --follow=false",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			if lines < 0 || lines > maxListed {
				return Usage("-n must be between 0 and %d", maxListed)
			}
			if err := checkFilters(q); err != nil {
				return err
			}
			err := a.tail(ctx, c, q, lines, follow)
			if errors.Is(err, context.Canceled) {
				return nil // an interrupt is how one leaves
			}
			return err
		}),
	}
	auditFilters(cmd, &q)
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "begin with the latest so `many`")
	cmd.Flags().BoolVar(&follow, "follow", true, "go on as new entries come")
	return cmd
}

func (a *app) tail(ctx context.Context, c *client.Client, q client.AuditQuery, lines int, follow bool) error {
	// At least one is asked for: its number is where following begins.
	list, err := listing(listFlags{limit: max(lines, 1)}, func(p client.Page) (*api.List[api.Event], error) {
		q.Page = p
		return c.AuditEvents(ctx, q)
	})
	if err != nil {
		return err
	}
	last := int64(0)
	if len(list.Items) > 0 {
		last = list.Items[0].Seq
	}
	slices.Reverse(list.Items)
	if lines > 0 {
		for _, e := range list.Items {
			if err := a.auditLine(e); err != nil {
				return err
			}
		}
	}
	for follow {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		q.After, q.Page = &last, client.Page{Limit: pageSize}
		for {
			page, err := c.AuditEvents(ctx, q)
			if err != nil {
				return err
			}
			for _, e := range page.Items {
				if err := a.auditLine(e); err != nil {
					return err
				}
				last = max(last, e.Seq)
			}
			if len(page.Items) < pageSize {
				break
			}
		}
	}
	return nil
}

func (a *app) auditLine(e api.Event) error {
	if a.json() {
		return a.out.jsonLine(e)
	}
	row := auditRow(e)
	a.out.printf("%d  %s  %-24s %s  %s  %s  %s\n", row...)
	return a.out.failed()
}

func (a *app) auditExportCmd() *cobra.Command {
	var format, out string
	cmd := &cobra.Command{
		Use:   "export [--format ndjson|ocsf] [--out FILE]",
		Short: "Write out the whole record",
		Long: `Export writes the record as JSON lines, oldest first. In the format ndjson each
line holds what an offline check needs and the last line is a signed checkpoint
over all of them: "daypass audit verify --file" checks it. The format ocsf is
for other people's tools (OCSF) and cannot be verified.

With --out the file appears, readable by you alone, once it is complete.`,
		Example: "  daypass audit export --out audit.ndjson\n  daypass audit verify --file audit.ndjson\n  daypass audit export --format ocsf | gzip > audit.ocsf.gz",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			if format != "ndjson" && format != "ocsf" {
				return Usage("--format is ndjson or ocsf, not %q", format)
			}
			if out == "" {
				return a.export(ctx, c, format, a.Stdout)
			}
			return exportFile(out, func(w io.Writer) error { return a.export(ctx, c, format, w) })
		}),
	}
	cmd.Flags().StringVar(&format, "format", "ndjson", "write it as ndjson or ocsf: a `word`")
	cmd.Flags().StringVar(&out, "out", "", "write to this `file` instead of standard output")
	must(cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"ndjson", "ocsf"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// export writes every entry that the present checkpoint covers. The lines of
// ndjson are passed on byte for byte, because those bytes are what is verified,
// but for a terminal, which nobody verifies from.
func (a *app) export(ctx context.Context, c *client.Client, format string, to io.Writer) error {
	signed, err := c.AuditCheckpoint(ctx)
	if err != nil {
		return err
	}
	checkpoint, err := audit.OpenCheckpoint([]byte(signed.Checkpoint), signed.Key)
	if err != nil {
		return fail("do not trust this server's record before somebody has looked at it", "the server's checkpoint does not verify: %w", err)
	}
	w := bufio.NewWriterSize(to, 64<<10)
	show := func(line []byte) []byte { return line }
	if to == a.Stdout && a.out.tty {
		show = func(line []byte) []byte { return []byte(visibleJSON(line)) }
	}
	n, last := 0, int64(0)
	for line, err := range c.ExportAudit(ctx, 0) {
		if err != nil {
			return err
		}
		if line.Event.Seq > checkpoint.Head.Seq {
			break
		}
		text := line.Raw
		if format == "ocsf" {
			if text, err = ocsf(line.Event); err != nil {
				return err
			}
		}
		n, last = n+1, line.Event.Seq
		if _, err := w.Write(append(show(text), '\n')); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	if last != checkpoint.Head.Seq || int64(n) != last {
		return fail("", "the record is not whole: %d entries up to number %d came, but the checkpoint covers %d", n, last, checkpoint.Head.Seq)
	}
	if format == "ndjson" {
		end, err := audit.ExportEnd([]byte(signed.Checkpoint), signed.Key)
		if err != nil {
			return fmt.Errorf("writing the checkpoint: %w", err)
		}
		_, _ = w.Write(append(show(end), '\n')) // Flush reports what goes wrong
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	a.err.printf("%s, up to number %d\n", plural(n, "entry", "entries"), last)
	return nil
}

func ocsf(e api.Event) ([]byte, error) {
	if e.Leaf == nil {
		return nil, fail("", "entry %d came without its recorded bytes", e.Seq)
	}
	entry, err := audit.DecodeEntry([]byte(e.Leaf.Bytes))
	if err != nil {
		return nil, fail("", "entry %d cannot be read: %w", e.Seq, err)
	}
	text, err := json.Marshal(audit.OCSF(entry, deref(e.Reason)))
	if err != nil {
		return nil, fmt.Errorf("encoding entry %d: %w", e.Seq, err)
	}
	return []byte(visibleJSON(text)), nil
}

// exportFile writes a file that appears only when it is complete.
func exportFile(path string, write func(io.Writer) error) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fail("", "%w", err)
	}
	defer func() { _ = root.Close() }()
	return streamFile(root, filepath.Base(path), write)
}
