package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
)

//go:embed *.html style.css live.js
var files embed.FS

var pages = template.Must(template.New("").Funcs(funcs).ParseFS(files, "*.html"))

var (
	style, stylePath   = asset("style.css", ".css")
	script, scriptPath = asset("live.js", ".js")
)

// asset is an embedded file, and the path at which it is served: another content
// has another path.
func asset(name, ending string) ([]byte, string) {
	content, err := files.ReadFile(name)
	if err != nil {
		panic("web: " + name + " is not embedded: " + err.Error())
	}
	sum := sha256.Sum256(content)
	return content, "/assets/" + hex.EncodeToString(sum[:8]) + ending
}

func serveStyle(w http.ResponseWriter, _ *http.Request) {
	serveAsset(w, style, "text/css; charset=utf-8")
}

func serveScript(w http.ResponseWriter, _ *http.Request) {
	serveAsset(w, script, "text/javascript; charset=utf-8")
}

func serveAsset(w http.ResponseWriter, content []byte, kind string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(content)
}

// consolePolicy is that of a page of the console: our own script, which may
// listen to our own server, as well.
const consolePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// policy is what a page may do: look like itself, and send its forms here.
func policy(formsTo string) string {
	if formsTo != "" {
		formsTo = " " + formsTo
	}
	return "default-src 'none'; style-src 'self'; form-action 'self'" + formsTo + "; base-uri 'none'; frame-ancestors 'none'"
}

// formsTo lets the form of a page end at the port of a command line: browsers
// look at where an answer sends them too.
func formsTo(w http.ResponseWriter, origin string) {
	w.Header().Set("Content-Security-Policy", policy(origin))
}

// show writes a page from before a login.
func (s *server) show(w http.ResponseWriter, status int, name, title string, data any) {
	csp := w.Header().Get("Content-Security-Policy")
	if csp == "" {
		csp = policy("")
	}
	s.write(w, status, csp, name, struct {
		Title, Style, Home string
		Data               any
	}{title, stylePath, s.PublicURL, data})
}

// write is the one way from a template to a browser.
func (s *server) write(w http.ResponseWriter, status int, csp, name string, data any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		s.Log.Error("a page could not be written", "page", name, "error", err)
		http.Error(w, "Something failed inside.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", csp)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Not no-referrer: a form would then be sent with "Origin: null".
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// fail shows what went wrong, in our words alone.
func (s *server) fail(w http.ResponseWriter, status int, title, text string) {
	s.show(w, status, "error", title, struct{ Text string }{text})
}
