package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
	"github.com/spf13/cobra"
)

func (a *app) sessionsCmd() *cobra.Command {
	var l listFlags
	kill := &cobra.Command{
		Use:     "kill SESSION",
		Short:   "Cut one live connection",
		Long:    "Kill cuts one live connection. Its grant goes on: \"daypass revoke\" ends that.",
		Example: "  daypass sessions kill ses_k3v7c2w5q4x6y7z2a3b4c5d6e7",
		Args:    oneArg("SESSION"),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			if err := checkID("session", "ses_", args[0]); err != nil {
				return err
			}
			if err := c.EndSession(ctx, args[0]); err != nil {
				return err
			}
			return a.print(map[string]string{"killed": args[0]}, func() { a.out.printf("%s is being cut.\n", args[0]) })
		}),
	}
	cmd := &cobra.Command{
		Use:     "sessions",
		Short:   "List live connections, look at one, or cut one",
		Long:    "Sessions lists the live connections through the gateways that you may see: who does what, and until when.",
		Example: "  daypass sessions\n  daypass sessions show ses_k3v7c2w5q4x6y7z2a3b4c5d6e7 --follow\n  daypass sessions kill ses_k3v7c2w5q4x6y7z2a3b4c5d6e7",
	}
	parent(cmd, a.showSessionCmd(), kill)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return subcommands(cmd, args)
		}
		return a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := listing(l, func(p client.Page) (*api.List[api.Session], error) { return c.Sessions(ctx, p) })
			if err != nil {
				return err
			}
			return a.print(list, func() { a.showSessions(list) })
		})(cmd, args)
	}
	l.register(cmd)
	return cmd
}

func (a *app) showSessions(list *api.List[api.Session]) {
	if len(list.Items) == 0 {
		a.out.printf("No live connections.\n")
		return
	}
	rows := make([][]any, 0, len(list.Items))
	for _, s := range list.Items {
		rows = append(rows, []any{s.ID, s.Principal, s.Resource, s.Gateway, s.Source, a.when(s.StartedAt), a.when(s.ExpiresAt), s.Doing})
	}
	a.out.table([]string{"SESSION", "WHO", "RESOURCE", "GATEWAY", "FROM", "SINCE", "ENDS", "DOING"}, rows)
	a.more(list.NextCursor)
}

// glance is how often a session that is followed is looked at.
const glance = time.Second

func (a *app) showSessionCmd() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "show SESSION",
		Short: "Look at one live connection",
		Long: `Show says what one live connection does and has done, with its last statements
where it has any. The access is yours, or you own the resource, or you audit.
With --follow it goes on as statements end, until the connection does; -o json
then prints one line for each.`,
		Example: "  daypass sessions show ses_k3v7c2w5q4x6y7z2a3b4c5d6e7\n  daypass sessions show ses_k3v7c2w5q4x6y7z2a3b4c5d6e7 --follow",
		Args:    oneArg("SESSION"),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			if err := checkID("session", "ses_", args[0]); err != nil {
				return err
			}
			s, err := c.Session(ctx, args[0])
			if err != nil {
				return err
			}
			if !follow {
				return a.print(s, func() { a.showSession(s) })
			}
			return a.followSession(ctx, c, s)
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the connection ends")
	return cmd
}

func (a *app) showSession(s *api.Session) {
	a.out.printf("%s: %s on %s through the %s gateway, from %s\n", s.ID, s.Principal, s.Resource, s.Gateway, s.Source)
	a.out.printf("Since %s, ends %s. Grant %s.\n", a.when(s.StartedAt), a.when(s.ExpiresAt), s.Grant)
	if s.Doing != "" {
		a.out.printf("Now: %s\n", s.Doing)
	}
	if s.Statements == 0 {
		return
	}
	a.out.printf("%d statements, %d rows, %d bytes.\n", s.Statements, s.Rows, s.Bytes)
	rows := make([][]any, 0, len(s.Recent))
	for _, st := range s.Recent {
		rows = append(rows, []any{st.N, st.At.Format(time.TimeOnly), st.Rows, st.Bytes, st.DurationMS, stateOf(st), st.SQL})
	}
	a.out.table([]string{"N", "AT (UTC)", "ROWS", "BYTES", "MS", "STATE", "STATEMENT"}, rows)
}

func stateOf(st api.SessionStatement) string {
	switch {
	case st.Refused:
		return "refused"
	case st.SQLState != "":
		return st.SQLState
	}
	return "ok"
}

// followSession prints statements as they end, until the session does.
func (a *app) followSession(ctx context.Context, c *client.Client, s *api.Session) error {
	told := int64(0)
	if !a.json() {
		a.showSession(s)
		told = s.Statements
	}
	for {
		for _, st := range s.Recent {
			if st.N <= told {
				continue
			}
			if err := a.tell(st, st.N-told-1); err != nil {
				return err
			}
			told = st.N
		}
		select {
		case <-ctx.Done():
			return nil // whoever follows has seen enough
		case <-time.After(glance):
		}
		next, err := c.Session(ctx, s.ID)
		if client.Status(err) == http.StatusNotFound {
			if !a.json() {
				a.out.printf("The connection is over.\n")
			}
			return nil
		}
		if err == nil {
			s = next
		} else if ctx.Err() == nil {
			return err
		}
	}
}

// tell prints one statement behind so many that were missed.
func (a *app) tell(st api.SessionStatement, missed int64) error {
	if a.json() {
		return a.out.jsonLine(st)
	}
	if missed > 0 {
		a.out.printf("… %d more; the record has them\n", missed)
	}
	a.out.printf("%d  %s  %d rows  %d bytes  %v ms  %s  %s\n", st.N, st.At.Format(time.TimeOnly), st.Rows, st.Bytes, st.DurationMS, stateOf(st), st.SQL)
	return a.out.failed()
}
