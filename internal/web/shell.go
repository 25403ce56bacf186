package web

import (
	"net/http"
	"regexp"
)

// copyable is what may stand in a line that a person copies into a shell.
var copyable = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// named is v where it is a plain name, else "": what a query says never reaches
// a command line that somebody copies.
func named(v string) string {
	if copyable.MatchString(v) {
		return v
	}
	return ""
}

// shell shows how to do with an API token what a page would do, where nobody
// can log in with a browser, and reports whether there is such a way.
func (s *server) shell(w http.ResponseWriter, r *http.Request) bool {
	q := r.URL.Query()
	switch id := named(r.PathValue("id")); {
	case r.Method != http.MethodGet:
		return false
	case r.URL.Path == "/request":
		s.show(w, http.StatusOK, "shell-request", "Ask for access", struct{ Public, Resource, Role string }{s.PublicURL, named(q.Get("resource")), named(q.Get("role"))})
	case r.URL.Path == "/requests/"+id && id != "":
		s.show(w, http.StatusOK, "shell-review", "Request "+id, struct{ ID string }{id})
	default:
		return false
	}
	return true
}
