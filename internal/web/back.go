package web

import (
	"net/url"
	"path"
	"strings"
)

// home is where people go who do not say where to: My access.
const home = "/"

// back is where a browser goes after a login: one of our own pages, or home
// (ATTACKS OID-04). The list is of what exists, not of what looks harmless.
func back(raw string) string {
	if raw == "" || len(raw) > 2048 || raw[0] != '/' || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' || r == '#' }) {
		return home
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || u.EscapedPath() != u.Path || u.Path != path.Clean(u.Path) {
		return home
	}
	id, request := strings.CutPrefix(u.Path, "/requests/")
	grant, more := strings.CutPrefix(u.Path, "/grants/")
	grant, extend := strings.CutSuffix(grant, "/extend")
	switch {
	case u.Path == home, u.Path == "/inbox", u.Path == "/device", u.Path == "/docs":
		return u.Path
	case request && !strings.Contains(id, "/"), more && extend && !strings.Contains(grant, "/"):
		return u.Path
	case u.Path == "/request", u.Path == "/oauth/authorize":
		return u.Path + "?" + u.RawQuery
	}
	return home
}
