package rest

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
)

type catalogs interface {
	Catalog(ctx context.Context, c identity.Caller) (api.Catalog, error)
	PutCatalog(ctx context.Context, c identity.Caller, source []byte, ifMatch string) (api.Catalog, error)
	CheckCatalog(ctx context.Context, c identity.Caller, source []byte) (api.CatalogCheck, error)
	BacktestCatalog(ctx context.Context, c identity.Caller, source []byte, since time.Duration, frozen bool) (api.Backtest, error)
	ExplainCatalog(ctx context.Context, c identity.Caller, q api.ExplainRequest) (api.Explained, error)
}

// maxCatalog is the longest catalog, in bytes.
const maxCatalog = 4 << 20

// backtestTimeout bounds a replay, which reads all that was recorded.
const backtestTimeout = 2 * time.Minute

// catalogMedia are the types that a catalog may be sent as (RFC 9512).
const catalogMedia = "application/yaml"

func (s *server) catalogRoutes() {
	add(s, Route{
		Method: "GET", Path: "/v1/catalog", ID: "getCatalog", Tag: "Catalog",
		Summary: "The catalog in force", Text: "For admins. `ETag` is its version.", Answers: []int{200}, Errors: []int{403}, ETag: true,
	}, func(c *call, _ *none) (api.Catalog, error) { return s.Broker.Catalog(c.ctx, c.caller) }, shownCatalog)

	s.addRaw(Route{
		Method: "PUT", Path: "/v1/catalog", ID: "putCatalog", Tag: "Catalog",
		Summary: "Replace the catalog",
		Text: "By an admin, as YAML or JSON of at most 4 MiB. All of it or nothing: an error anywhere is `422` with positions (`body:LINE:COLUMN`). " +
			"`If-Match` with the version that was read makes it `412` when somebody else was faster. `409` where the server's config names a catalog file.",
		Answers: []int{200}, Errors: []int{403, 409, 412}, ETag: true, Media: catalogMedia,
	}, reflect.TypeFor[api.Catalog](), func(w http.ResponseWriter, c *call) error {
		version, err := ifMatch(c.r.Header.Values("If-Match"))
		if err != nil {
			return err
		}
		source, err := readCatalog(w, c.r)
		if err != nil {
			return err
		}
		put, err := s.Broker.PutCatalog(c.ctx, c.caller, source, version)
		if err != nil {
			return err
		}
		return s.write(w, c.r, shownCatalog(c, put))
	})

	s.addRaw(Route{
		Method: "POST", Path: "/v1/catalog/check", ID: "checkCatalog", Tag: "Catalog",
		Summary: "Check a catalog", Text: "By an admin. Says what is wrong with it, and where, and in `findings` what a good one cannot mean: rules that never decide, approvals that nobody could give. Changes nothing.",
		Answers: []int{200}, Errors: []int{403}, Media: catalogMedia,
	}, reflect.TypeFor[api.CatalogCheck](), func(w http.ResponseWriter, c *call) error {
		source, err := readCatalog(w, c.r)
		if err != nil {
			return err
		}
		check, err := s.Broker.CheckCatalog(c.ctx, c.caller, source)
		if err != nil {
			return err
		}
		return s.write(w, c.r, ok(c, check))
	})

	s.addRaw(Route{
		Method: "POST", Path: "/v1/catalog/backtest", ID: "backtestCatalog", Tag: "Catalog",
		Summary: "Replay the recorded requests against a catalog",
		Text: "For admins and auditors. Decides every request that was made in the time `since` (default 2160h) by the catalog in the body, and lists those that flip, newest first and at most 1,000. " +
			"A requester's groups are those of that catalog, with `recorded_groups=true` those when it was asked. Changes nothing but the record, which says who looked.",
		Query:   []param{sinceParam, recordedGroupsParam},
		Answers: []int{200}, Errors: []int{403}, Media: catalogMedia, Waits: true,
	}, reflect.TypeFor[api.Backtest](), func(w http.ResponseWriter, c *call) error {
		source, err := readCatalog(w, c.r)
		if err != nil {
			return err
		}
		since := 90 * 24 * time.Hour
		if v := c.query["since"]; v != "" {
			if since, err = api.ParseDuration(v); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(c.ctx, backtestTimeout)
		defer cancel()
		result, err := s.Broker.BacktestCatalog(ctx, c.caller, source, since, c.query["recorded_groups"] == "true")
		if err != nil {
			return err
		}
		return s.write(w, c.r, ok(c, result))
	})

	add(s, Route{
		Method: "POST", Path: "/v1/catalog/explain", ID: "explainCatalog", Tag: "Catalog",
		Summary: "Explain a decision",
		Text: "How a request of somebody would be decided by the catalog in force, with every guardrail and rule, the value of each part of its condition, and who could approve. " +
			"For admins and auditors, and for the owners of the resource; everybody else asks for themselves with `dry_run`. Changes nothing but the record, which says who looked.",
		Answers: []int{200}, Errors: []int{403},
		Example: `{"principal":"user:ana","resource":"orders-api","role":"read","duration":"15m","reason":"refund totals"}`,
	}, func(c *call, in *api.ExplainRequest) (api.Explained, error) {
		return s.Broker.ExplainCatalog(c.ctx, c.caller, *in)
	}, ok)
}

func shownCatalog(_ *call, v api.Catalog) answer {
	return answer{status: http.StatusOK, etag: v.Version, body: v}
}

// readCatalog reads a catalog as it was written. As JSON it must be strict; as
// YAML it is the catalog's own parser that is strict.
func readCatalog(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	source, kind, err := readBody(w, r, maxCatalog)
	switch {
	case err != nil:
		return nil, err
	case len(source) == 0:
		return nil, malformed("body", "The body is empty; this call takes a catalog.")
	case isJSON(kind):
		return source, scanJSON(source)
	case kind != catalogMedia && kind != "application/x-yaml" && kind != "text/yaml" && kind != "text/x-yaml":
		return nil, unsupported("Send Content-Type: application/yaml or application/json.")
	case !utf8.Valid(source):
		return nil, malformed("body", "The body is not valid UTF-8.")
	}
	return source, nil
}

// ifMatch is the version of an If-Match header, "*" for any, "" for none. A
// weak tag matches nothing (RFC 9110 section 13.1.1).
func ifMatch(headers []string) (string, error) {
	if len(headers) == 0 {
		return "", nil
	}
	tag := strings.TrimSpace(headers[0])
	switch {
	case len(headers) > 1 || strings.Contains(tag, ","):
		return "", malformed("header.If-Match", "If-Match takes one version here.")
	case tag == "*":
		return tag, nil
	case strings.HasPrefix(tag, "W/"):
		return "", &fault{status: http.StatusPreconditionFailed, code: "version_changed", detail: "A weak entity tag matches no version."}
	case len(tag) < 3 || tag[0] != '"' || tag[len(tag)-1] != '"':
		return "", malformed("header.If-Match", `If-Match takes the ETag as it was sent, in quotes.`)
	}
	return tag[1 : len(tag)-1], nil
}
