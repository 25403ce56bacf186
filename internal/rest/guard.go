package rest

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// guard is what every call passes first, whatever it is: headers, deadlines,
// the recovery from a panic, and the refusal of calls that come by way of a
// foreign host name or site.
func (s *server) guard(next http.Handler) http.Handler {
	hosts := s.hosts()
	sites := http.NewCrossOriginProtection()
	if origin := origin(s.public); origin != "" {
		_ = sites.AddTrustedOrigin(origin) // a bad one trusts nobody more
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w, conn: connOf(r)}
		defer func() { s.metrics.observe(r, rec.status, time.Since(start)) }()
		defer s.recover(rec, r)
		rec.extend(start) // also for a 100 Continue; the last call's has passed
		if r.Body != http.NoBody {
			_ = setReadDeadline(w, start.Add(bodyTime))
		}
		if s.forwarded(r) {
			secureFace(rec.Header(), r)
			s.Forward.ServeHTTP(rec, r)
			return
		}
		next := next
		if face := s.face(r.URL.Path); face != nil {
			next = face
			secureFace(rec.Header(), r)
		} else {
			secure(rec.Header(), r)
		}
		switch {
		case !hosts(r) && !isProbe(r):
			s.turnAway(rec, r, &fault{status: http.StatusMisdirectedRequest, code: "misdirected", detail: "Use the host of public_url."})
		case !clean(r.URL):
			s.turnAway(rec, r, &fault{status: http.StatusNotFound, code: "not_found", detail: "There is nothing at this path."})
		case crossSite(sites, s.public, r):
			s.turnAway(rec, r, &fault{status: http.StatusForbidden, code: "cross_site", detail: "A page of another site may not do this."})
		default:
			next.ServeHTTP(rec, r)
		}
	})
}

// recover answers 500 for a panic, with a reference that the log has too. A
// handler that aborted on purpose stays aborted.
func (s *server) recover(w *recorder, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	onPurpose := p == any(http.ErrAbortHandler)
	if onPurpose || w.status != 0 {
		if !onPurpose {
			s.log.Error("panic after the answer began", "route", r.Pattern, "panic", p, "stack", string(debug.Stack()))
		}
		panic(http.ErrAbortHandler)
	}
	err := &fault{status: http.StatusInternalServerError, code: "internal", detail: "Something failed inside. Reference " + incident() + " finds it in the server's log."}
	s.log.Error("panic", "method", r.Method, "route", r.Pattern, "detail", err.detail, "panic", p, "stack", string(debug.Stack()))
	s.turnAway(w, r, err)
}

// turnAway writes a refusal in the language of the path: RFC 6749 section 5.2
// under /oauth/, a problem document elsewhere.
func (s *server) turnAway(w http.ResponseWriter, r *http.Request, err *fault) {
	if !strings.HasPrefix(r.URL.Path, "/oauth/") {
		s.fail(w, r, err)
		return
	}
	code := "invalid_request"
	if err.status >= 500 {
		code = "server_error"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(err.status)
	body, _ := encode(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, err.detail})
	_, _ = w.Write(body)
}

// isProbe reports whether r is a health check; those come by address.
func isProbe(r *http.Request) bool {
	return r.Method == http.MethodGet && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz")
}

// hosts returns what Host headers are ours: public_url's, the addresses
// listened on, and the names of loopback where that is listened on. A name that
// somebody else pointed at us is none of them (DNS rebinding). Ports are not
// compared: a forwarded port changes them.
func (s *server) hosts() func(*http.Request) bool {
	ours := map[string]bool{}
	if u, err := url.Parse(s.public); err == nil && u.Hostname() != "" {
		ours[strings.ToLower(u.Hostname())] = true
	}
	for _, listen := range s.Listen {
		host, _, err := net.SplitHostPort(listen)
		if err != nil {
			continue
		}
		ours[strings.ToLower(host)] = true
		if a, err := netip.ParseAddr(host); host == "localhost" || err == nil && a.IsLoopback() {
			ours["localhost"], ours["127.0.0.1"], ours["::1"] = true, true, true
		}
	}
	delete(ours, "")
	return func(r *http.Request) bool {
		name := hostname(r.Host)
		return ours[strings.ToLower(strings.TrimSuffix(name, "."))]
	}
}

// hostname is a Host header without its port, and IPv6 brackets.
func hostname(host string) string {
	u := url.URL{Host: host}
	if name := u.Hostname(); name != "" {
		return name
	}
	return host
}

// clean reports whether a path is written in the one form that the routes have:
// no empty or dot segments, no encoded slash, no control characters.
func clean(u *url.URL) bool {
	p := u.Path
	if p == "" || p[0] != '/' || strings.Contains(u.EscapedPath(), "%2F") || strings.Contains(u.EscapedPath(), "%2f") {
		return false
	}
	if !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl) {
		return false
	}
	tidy := path.Clean(p)
	return p == tidy || p == tidy+"/"
}

// crossSite reports whether a browser sent a mutation from another site
// (ATTACKS WEB-02). Bearer tokens are not sent by browsers on their own; this
// holds even so.
func crossSite(sites *http.CrossOriginProtection, public string, r *http.Request) bool {
	if sites.Check(r) != nil {
		return true
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	from := r.Header.Values("Origin")
	if len(from) == 0 {
		return false
	}
	u, err := url.Parse(from[0])
	return len(from) > 1 || err != nil || u.Host != r.Host && !strings.EqualFold(from[0], origin(public))
}

// origin is the origin of a URL, "" when it has none.
func origin(public string) string {
	u, err := url.Parse(public)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// writeTime is how long one piece of an answer may take to leave.
const writeTime = 15 * time.Second

// recorder remembers the status of an answer and gives every write a deadline
// of its own, so that a peer that does not read ends, and a stream does not.
type recorder struct {
	http.ResponseWriter
	conn     *cappedConn // of an HTTP/1 request; nil when not known
	status   int
	deadline time.Time
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.extend(time.Now())
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.extend(time.Now())
	return w.ResponseWriter.Write(p)
}

// extend moves the write deadline, at most once a second. The deadline of an
// HTTP/1 connection outlives a call, so that the next one need not set it
// again; one of HTTP/2 belongs to its stream.
func (w *recorder) extend(now time.Time) {
	if now.Sub(w.deadline) <= time.Second {
		return
	}
	w.deadline = now
	if w.conn != nil {
		if last := w.conn.writing.Load(); last != 0 && now.UnixMilli()-last <= 1000 && now.UnixMilli() >= last {
			return
		}
		w.conn.writing.Store(now.UnixMilli())
	}
	_ = setWriteDeadline(w.ResponseWriter, now.Add(writeTime))
}

// deadliner is what net/http's own response writers are.
type deadliner interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

func setReadDeadline(w http.ResponseWriter, at time.Time) error {
	if d, ok := w.(deadliner); ok {
		return d.SetReadDeadline(at)
	}
	return http.NewResponseController(w).SetReadDeadline(at)
}

func setWriteDeadline(w http.ResponseWriter, at time.Time) error {
	if d, ok := w.(deadliner); ok {
		return d.SetWriteDeadline(at)
	}
	return http.NewResponseController(w).SetWriteDeadline(at)
}
