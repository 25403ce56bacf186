package rest

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"sync"
	"time"
)

// The reference is a page of the API. It holds no data, takes no form, runs no
// script, and changes nothing (Invariant A14). The pages on which people do
// something are internal/web's.

// style is the one style sheet, inline; the policy allows exactly its hash.
const style = `:root{color-scheme:light dark;--ink:#1c1e21;--soft:#5b6069;--line:#d9dce1;--paper:#fff;--tint:#f5f6f8;--mark:#1f5fbf}
@media(prefers-color-scheme:dark){:root{--ink:#e6e7ea;--soft:#9aa0aa;--line:#33373d;--paper:#16181b;--tint:#1f2226;--mark:#86b4f5}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:52rem;margin:0 auto;padding:2rem 1.25rem 5rem}h1{font-size:1.6rem;margin:.2rem 0 .8rem}h2{font-size:1.2rem;margin:3rem 0 .3rem}
a{color:var(--mark)}p{margin:.5rem 0}code,pre{font:.875rem/1.5 ui-monospace,monospace}code{background:var(--tint);padding:.1em .3em;border-radius:3px}
pre{background:var(--tint);border:1px solid var(--line);border-radius:6px;padding:.75rem .9rem;white-space:pre-wrap;overflow-wrap:anywhere;margin:.6rem 0}pre code{background:none;padding:0}
.soft{color:var(--soft)}nav a{display:inline-block;margin:0 .9rem .3rem 0}
details{border:1px solid var(--line);border-radius:6px;margin:.6rem 0;padding:0 .9rem}summary{cursor:pointer;padding:.6rem 0;overflow-wrap:anywhere}
summary b{font:600 .8rem ui-monospace,monospace;display:inline-block;min-width:3.6rem;color:var(--mark)}summary span{color:var(--soft);display:block}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem;font-size:.9rem}th,td{text-align:left;vertical-align:top;padding:.35rem .6rem .35rem 0;border-top:1px solid var(--line);overflow-wrap:anywhere}
th{font-weight:600}td:first-child{white-space:nowrap}h3{font-size:.95rem;margin:1rem 0 .2rem}@media(max-width:34rem){td:first-child{white-space:normal}main{padding:1.2rem .9rem 4rem}}`

var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var pages = template.Must(template.New("").Funcs(template.FuncMap{"text": text}).Parse(`
{{define "head"}}<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.}}</title><style>` + style + `</style></head><body><main>{{end}}
{{define "foot"}}</main></body></html>
{{end}}
`))

// pageRoutes registers what is not part of the API's document.
func (s *server) pageRoutes() {
	// Both are made when first asked for: a start has better things to do.
	document := sync.OnceValues(s.openAPI)
	reference := sync.OnceValue(s.reference)
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		doc, err := document()
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc)
	})
	s.mux.HandleFunc("GET /docs", func(w http.ResponseWriter, r *http.Request) { writePage(w, reference()) })
	s.mux.HandleFunc("GET /.well-known/security.txt", func(w http.ResponseWriter, r *http.Request) {
		contact := s.Contact
		if contact == "" {
			contact = "https://github.com/daypass/daypass/security/advisories/new"
		}
		expires := time.Now().UTC().AddDate(0, 6, 0).Truncate(24 * time.Hour).Format(time.RFC3339)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("Contact: " + contact + "\nExpires: " + expires + "\nPreferred-Languages: en\n" +
			"Canonical: " + s.base(r) + "/.well-known/security.txt\n"))
	})
	s.mux.HandleFunc("GET /v1/gateway-ca.pem", func(w http.ResponseWriter, r *http.Request) {
		var pem []byte
		if s.GatewayCA != nil {
			pem = s.GatewayCA()
		}
		if pem == nil {
			s.fail(w, r, &fault{status: http.StatusNotFound, code: "not_found", detail: "This server has made no authority: its gateways show certificates that it was given, or none."})
			return
		}
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(pem)
	})
	for _, path := range []string{"/openapi.json", "/docs", "/.well-known/security.txt", "/v1/gateway-ca.pem"} {
		s.plainRoutes = append(s.plainRoutes, Route{Method: http.MethodGet, Path: path, Public: true})
	}
}

// base is the URL that links begin with.
func (s *server) base(r *http.Request) string {
	if s.public != "" {
		return s.public
	}
	return "http://" + r.Host
}

func writePage(w http.ResponseWriter, html []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	_, _ = w.Write(html)
}
