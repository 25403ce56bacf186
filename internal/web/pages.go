package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
)

//go:embed pages.html style.css
var files embed.FS

var pages = template.Must(template.ParseFS(files, "pages.html"))

var style, stylePath = func() ([]byte, string) {
	css, err := files.ReadFile("style.css")
	if err != nil {
		panic("web: the style sheet is not embedded: " + err.Error())
	}
	sum := sha256.Sum256(css)
	return css, "/assets/" + hex.EncodeToString(sum[:8]) + ".css"
}()

func serveStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // another content has another path
	_, _ = w.Write(style)
}

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

// show writes a page.
func (s *server) show(w http.ResponseWriter, status int, name, title string, data any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, struct {
		Title, Style, Home string
		Data               any
	}{title, stylePath, s.PublicURL, data}); err != nil {
		s.Log.Error("a page could not be written", "page", name, "error", err)
		http.Error(w, "Something failed inside.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", policy(""))
	}
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
