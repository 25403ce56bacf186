// Package rest is the HTTP face of Daypass: the JSON API under /v1, its OpenAPI
// document, health, metrics and a few plain pages. It decodes, asks the broker,
// and encodes.
//
// It refuses to hold a rule: what may be done is the broker's to say. It
// refuses whatever is not exactly a call it knows — an unknown or doubled JSON
// member, a second Authorization header, a foreign Host — before the broker
// hears of it, and it refuses to read a body before the caller is known.
//
// Schemas, validation and the OpenAPI document are huma's. Decoding is this
// package's own, because huma reads and echoes a body before anybody is
// authenticated, matches names whatever their case, and takes the last of two
// equal members; its switches against that are variables of the whole process.
package rest

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Broker is what the handlers ask. Each part is declared beside the handlers
// that use it.
type Broker interface {
	resources
	requests
	reviews
	grants
	revocations
	sessions
	tokens
	logins
	catalogs
	switches
	records
	streams
	health
}

// Deps is what a handler needs. Broker and Bearer are required.
type Deps struct {
	Broker Broker
	Bearer *Bearer

	// OAuth serves /oauth/ and the OAuth documents under /.well-known/, AuthZEN
	// /access/v1/ and its document, behind the same guards. Nil: those paths are
	// 404.
	OAuth, AuthZEN http.Handler
	// Web serves the pages for people. Nil: those paths are 404.
	Web http.Handler
	// Forward serves /authz/. What it is asked about is another host's and
	// another site's request, passed on by a proxy that must prove itself: the
	// guards against foreign hosts and sites are not for it. Nil: 404.
	Forward http.Handler

	PublicURL string   // as in the server config; its host is accepted, links point there
	Listen    []string // the addresses listened on, host:port; their hosts are accepted

	// RevocationBound and Warnings are shown by /readyz: how soon a revocation
	// reaches every check, and which protections are turned off.
	RevocationBound time.Duration
	Warnings        []string

	// GatewayCA is the certificate, in PEM, of the authority that the server has
	// made for its gateways; it returns nil, or is nil, where there is none.
	GatewayCA func() []byte

	Stats   func() Stats    // for /metrics; nil: none
	Log     *slog.Logger    // nil: discarded
	Closing context.Context // its end ends waits and streams; nil: never
	Contact string          // for security.txt; "": the project's
}

// server holds what the handlers share. It has no state of its own but its
// metrics and the key of its cursors.
type server struct {
	Deps
	log     *slog.Logger
	closing context.Context
	public  string // PublicURL without a trailing slash
	mux     *http.ServeMux
	huma    huma.API
	routes  []Route // in the document
	// plainRoutes are pages and files beside the API.
	plainRoutes []Route
	cursors     cursors
	metrics     *metrics
}

// New returns the whole handler of the API's listener.
func New(d Deps) http.Handler {
	s := assemble(d)
	return s.guard(s.mux)
}

// Routes lists every route of the API, in the order of its documentation.
func Routes() []Route { return assemble(Deps{}).routes }

// assemble registers every route. With empty Deps the result documents the API
// but cannot serve it.
func assemble(d Deps) *server {
	s := &server{
		Deps: d, log: d.Log, closing: d.Closing, public: strings.TrimRight(d.PublicURL, "/"),
		mux: http.NewServeMux(), cursors: newCursors(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.closing == nil {
		s.closing = context.Background()
	}
	s.metrics = newMetrics(d.Stats)
	s.huma = newDocument(s.mux)

	s.resourceRoutes()
	s.requestRoutes()
	s.reviewRoutes()
	s.grantRoutes()
	s.revocationRoutes()
	s.sessionRoutes()
	s.tokenRoutes()
	s.loginRoutes()
	s.catalogRoutes()
	s.switchRoutes()
	s.auditRoutes()
	s.streamRoutes()
	s.healthRoutes()
	s.finishDocument()
	s.pageRoutes()
	s.refusals()
	return s
}
