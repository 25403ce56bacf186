package rest

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

type requests interface {
	Submit(ctx context.Context, c identity.Caller, s broker.Submission, once *broker.Once) (broker.View, error)
	DryRun(ctx context.Context, c identity.Caller, s broker.Submission) (api.Decision, error)
	Request(ctx context.Context, c identity.Caller, id string) (broker.View, error)
	WaitRequest(ctx context.Context, c identity.Caller, id string, version int64) (broker.View, error)
	Requests(ctx context.Context, c identity.Caller, q broker.RequestQuery) ([]broker.View, string, error)
}

func (s *server) requestRoutes() {
	add(s, Route{
		Method: "POST", Path: "/v1/requests", ID: "createRequest", Tag: "Requests",
		Summary: "Ask for access",
		Text: "Asks for one role, or a scope within one, on one resource for one duration. " +
			"`201` when a rule decided at once (the grant is included), `202` while people have to review it: follow `Location`, best with `wait`. " +
			"With `dry_run=true` the answer is `200` and a `Decision`. " +
			"`break_glass: true` takes access first where the rule that decides allows it: with a reason, told to at least two people at once, and reviewed afterwards.",
		Query: []param{dryRunParam}, Answers: []int{201, 202, 200}, Errors: []int{403, 404, 409, 429}, Creates: true, ETag: true,
		Example: `{"resource":"orders-api","role":"read","duration":"15m","reason":"refund totals","ticket":"INC-42"}`,
	}, s.submit, shownSubmission)

	add(s, Route{
		Method: "GET", Path: "/v1/requests", ID: "listRequests", Tag: "Requests",
		Summary: "List requests",
		Text:    "The requests that the caller may see, newest first. `role=reviewer` lists those that wait for the caller's vote or had it, `role=requester` the caller's own.",
		Query: []param{
			wordParam("state", "Only requests in this state.", "pending", "approved", "denied", "cancelled", "expired"),
			wordParam("role", "Only requests in which the caller has this part.", "requester", "reviewer"),
			wordParam("review", "`due`: only requests that broke glass and wait for their review.", "due"),
			textParam("resource", "Only requests for this resource."), limitParam, cursorParam,
		},
		Answers: []int{200},
	}, func(c *call, _ *none) (page[api.Request], error) {
		views, next, err := s.Broker.Requests(c.ctx, c.caller, broker.RequestQuery{
			State: c.query["state"], Role: c.query["role"], Resource: c.query["resource"], ReviewDue: c.query["review"] == "due", Page: c.query.page(),
		})
		items := make([]api.Request, len(views))
		for i, v := range views {
			items[i] = v.Request
		}
		return page[api.Request]{items, next}, err
	}, listed)

	s.addRaw(Route{
		Method: "GET", Path: "/v1/requests/{id}", ID: "getRequest", Tag: "Requests",
		Summary: "One request, now or as soon as it moves",
		Text: "With `wait`, the answer is held until the request is decided or the time is over; then it is `200` with the request as it is. " +
			"With `If-None-Match` as well, it is held until anything about the request moves, and is `304` when nothing did. " +
			"A request that the caller may not see is `404`, like one that does not exist.",
		Query: []param{waitParam}, Answers: []int{200, 304}, Errors: []int{404}, Waits: true, ETag: true,
	}, reflect.TypeFor[api.Request](), s.show)

	add(s, Route{
		Method: "POST", Path: "/v1/requests/{id}/cancel", ID: "cancelRequest", Tag: "Requests",
		Summary: "Take a request back", Text: "By the requester, their owner or an admin, while it is pending.",
		Answers: []int{200}, Errors: []int{403, 404, 409}, ETag: true,
	}, func(c *call, _ *none) (broker.View, error) { return s.Broker.Cancel(c.ctx, c.caller, c.id()) }, viewed)
}

// submit gives a broker.View, or of a dry run an api.Decision.
func (s *server) submit(c *call, in *api.SubmitRequest) (any, error) {
	sub := broker.Submission{
		Resource: in.Resource, Role: in.Role, Scope: in.Scope, Duration: in.Duration.Std(), Reason: in.Reason, Ticket: in.Ticket,
		BreakGlass: in.BreakGlass,
	}
	if in.StartAt != nil {
		sub.StartAt = &in.StartAt.Time
	}
	if c.query["dry_run"] == "true" {
		return s.Broker.DryRun(c.ctx, c.caller, sub)
	}
	return s.Broker.Submit(c.ctx, c.caller, sub, c.once)
}

func shownSubmission(c *call, result any) answer {
	if v, ok := result.(broker.View); ok {
		return submitted(c, v)
	}
	return answer{status: http.StatusOK, body: result}
}

// show answers GET /v1/requests/{id}: at once, or after a wait that holds
// nothing but its goroutine and ends with the client, the time or the server.
func (s *server) show(w http.ResponseWriter, c *call) error {
	id, wait := c.id(), c.query.duration("wait")
	v, err := s.Broker.Request(c.ctx, c.caller, id)
	if err != nil {
		return err
	}
	known := c.r.Header.Values("If-None-Match")
	if wait > 0 {
		if v, err = s.await(c, v, wait, known); err != nil {
			return err
		}
	}
	if matches(known, etag(v)) {
		w.Header().Set("ETag", `"`+etag(v)+`"`)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return s.write(w, c.r, viewed(c, v))
}

// await returns the request when it is no longer what the client knows, or,
// where the client names nothing, no longer pending; at the latest after wait.
func (s *server) await(c *call, v broker.View, wait time.Duration, known []string) (broker.View, error) {
	ctx, stop := s.until(c.ctx)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	settled := func() bool {
		if len(known) > 0 {
			return !matches(known, etag(v))
		}
		return v.State != "pending"
	}
	for !settled() {
		next, err := s.Broker.WaitRequest(ctx, c.caller, c.id(), v.Version)
		switch {
		case err == nil:
			v = next
		case c.ctx.Err() != nil:
			return v, c.ctx.Err()
		case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
			// As it is now, and as the caller may see it now.
			return s.Broker.Request(c.ctx, c.caller, c.id())
		default:
			return v, err
		}
	}
	return v, nil
}

// until returns ctx that also ends when the server stops.
func (s *server) until(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// matches reports whether one of the entity tags of If-None-Match is tag
// (RFC 9110 section 13.1.2, weak comparison).
func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for item := range strings.SplitSeq(h, ",") {
			item = strings.TrimPrefix(strings.TrimSpace(item), "W/")
			if item == "*" || item == `"`+tag+`"` {
				return true
			}
		}
	}
	return false
}
