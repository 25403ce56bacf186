package rest

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

type records interface {
	Events(ctx context.Context, c identity.Caller, q broker.EventQuery) ([]api.Event, string, error)
	Checkpoint(ctx context.Context, c identity.Caller) (api.Checkpoint, error)
	Proof(ctx context.Context, c identity.Caller, event string) (api.Proof, error)
	Erase(ctx context.Context, c identity.Caller, request, principal, why string) (api.Erasure, error)
}

const ndjson = "application/x-ndjson"

func (s *server) auditRoutes() {
	add(s, Route{
		Method: "POST", Path: "/v1/audit/erasures", ID: "eraseTexts", Tag: "Audit",
		Summary: "Erase personal text",
		Text: "By an admin: the reason, ticket and comments of one request, or all that one person wrote and all on their requests. They are gone from the store for good; " +
			"the record keeps salted digests, so every proof still holds. Backups, exports and notices that were taken before are not reached.",
		Answers: []int{200}, Errors: []int{403, 404}, Example: `{"request":"req_a","reason":"asked for by the person"}`,
	}, func(c *call, in *api.ErasureRequest) (api.Erasure, error) {
		return s.Broker.Erase(c.ctx, c.caller, in.Request, in.Principal, in.Reason)
	}, ok)

	s.addRaw(Route{
		Method: "GET", Path: "/v1/audit/events", ID: "listAuditEvents", Tag: "Audit",
		Summary: "Read the record",
		Text: "For admins and auditors: newest first, or with `after` the entries after that sequence number, ascending. " +
			"With `Accept: application/x-ndjson` all that match are streamed in the same order, one JSON object per line, each with the `leaf` that an offline check needs; " +
			"`limit` then bounds the whole. A stream that fails is cut off, never ended as if it were whole.",
		Query: []param{
			seqParam("after", "Only entries with a greater `seq`, ascending."),
			textParam("request", "Only entries about this request."), textParam("principal", "Only entries by or on behalf of this principal."),
			textParam("resource", "Only entries about this resource."), textParam("type", "Only entries of this type."),
			limitParam, cursorParam,
		},
		Answers: []int{200}, Errors: []int{403}, Waits: true,
	}, reflect.TypeFor[api.List[api.Event]](), func(w http.ResponseWriter, c *call) error {
		q := broker.EventQuery{
			Request: c.query["request"], Principal: c.query["principal"], Resource: c.query["resource"], Type: c.query["type"], Page: c.query.page(),
		}
		q.After, q.HasAfter = c.query.number("after")
		if accepts(c.r, ndjson) {
			return s.export(w, c, q)
		}
		ctx, cancel := context.WithTimeout(c.ctx, callTimeout)
		defer cancel()
		events, next, err := s.Broker.Events(ctx, c.caller, q)
		if err != nil {
			return err
		}
		for i := range events {
			events[i].Leaf = nil
		}
		return s.write(w, c.r, listed(c, page[api.Event]{events, next}))
	})

	add(s, Route{
		Method: "GET", Path: "/v1/audit/checkpoint", ID: "getCheckpoint", Tag: "Audit",
		Summary: "The signed head of the record", Text: "For admins and auditors: a C2SP signed note and the key that verifies it. Keep it elsewhere: it shows later that nothing before it was changed.",
		Answers: []int{200}, Errors: []int{403},
	}, func(c *call, _ *none) (api.Checkpoint, error) { return s.Broker.Checkpoint(c.ctx, c.caller) }, ok)

	add(s, Route{
		Method: "GET", Path: "/v1/audit/proof", ID: "getProof", Tag: "Audit",
		Summary: "Prove that an entry is in the record", Text: "For admins and auditors: from the entry to its batch to a signed checkpoint.",
		Query: []param{required(textParam("event", "The entry's ID, `evt_…`."))}, Answers: []int{200}, Errors: []int{403, 404},
	}, func(c *call, _ *none) (api.Proof, error) {
		return s.Broker.Proof(c.ctx, c.caller, c.query["event"])
	}, ok)
}

// export streams all entries that match, page by page. Nothing is sent before
// the first page is there; after that a failure cuts the connection.
func (s *server) export(w http.ResponseWriter, c *call, q broker.EventQuery) error {
	ctx, stop := s.until(c.ctx)
	defer stop()
	left, bounded := -1, false
	if n, err := strconv.Atoi(c.query["limit"]); err == nil {
		left, bounded = n, true
	}
	for first := true; ; first = false {
		q.Limit = maxLimit
		if bounded {
			q.Limit = min(left, maxLimit)
		}
		events, next, err := s.Broker.Events(ctx, c.caller, q)
		if err != nil {
			if first {
				return err
			}
			s.log.Warn("audit export cut off", "error", err)
			panic(http.ErrAbortHandler)
		}
		if first {
			w.Header().Set("Content-Type", ndjson)
		}
		if err := lines(w, events); err != nil {
			panic(http.ErrAbortHandler)
		}
		left -= len(events)
		if next == "" || bounded && left <= 0 {
			return nil
		}
		q.Cursor = next
	}
}

func lines(w http.ResponseWriter, events []api.Event) error {
	for i := range events {
		line, err := encode(events[i])
		if err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// accepts reports whether a request names a media type in Accept.
func accepts(r *http.Request, kind string) bool {
	for _, h := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(h, ",") {
			name, _, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), kind) {
				return true
			}
		}
	}
	return false
}
