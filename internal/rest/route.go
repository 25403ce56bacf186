package rest

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

// callTimeout bounds a call that does not say that it waits (ATTACKS RES-10).
const callTimeout = 30 * time.Second

// Route is one call of the API: what is documented of it and what is checked
// before its handler runs.
type Route struct {
	Method, Path string
	ID           string // operationId
	Tag          string
	Summary      string
	Text         string // description, CommonMark
	Query        []param
	Answers      []int  // statuses of success; the first is documented with the result's schema
	Errors       []int  // statuses of refusal beyond those that every route has
	Example      string // a request body, JSON

	Public   bool   // needs no authentication
	Creates  bool   // takes an Idempotency-Key
	Bodiless bool   // an empty body stands for {}
	Waits    bool   // has its own idea of how long it may take
	ETag     bool   // answers with one
	Media    string // of its answer, or of a catalog in its body; "" is application/json
}

// Mutates reports whether the route may change anything: exactly those that
// are not GET (Invariant A14).
func (rt Route) Mutates() bool { return rt.Method != http.MethodGet }

// none is the body of a call that has none.
type none struct{}

// call is one decoded call.
type call struct {
	ctx    context.Context
	caller identity.Caller
	r      *http.Request
	query  values
	once   *broker.Once
}

// id is the {id} of the path.
func (c *call) id() string { return c.r.PathValue("id") }

// add registers a route of JSON in, JSON out: authenticate, decode, ask the
// broker, show what it says. ask is given the decoded body; show turns the
// result into an answer, also for a reply that is kept for a replay.
func add[B, R any](s *server, rt Route, ask func(*call, *B) (R, error), show func(*call, R) answer) {
	body := reflect.TypeFor[B]()
	op := s.document(rt, body, reflect.TypeFor[R]())
	fields := s.fieldsOf(body)
	s.handle(op, rt, func(w http.ResponseWriter, r *http.Request, caller identity.Caller) error {
		c, err := s.call(r, rt, caller)
		if err != nil {
			return err
		}
		in := new(B)
		if rt.Mutates() && rt.Method != http.MethodDelete {
			raw, err := readJSON(w, r, rt.Bodiless || body == reflect.TypeFor[none]())
			if err != nil {
				return err
			}
			if err := fields.decode(raw, in); err != nil {
				return err
			}
			if rt.Creates {
				if c.once, err = once(c, raw, show); err != nil {
					return err
				}
			}
		}
		if !rt.Waits {
			var cancel context.CancelFunc
			c.ctx, cancel = context.WithTimeout(c.ctx, callTimeout)
			defer cancel()
		}
		result, err := ask(c, in)
		if err != nil {
			return err
		}
		return s.write(w, r, show(c, result))
	})
}

// addRaw registers a documented route that decodes and answers by itself, after
// authentication. result is the type of its JSON answer, for the document.
func (s *server) addRaw(rt Route, result reflect.Type, serve func(w http.ResponseWriter, c *call) error) {
	op := s.document(rt, reflect.TypeFor[none](), result)
	s.handle(op, rt, func(w http.ResponseWriter, r *http.Request, caller identity.Caller) error {
		c, err := s.call(r, rt, caller)
		if err != nil {
			return err
		}
		return serve(w, c)
	})
}

// handle is the one way from the mux to a handler: nothing that needs a caller
// runs without one, and every error is written in one place.
func (s *server) handle(op *huma.Operation, rt Route, serve func(http.ResponseWriter, *http.Request, identity.Caller) error) {
	s.routes = append(s.routes, rt)
	s.huma.Adapter().Handle(op, func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		var caller identity.Caller
		if !rt.Public {
			var err error
			if caller, err = s.Bearer.Person(r); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		if err := serve(w, r, caller); err != nil {
			s.fail(w, r, err)
		}
	})
}

// call decodes all of a call but its body.
func (s *server) call(r *http.Request, rt Route, caller identity.Caller) (*call, error) {
	query, err := parseQuery(r.URL.RawQuery, rt.Query)
	if err != nil {
		return nil, err
	}
	return &call{ctx: r.Context(), caller: caller, r: r, query: query}, nil
}

// refusals registers what the mux must answer for methods and paths that are
// no route: problem documents, with Allow where the path exists.
func (s *server) refusals() {
	allowed := map[string][]string{}
	var paths []string
	for _, rt := range append(slices.Clone(s.routes), s.plainRoutes...) {
		if allowed[rt.Path] == nil {
			paths = append(paths, rt.Path)
		}
		allowed[rt.Path] = append(allowed[rt.Path], rt.Method)
		if rt.Method == http.MethodGet {
			allowed[rt.Path] = append(allowed[rt.Path], http.MethodHead)
		}
	}
	for _, path := range paths {
		allow := strings.Join(allowed[path], ", ")
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			s.fail(w, r, &fault{status: http.StatusMethodNotAllowed, code: "method_not_allowed",
				detail: "This path takes " + allow + "."})
		})
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &fault{status: http.StatusNotFound, code: "not_found", detail: "There is nothing at this path. GET /docs lists what there is."})
	})
}
