package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/internal/cli"
	"github.com/daypass/daypass/internal/daemon"
)

// backupCmd copies a store, also beside a running server.
func backupCmd() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use: "backup FILE [--data DIR]", Short: "Back a server's store up into a file, also while it runs", GroupID: cli.GroupOperate,
		Long: `Backup writes the store of a data folder, as of one instant, into a new file of
mode 0600; a server that runs on the folder goes on. The copy is checked before
it is written (database, audit log, signatures, rows) and read back afterwards.

The file holds everything that the store holds, and the key that signs the audit
log: keep it as secret as the server. It holds no key of JWTs, and tokens only
as hashes, as the store does. It says with which entry its log ends; what comes
after is in no backup, so keep newer checkpoints elsewhere too.`,
		Example: "  daypass backup /backup/daypass-2026-11-27.tar --data /var/lib/daypass",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := daemon.Backup(cmd.Context(), data, args[0], version)
			if err != nil {
				return err
			}
			return say(cmd, m, fmt.Sprintf("%s: whole, up to entry %d of the audit log; it is secret: it holds %s\n", args[0], m.Seq, m.Secrets[0]))
		},
	}
	c.Flags().StringVar(&data, "data", "data", "the server's data `folder`")
	return c
}

// restoreCmd makes a data folder out of a backup.
func restoreCmd() *cobra.Command {
	var data, checkpoint string
	c := &cobra.Command{
		Use: "restore FILE --data DIR [--checkpoint FILE]", Short: "Make a data folder out of a backup, in quarantine", GroupID: cli.GroupOperate,
		Long: `Restore unpacks a backup into a new or empty data folder, after checking all of
it, and marks it: a server on it gives no access, approves and issues nothing
until an admin has said "daypass quarantine end". That ends everything that was
live in the backup, because it may have been revoked since.

--checkpoint names the newest signed checkpoint of the lost store that survived
elsewhere, or the checkpoint.note in its old data folder: restore then says how
many entries of the record are lost, and from when.

Make sure that the old server is gone for good before the new one serves.`,
		Example: "  daypass restore /backup/daypass-2026-11-27.tar --data /var/lib/daypass --checkpoint /srv/checkpoints/newest.note",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if data == "" {
				return cli.Usage("where to? name a new data folder with --data")
			}
			var note []byte
			if checkpoint != "" {
				var err error
				if note, err = os.ReadFile(checkpoint); err != nil {
					return fmt.Errorf("reading the checkpoint: %w", err)
				}
			}
			q, err := daemon.Restore(cmd.Context(), args[0], data, note)
			if err != nil {
				return err
			}
			return say(cmd, q, fmt.Sprintf("%s: restored from the backup of %s, whole, up to entry %d\nlost: %s\nit is in quarantine: start the server on it, then as an admin run \"daypass quarantine end\"\n",
				data, q.BackupAt, q.Head, q.Explanation))
		},
	}
	c.Flags().StringVar(&data, "data", "", "the new data `folder`")
	c.Flags().StringVar(&checkpoint, "checkpoint", "", "the newest signed checkpoint of the lost store, as `file`")
	return c
}

// say prints a sentence, or with -o json the value that it is about.
func say(cmd *cobra.Command, v any, text string) error {
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return err
	}
	if format == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), text)
	return err
}
