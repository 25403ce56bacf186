package chaos

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Service is the guarded service and the receiver of notices. One serves many
// runs at once: what reaches it is sorted by the grant in the path and the
// request in the message.
type Service struct {
	server *httptest.Server

	mu     sync.Mutex
	owners map[string]*History // grant or request → whose it is
	waits  map[string][]func(*History)
	tried  map[string]bool
}

// NewService starts one.
func NewService() *Service {
	s := &Service{owners: map[string]*History{}, waits: map[string][]func(*History){}, tried: map[string]bool{}}
	s.server = httptest.NewServer(s)
	return s
}

// URL is its base.
func (s *Service) URL() string { return s.server.URL }

// Close ends it.
func (s *Service) Close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

// Own says in whose history a grant or a request is noted, and what was noted
// of it before anybody knew.
func (s *Service) Own(id string, h *History) {
	s.mu.Lock()
	early := s.waits[id]
	delete(s.waits, id)
	s.owners[id] = h
	s.mu.Unlock()
	for _, f := range early {
		f(h)
	}
}

func (s *Service) note(id string, f func(*History)) {
	s.mu.Lock()
	h := s.owners[id]
	if h == nil {
		s.waits[id] = append(s.waits[id], f)
	}
	s.mu.Unlock()
	if h != nil {
		f(h)
	}
}

var requestID = regexp.MustCompile(`req_[0-9A-Za-z]+`)

// ServeHTTP implements http.Handler: /g/GRANT/… answers at once,
// /s/GRANT streams, /hook takes notices.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	switch {
	case len(parts) > 2 && parts[1] == "g":
		s.arrived(parts[2])
		_, _ = fmt.Fprintf(w, "served %s", r.URL.Path) // a client that is gone is not ours to mind
	case len(parts) > 2 && parts[1] == "s":
		w.Header().Set("Content-Type", "text/event-stream")
		control := http.NewResponseController(w)
		for r.Context().Err() == nil {
			s.arrived(parts[2])
			if _, err := w.Write([]byte("data: line\n\n")); err != nil || control.Flush() != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	case r.URL.Path == "/hook":
		s.hook(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *Service) arrived(grant string) {
	at := time.Now()
	s.note(grant, func(h *History) { h.AddArrival(Arrival{Grant: grant, At: at}) })
}

// hook takes a notice; some are refused the first time, to be sent again.
func (s *Service) hook(w http.ResponseWriter, r *http.Request) {
	var message json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	id := requestID.FindString(string(message))
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(id)) // never fails
	s.mu.Lock()
	first := !s.tried[id]
	s.tried[id] = true
	s.mu.Unlock()
	if first && sum.Sum32()%4 == 0 {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	s.note(id, func(h *History) { h.AddNotice(id) })
	w.WriteHeader(http.StatusNoContent)
}
