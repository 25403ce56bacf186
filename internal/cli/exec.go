package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

// grace is how long a command has between being asked and being made to end.
// The very end is thus at most a second after the grant's.
const grace = 900 * time.Millisecond

func (a *app) execCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec GRANT -- COMMAND [ARGUMENT…]",
		Short: "Run a command with a credential, and end it when the grant ends",
		Long: `Exec runs a command with a credential in its environment, and ends it, with all
processes of its group, when the grant expires or is revoked: it is asked
(SIGTERM), and a second later made to (SIGKILL). No shell is involved.

The command finds DAYPASS_CREDENTIAL, DAYPASS_CREDENTIAL_URL, DAYPASS_GRANT and
DAYPASS_EXPIRES_AT, and does not find DAYPASS_TOKEN; for a database also PGHOST,
PGPASSWORD and what else psql, pg_dump and drivers read. The exit code is the
command's own, and 3 when the grant ended it.`,
		Example: `  daypass exec orders-api -- ./export-orders.sh
  daypass exec orders-db -- pg_dump --table public.orders
  daypass exec grt_k3v7c2w5q4x6y7z2a3b4c5d6e7 -- sh -c 'curl -H "Authorization: Bearer $DAYPASS_CREDENTIAL" "$DAYPASS_CREDENTIAL_URL/v1/orders"'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(afterDash(args[1:])) == 0 {
				return &Error{Code: ExitUsage, Err: errors.New("exec needs a grant and a command"), Next: "daypass exec GRANT -- COMMAND"}
			}
			return nil
		},
		ValidArgsFunction: a.completing(completeGrants, completeResources),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			g, err := usableGrant(ctx, c, args[0])
			if err != nil {
				return err
			}
			return a.exec(ctx, c, g, afterDash(args[1:]))
		}),
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (a *app) exec(ctx context.Context, c *client.Client, g *api.Grant, argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fail("", "%w", err)
	}
	cred, err := a.issue(ctx, c, g, "token")
	if err != nil {
		return err
	}
	// What happened while the credential was made: it may be active only now.
	if g, err = c.Grant(ctx, g.ID); err != nil {
		return err
	}
	end := newDeadline(g.ExpiresAt.Time, c.ClockOffset())
	if end.passed() {
		return a.cutOff(g, "expired", argv[0])
	}

	env, err := a.credentialEnv(ctx, c, g, cred)
	if err != nil {
		return err
	}
	// Not tied to ctx: signals are passed on, and the grant is what ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path)
	cmd.Args = argv
	cmd.Env = append(a.childEnv(), env...)
	if cred.Connect.DSN != "" {
		cmd.Env = append(a.databaseEnv(), env...)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.Stdin, a.Stdout, a.Stderr
	cmd.WaitDelay = time.Second

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	child, err := startChild(cmd)
	if err != nil {
		return fail("", "starting %s: %w", argv[0], err)
	}
	// The command lives on through an interrupt that it chooses to ignore, and
	// so must the watch over its grant.
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	news := make(chan grantNews, 1)
	go follow(watch, c, g, news)
	why, by := a.supervise(child, end, news, signals)
	err = child.finish(by)
	if why != "" {
		return a.cutOff(g, why, argv[0])
	}
	return exitOf(err)
}

func (a *app) cutOff(g *api.Grant, why, command string) error {
	return &Error{
		Code: ExitDenied,
		Err:  fmt.Errorf("the grant %s on %s has ended (%s): %s was stopped", g.ID, g.Resource, why, command),
		Next: "ask again: daypass request " + g.Resource,
	}
}

// supervise waits until the child has ended, and ends it when the grant does.
// It returns why the grant ended it, or "" when it ended by itself, and by when
// what is left of its group must end too.
func (a *app) supervise(child *child, end *deadline, news <-chan grantNews, signals <-chan os.Signal) (why string, by time.Time) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var kill <-chan time.Time
	stop := func(reason string) {
		if why == "" {
			why, by = reason, time.Now().Add(grace)
			child.terminate()
			kill = time.After(grace)
		}
	}
	for {
		select {
		case <-child.done:
			if why == "" {
				by = time.Now().Add(grace)
			}
			return why, by
		case s := <-signals:
			child.signal(s)
		case n := <-news:
			if n.warning != "" {
				a.err.printf("%s %s\n", paint(yellow, "daypass:"), n.warning)
			}
			if n.ended != "" {
				stop(n.ended)
			}
			if !n.expires.IsZero() {
				end.move(n.expires)
			}
		case <-tick.C:
			if end.passed() {
				stop("expired")
			}
		case <-kill:
			child.kill()
		}
	}
}

// deadline knows whether the server's clock has reached a time. The wall clock
// may be set and the monotonic one stands still while the machine sleeps: the
// one that is ahead counts.
type deadline struct {
	at      time.Time
	offset  time.Duration // of the server's clock
	started time.Time     // by both clocks
}

func newDeadline(at time.Time, offset time.Duration) *deadline {
	return &deadline{at: at, offset: offset, started: time.Now()}
}

func (d *deadline) passed() bool {
	now := time.Now()
	wall, mono := now.Round(0), d.started.Round(0).Add(now.Sub(d.started))
	if mono.After(wall) {
		wall = mono
	}
	return !wall.Add(d.offset).Before(d.at)
}

func (d *deadline) move(at time.Time) { d.at = at }

// grantNews is what the server says of a grant in use.
type grantNews struct {
	expires time.Time // moved by an extension
	ended   string    // why, when it has
	warning string
}

// follow tells what becomes of a grant until it ends or ctx does. A server
// that denies us the sight of it counts as its end; one that cannot be reached
// does not, because the gateway still guards the way.
func follow(ctx context.Context, c *client.Client, g *api.Grant, news chan<- grantNews) {
	send := func(n grantNews) {
		select {
		case news <- n:
		case <-ctx.Done():
		}
	}
	expires := g.ExpiresAt.Time
	for ctx.Err() == nil {
		for r, err := range c.FollowRequest(ctx, g.Request) {
			switch {
			case ctx.Err() != nil:
				return
			case err != nil && client.Status(err) == 401 && c.Renews():
				send(grantNews{warning: "the job's token has ended and its platform gives no other; the command goes on until the grant expires"})
				return
			case err != nil && 400 <= client.Status(err) && client.Status(err) < 500 && client.Status(err) != 429:
				send(grantNews{ended: "the server no longer shows it: " + strings.TrimSuffix(err.Error(), ".")})
				return
			case err != nil:
				send(grantNews{warning: "the server does not answer; the command goes on until the grant expires"})
			case r.Grant == nil:
			case r.Grant.State == "ending" || r.Grant.State == "ended":
				reason := deref(r.Grant.EndedReason)
				if reason == "" {
					reason = r.Grant.State
				}
				send(grantNews{ended: reason})
				return
			case !r.Grant.ExpiresAt.Equal(expires):
				expires = r.Grant.ExpiresAt.Time
				send(grantNews{expires: expires})
			}
		}
	}
}
