// Package resource is the contract of a kind of resource: what the folders
// beside this file (http, …) give to the rest of Daypass. A new kind is one
// such folder, whose type implements Kind, and one line in the daemon's list.
//
// It refuses to hold anything that only one kind needs, and it decides
// nothing: scopes are compared by the kind, access by gateway.Guard.
package resource

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
)

// Kind is one kind of resource. policy.Kind is what a catalog needs of it:
// its name, its scopes and its own block of a resource. A Kind has no state.
//
// A Kind whose grants must be made real inside the target also implements
// Connecting.
type Kind interface {
	policy.Kind

	// Connect tells a person how to use g on r through the gateway at site. It
	// holds no secret; "<secret>" stands for the credential.
	Connect(r *policy.Resource, g api.Grant, site Site) api.Connect

	// Gateway returns the enforcement point of this kind, or nil if its
	// traffic does not pass through Daypass. It starts nothing.
	Gateway(deps Deps) (Gateway, error)
}

// Connecting is a Kind whose grants must be made real inside the target.
type Connecting interface {
	Kind
	// Connector returns what does so. It connects to nothing before it is asked
	// to. A server has one for each kind.
	Connector(deps ConnectorDeps) (Connector, error)
}

// Connector makes grants real inside a target and removes them again. Both
// calls are idempotent, keyed by the ID of the grant, and may come again after
// a crash at any point of an earlier call.
type Connector interface {
	// Provision returns when the grant can be used until the target's ExpiresAt.
	// It comes again when an extension has moved that. An error is tried again.
	Provision(ctx context.Context, t Target) error
	// Remove returns when nothing of the grant is left, also when there never
	// was anything. It is tried until it succeeds.
	Remove(ctx context.Context, t Target) error
	// Close gives up what the connector holds.
	Close()
}

// Inspector is a Connector that looks into the target when access is asked for.
type Inspector interface {
	Connector
	// Inspect says what scope means in the target of r now. An error that wraps
	// a *policy.Unfit is the requester's to mend; any other one means that the
	// target could not be asked.
	Inspect(ctx context.Context, r *policy.Resource, scope policy.Scope) (policy.Finding, error)
}

// Reconciler is a Connector that compares targets with what should be in them.
type Reconciler interface {
	Connector
	// Reconcile removes from the targets of resources what is of no grant that
	// stands, and repairs what has drifted. It is called at the start and from
	// time to time, and returns what it found, a sentence each.
	Reconcile(ctx context.Context, resources []*policy.Resource, stands func(ctx context.Context, grant string) (bool, error)) ([]string, error)
}

// Target is a grant and where it is made real.
type Target struct {
	Grant     *live.Grant
	ExpiresAt time.Time
	// Resource is as the catalog in force describes it or, where that has it no
	// more, as the newest one did that had it. nil when no catalog is known to.
	Resource *policy.Resource
	// Found is what Inspect found when the grant was asked for.
	Found json.RawMessage
}

// ConnectorDeps is what a connector may use.
type ConnectorDeps struct {
	// Key returns 32 secret bytes for a purpose, always the same in one data
	// folder and in no other.
	Key func(purpose string) []byte
	Log *slog.Logger
	Now func() time.Time // the effective clock
	// Dial is as in Deps.
	Dial func(upstream string) DialFunc
}

// Gateway carries the traffic of grants. It is used once: Serve, then Shutdown.
type Gateway interface {
	// Serve accepts connections from l, which it closes, until Shutdown. TLS,
	// where there is any, is spoken on top of l by the gateway itself. The
	// error after Shutdown is nil.
	Serve(l net.Listener) error
	// Shutdown stops accepting, lets what runs finish until ctx ends, then cuts
	// it, and returns once nothing runs any more.
	Shutdown(ctx context.Context) error
}

// Site is where a gateway is reached.
type Site struct {
	Domain string // a resource is at <resource>.<Domain>, for kinds that have hosts
	Addr   string // host:port of the listener
	TLS    bool
	// Authority is the file of the authority that Daypass made itself for this
	// gateway; "" when the certificate was given.
	Authority string
}

// Deps is what a gateway may use. Functions are safe for concurrent use and
// must not be nil unless it says so.
type Deps struct {
	Guard       *gateway.Guard
	Catalog     func() *policy.Catalog       // the one in force
	Incarnation func(resource string) string // of a resource now; "" when there is none

	// Connector is the one of this kind; nil for a kind that has none.
	Connector Connector
	// Grant is a grant by its ID, also one that has ended, for as long as it is
	// remembered; nil when it is not known.
	Grant func(id string) *live.Grant
	// Found is what Inspect found when the request of a grant was submitted.
	Found func(ctx context.Context, request string) (json.RawMessage, error)
	// Spent is what the record has of the reading of a request's grant, by the
	// processes before this one; it is asked before the grant has a session here.
	// nil: nothing was read before.
	Spent func(ctx context.Context, request string) (gateway.Spent, error)
	// Held is the newest grant of principal on resource that gives access now;
	// nil when there is none.
	Held func(principal, resource string) *live.Grant
	// Verifiers are those of a grant's tokens, ended ones included for as long
	// as they are kept; nil when there are none.
	Verifiers func(ctx context.Context, grant string) ([]credential.Verifier, error)

	// Assertion mints a signed statement of grant for its resource, valid for
	// a minute unless the grant ends before, and never longer than the grant.
	// Callers keep it for at most 60 s. Its error wraps credential.ErrTooLate
	// when the grant has less than a second left.
	Assertion func(grant *live.Grant) (token string, err error)
	// Cookie exchanges a live grant token for what a browser at host holds
	// instead. The caller has checked that the token is good for that host.
	// nil: no browser login.
	Cookie func(ctx context.Context, grantToken, host string) (secret string, expires time.Time, err error)
	// Logout ends one cookie, for good. nil: it is only removed from the
	// browser.
	Logout func(ctx context.Context, cookie string) error

	PublicURL string // of the API and the console, without a slash at its end
	Site      Site
	TLS       *tls.Config // nil: plain; else Site.TLS is true
	Limits    Limits
	Log       *slog.Logger
	Now       func() time.Time // the effective clock

	// Dial returns the function that connects to what a resource names as its
	// upstream. nil: the checks of package dial, literal loopback allowed.
	Dial func(upstream string) DialFunc
}

// DialFunc connects to addr (host:port).
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Limits bound what peers can cost a gateway. A zero field takes its default.
type Limits struct {
	Connections        int           // open at once; 10,000
	ConnectionsPerPeer int           // of them from one address (IPv6: one /64); 1,000
	Upstreams          int           // connections to upstreams, in all; 20,000
	HeaderBytes        int           // of one request; 64 KiB
	HeaderTimeout      time.Duration // to send them, and for a TLS handshake; 10 s
	IdleTimeout        time.Duration // of a connection between requests; 2 min
	Streams            uint32        // at once on one HTTP/2 connection; 250
}

// OrDefault returns l with its defaults filled in.
func (l Limits) OrDefault() Limits {
	fill(&l.Connections, 10_000)
	fill(&l.ConnectionsPerPeer, 1_000)
	fill(&l.Upstreams, 20_000)
	fill(&l.HeaderBytes, 64<<10)
	fill(&l.HeaderTimeout, 10*time.Second)
	fill(&l.IdleTimeout, 2*time.Minute)
	fill(&l.Streams, 250)
	return l
}

func fill[T int | uint32 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
