// Package chaos is what the crash runs are made of: a cast of people and a
// catalog, a server process that can be killed and started again, clients that
// keep an exact history of what they sent and were told, a guarded service that
// keeps the bytes that reached it, and the checker, which looks at all of that
// and at the store and says what does not hold.
//
// It refuses to know how Daypass decides: the checker has its own idea of who
// may vote and when access is over. It shares the decoding of rows and entries
// with the server, and the verification of the record, which is under test by
// others.
package chaos

import (
	"encoding/json"
	"strings"
	"sync"
	"time"
)

// Call is one call of the API as the client saw it, in true time.
type Call struct {
	Who, Method, Path string
	Key               string // Idempotency-Key
	Body              []byte
	Start, End        time.Time
	Status            int // 0: no answer came, so that nobody knows
	Answer            []byte
	Again             bool // a repetition after a restart
}

// Acknowledged reports whether the server said that it did it.
func (c Call) Acknowledged() bool { return c.Status >= 200 && c.Status < 300 }

// Is reports whether c is a call of this route, whose {id} is what an asterisk
// stands for.
func (c Call) Is(method, pattern string) bool {
	if c.Method != method {
		return false
	}
	before, after, some := strings.Cut(pattern, "*")
	if !some {
		return c.Path == pattern
	}
	return len(c.Path) > len(before)+len(after) && strings.HasPrefix(c.Path, before) && strings.HasSuffix(c.Path, after) && !strings.Contains(c.Path[len(before):len(c.Path)-len(after)], "/")
}

// ID is the path's third part: the request, grant or token it is about.
func (c Call) ID() string {
	parts := strings.Split(c.Path, "/")
	if len(parts) < 4 {
		return ""
	}
	return parts[3]
}

// Into decodes the answer.
func (c Call) Into(v any) bool { return json.Unmarshal(c.Answer, v) == nil }

// Use is one use of a credential at the gateway, or one introspection of it.
type Use struct {
	Secret, Grant string
	Start, End    time.Time // End: the last byte that came
	Status        int       // 0: no answer
	Introspection bool
	Stream        bool
}

// Arrival is one request, or one later write, at the guarded service.
type Arrival struct {
	Grant string // from the path
	At    time.Time
}

// History is what the clients and the guarded service saw. It is safe for
// concurrent use.
type History struct {
	mu       sync.Mutex
	calls    []Call
	uses     []Use
	arrivals []Arrival
	notices  map[string]int // request → messages about it that were taken
	problems []string
}

// NewHistory returns an empty one.
func NewHistory() *History { return &History{notices: map[string]int{}} }

// AddCall notes a call that is over.
func (h *History) AddCall(c Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, c)
}

// AddUse notes a use that is over.
func (h *History) AddUse(u Use) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uses = append(h.uses, u)
}

// AddArrival notes what reached the guarded service.
func (h *History) AddArrival(a Arrival) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.arrivals = append(h.arrivals, a)
}

// AddNotice notes a message about a request.
func (h *History) AddNotice(request string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notices[request]++
}

// AddProblem notes what the driver itself found wrong.
func (h *History) AddProblem(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problems = append(h.problems, what)
}

// Calls returns what was called so far.
func (h *History) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Call(nil), h.calls...)
}

// Uses returns what was used so far.
func (h *History) Uses() []Use {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Use(nil), h.uses...)
}

func (h *History) reached() []Arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Arrival(nil), h.arrivals...)
}

func (h *History) told(request string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.notices[request]
}
