package rest

import (
	"bytes"
	stdjson "encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

//go:generate go test -run ^TestOpenAPIDocumentIsCurrent$ -update .

// apiVersion is the version of the API, not of the program.
const apiVersion = "1.0.0"

const schemaPrefix = "#/components/schemas/"

// OpenAPI returns the OpenAPI 3.1 document of the API, indented.
func OpenAPI() ([]byte, error) { return assemble(Deps{}).openAPI() }

func (s *server) openAPI() ([]byte, error) {
	raw, err := s.huma.OpenAPI().MarshalJSON()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := stdjson.Indent(&b, raw, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// newDocument returns an empty document on a mux. None of huma's own routes and
// hooks are in it.
func newDocument(mux *http.ServeMux) huma.API {
	problem := &huma.Schema{Ref: schemaPrefix + "Problem"}
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Daypass", Version: apiVersion,
			Description: "Ask for access, have it decided by a policy or by people, use it, and see it end by itself.\n\n" +
				"Times are RFC 3339 in UTC with three decimals. Durations are whole numbers of `h`, `m` and `s` in that order: `90s`, `15m`, `1h30m`. " +
				"A body is one strict JSON object of at most 64 KiB. Refusals are `application/problem+json` (RFC 9457); their `code` is for programs, their `detail` for people.",
			License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Components: &huma.Components{
			Schemas: huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer),
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"token": {Type: "http", Scheme: "bearer", BearerFormat: "dpat_…", Description: "An API token of a principal, or what `daypass login` got (`dplt_…`), in exactly one `Authorization` header. Tokens in the query are ignored."},
				"login": {Type: "apiKey", In: "cookie", Name: "__Host-daypass", Description: "The login of a person in a browser. What changes anything must then come from a page of this server: `Sec-Fetch-Site: same-origin`, or the server's own `Origin`. Where an `Authorization` header is sent too, it alone counts."},
			},
			Responses: map[string]*huma.Response{
				"Problem": {Description: "Refused; the document says why and what to do.",
					Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problem}}},
			},
		},
		Security: []map[string][]string{{"token": {}}, {"login": {}}},
		Tags: []*huma.Tag{
			{Name: "Resources", Description: "Who am I, and what may I ask for?"},
			{Name: "Requests", Description: "Ask, follow, approve, deny."},
			{Name: "Grants", Description: "The access itself, its credentials and its end."},
			{Name: "Sessions", Description: "Live connections through gateways."},
			{Name: "Events", Description: "What happens, as it happens."},
			{Name: "Tokens", Description: "API tokens of people and services."},
			{Name: "Logins", Description: "Browsers and command lines in which people have logged in."},
			{Name: "Catalog", Description: "Principals, resources and policy."},
			{Name: "Audit", Description: "The tamper-evident record."},
			{Name: "Operations", Description: "Health, metrics and the switches for bad days."},
		},
	}
	doc.Components.Schemas.Schema(reflect.TypeFor[api.Problem](), true, "")
	return humago.New(mux, huma.Config{OpenAPI: doc})
}

// document describes a route and returns its operation.
func (s *server) document(rt Route, body, result reflect.Type) *huma.Operation {
	op := &huma.Operation{
		Method: rt.Method, Path: rt.Path, OperationID: rt.ID, Tags: []string{rt.Tag}, Summary: rt.Summary, Description: rt.Text,
		Responses: map[string]*huma.Response{},
	}
	if rt.Public {
		op.Security = []map[string][]string{}
	}
	s.documentParams(op, rt)
	s.documentBody(op, rt, body)
	for i, status := range rt.Answers {
		op.Responses[strconv.Itoa(status)] = s.documentAnswer(rt, status, i, result)
	}
	errs := append([]int{http.StatusBadRequest, http.StatusInternalServerError, http.StatusServiceUnavailable}, rt.Errors...)
	if !rt.Public {
		errs = append(errs, http.StatusUnauthorized, http.StatusTooManyRequests)
	}
	if op.RequestBody != nil {
		errs = append(errs, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity)
	}
	if len(rt.Query) > 0 {
		errs = append(errs, http.StatusUnprocessableEntity)
	}
	for _, status := range errs {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/Problem"}
	}
	s.huma.OpenAPI().AddOperation(op)
	return op
}

func (s *server) documentParams(op *huma.Operation, rt Route) {
	if strings.Contains(rt.Path, "{id}") {
		op.Parameters = append(op.Parameters, &huma.Param{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	for _, p := range rt.Query {
		op.Parameters = append(op.Parameters, &huma.Param{Name: p.name, In: "query", Description: p.text, Required: p.required, Schema: p.schema})
	}
	header := func(name, text string) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "header", Description: text, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	switch {
	case rt.Creates:
		header("Idempotency-Key", "1 to 255 visible ASCII characters. The same key and body within 24 h give the same answer again, with `Idempotency-Replayed: true` and without its secret; another body is `422`, a call still under way `409`.")
	case rt.ETag && rt.Waits:
		header("If-None-Match", "The `ETag` that the client has.")
	case rt.ETag && rt.Method == http.MethodPut:
		header("If-Match", "The `ETag` that was read.")
	case rt.Tag == "Events":
		header("Last-Event-ID", "Resume after this event.")
	}
}

func (s *server) documentBody(op *huma.Operation, rt Route, body reflect.Type) {
	content := map[string]*huma.MediaType{}
	switch {
	case rt.Media == catalogMedia:
		for _, media := range []string{catalogMedia, "application/json"} {
			content[media] = &huma.MediaType{Schema: &huma.Schema{Description: "A catalog, as docs/policy.md describes it."}}
		}
	case body == reflect.TypeFor[none]():
		return
	default:
		media := &huma.MediaType{Schema: s.huma.OpenAPI().Components.Schemas.Schema(body, true, "")}
		if rt.Example != "" {
			media.Example = stdjson.RawMessage(rt.Example)
		}
		content["application/json"] = media
	}
	op.RequestBody = &huma.RequestBody{Required: !rt.Bodiless, Content: content}
}

// documentAnswer describes the answer with one status; i is its place among
// the route's.
func (s *server) documentAnswer(rt Route, status, i int, result reflect.Type) *huma.Response {
	answer := &huma.Response{Description: http.StatusText(status), Headers: map[string]*huma.Param{}}
	header := func(name, text string) {
		answer.Headers[name] = &huma.Param{Description: text, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	if status == http.StatusCreated || status == http.StatusAccepted {
		header("Location", "Where it is from now on.")
	}
	if status == http.StatusAccepted && rt.Creates {
		header("Retry-After", "Seconds after which asking again makes sense.")
	}
	if rt.ETag {
		header("ETag", "The version of what was answered.")
	}
	if status == http.StatusNoContent || status == http.StatusNotModified || result == reflect.TypeFor[none]() {
		return answer
	}
	media := rt.Media
	if media == "" || media == catalogMedia {
		media = "application/json"
	}
	if rt.Creates && status == http.StatusOK && i > 0 {
		answer.Description = "Of a dry run: the decision"
		result = reflect.TypeFor[api.Decision]()
	}
	answer.Content = map[string]*huma.MediaType{media: {Schema: s.schemaOf(result)}}
	if rt.ID == "listAuditEvents" {
		answer.Content[ndjson] = &huma.MediaType{Schema: s.schemaOf(reflect.TypeFor[api.Event]())}
	}
	return answer
}

// schemaOf is the schema of what a handler's result looks like on the wire.
func (s *server) schemaOf(result reflect.Type) *huma.Schema {
	switch {
	case result == reflect.TypeFor[broker.View]() || result.Kind() == reflect.Interface:
		result = reflect.TypeFor[api.Request]()
	case result.Implements(reflect.TypeFor[interface{ wireType() reflect.Type }]()):
		result = reflect.Zero(result).Interface().(interface{ wireType() reflect.Type }).wireType()
	}
	return s.huma.OpenAPI().Components.Schemas.Schema(result, true, "")
}

func (page[T]) wireType() reflect.Type { return reflect.TypeFor[api.List[T]]() }

// finishDocument corrects what huma derives from Go types: lists are never
// null, pointers to objects may be, scopes are objects, durations and times
// have a form, and answers may gain members.
func (s *server) finishDocument() {
	registry := s.huma.OpenAPI().Components.Schemas
	bodies := s.bodyRefs()
	for name, schema := range registry.Map() {
		if !slices.Contains(bodies, schemaPrefix+name) {
			schema.AdditionalProperties = nil
		}
		t := registry.TypeFromRef(schemaPrefix + name)
		if t.Kind() == reflect.Struct {
			for i := range t.NumField() {
				finishField(schema, t, t.Field(i))
			}
		}
	}
}

func finishField(schema *huma.Schema, owner reflect.Type, f reflect.StructField) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	property := schema.Properties[name]
	if property == nil {
		return
	}
	kind := f.Type
	pointer := kind.Kind() == reflect.Pointer
	if pointer {
		kind = kind.Elem()
	}
	switch {
	case kind == durationType:
		property.Pattern = `^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?$`
		property.Examples = []any{"15m"}
	case kind == timeType:
		property.Format = "date-time"
		property.Examples = []any{"2026-11-23T14:00:00.000Z"}
	case kind == rawType:
		property.Type = huma.TypeObject
		property.AdditionalProperties = true
		property.Nullable = owner == reflect.TypeFor[api.Event]()
	case kind.Kind() == reflect.Slice:
		property.Nullable = false
	case pointer && property.Ref != "" && !strings.Contains(options, "omitempty"):
		schema.Properties[name] = &huma.Schema{AnyOf: []*huma.Schema{{Ref: property.Ref}, {Type: "null"}}}
	}
}

// bodyRefs are the references to the schemas of request bodies, which stay
// closed.
func (s *server) bodyRefs() []string {
	var refs []string
	for _, item := range s.huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			for _, media := range op.RequestBody.Content {
				if media.Schema.Ref != "" {
					refs = append(refs, media.Schema.Ref)
				}
			}
		}
	}
	return refs
}
