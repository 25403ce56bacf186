package cli

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

// What is taken as a name. Everything else is refused before it is used for
// anything: names end up in URLs, files and on command lines of other programs.
var (
	idForm        = regexp.MustCompile(`^[a-z]{2,5}_[a-z0-9]{1,64}$`)
	nameForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	principalForm = regexp.MustCompile(`^(user|service|agent):[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$`)
)

// checkID refuses what is not an ID with this prefix, such as "req_".
func checkID(what, prefix, id string) error {
	if idForm.MatchString(id) && strings.HasPrefix(id, prefix) {
		return nil
	}
	return Usage("%q is not the ID of a %s: that begins with %s", id, what, prefix)
}

func checkName(what, name string) error {
	if nameForm.MatchString(name) {
		return nil
	}
	return Usage("%q is not the name of a %s: it has letters, digits, dots, dashes and underscores, and does not begin with a dash", name, what)
}

func checkPrincipal(id string) error {
	if principalForm.MatchString(id) {
		return nil
	}
	return Usage("%q is not a principal: write it with its kind, such as user:ana or service:ci", id)
}

// grantID returns the ID of the grant that arg names: a grant, or the request
// that it came from.
func grantID(ctx context.Context, c *client.Client, arg string) (string, error) {
	if !strings.HasPrefix(arg, "req_") {
		return arg, checkID("grant", "grt_", arg)
	}
	if err := checkID("request", "req_", arg); err != nil {
		return "", err
	}
	r, err := c.Request(ctx, arg)
	if err != nil {
		return "", err
	}
	if r.Grant == nil {
		return "", fail("daypass show "+r.ID, "request %s is %s and has no grant", r.ID, r.State)
	}
	return r.Grant.ID, nil
}

// usableGrant returns the caller's own grant that arg names: a grant, the
// request it came from, or a resource, of whose active grants it takes the one
// that lasts longest.
func usableGrant(ctx context.Context, c *client.Client, arg string) (*api.Grant, error) {
	if strings.HasPrefix(arg, "grt_") || strings.HasPrefix(arg, "req_") {
		id, err := grantID(ctx, c, arg)
		if err != nil {
			return nil, err
		}
		return c.Grant(ctx, id)
	}
	if err := checkName("resource", arg); err != nil {
		return nil, err
	}
	me, err := c.Me(ctx)
	if err != nil {
		return nil, err
	}
	var best *api.Grant
	for _, state := range []string{"active", "activating"} {
		err := eachPage(maxListed, func(p client.Page) (*api.List[api.Grant], error) {
			return c.Grants(ctx, client.GrantQuery{State: state, Page: p})
		}, func(g api.Grant) {
			if g.Resource == arg && g.Principal == me.ID && (best == nil || g.ExpiresAt.After(best.ExpiresAt.Time)) {
				best = &g
			}
		})
		if err != nil {
			return nil, err
		}
		if best != nil {
			return best, nil
		}
	}
	return nil, &Error{
		Code: ExitDenied,
		Err:  fmt.Errorf("you have no active grant on %s", arg),
		Next: "daypass request " + arg + " --for 15m --reason … --wait",
	}
}

const (
	pageSize  = 100
	maxListed = 10_000 // items that a search through a list looks at
)

// eachPage calls each with at most limit items of a list, page by page.
func eachPage[T any](limit int, page func(client.Page) (*api.List[T], error), each func(T)) error {
	_, err := collect(limit, "", page, each)
	return err
}

// collect is eachPage from a cursor on. It returns the cursor of what is left.
func collect[T any](limit int, cursor string, page func(client.Page) (*api.List[T], error), each func(T)) (*string, error) {
	for n := 0; ; {
		l, err := page(client.Page{Limit: min(limit-n, pageSize), Cursor: cursor})
		if err != nil {
			return nil, err
		}
		for _, item := range l.Items {
			each(item)
		}
		n += len(l.Items)
		if l.NextCursor == nil || *l.NextCursor == "" || n >= limit || len(l.Items) == 0 {
			return l.NextCursor, nil
		}
		cursor = *l.NextCursor
	}
}
