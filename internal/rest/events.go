package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
)

type streams interface {
	Stream(ctx context.Context, c identity.Caller, after int64, send func(api.StreamEvent) error) error
}

const (
	heartbeat = 15 * time.Second
	reconnect = 2 * time.Second // what clients are told to wait before they come back
)

func (s *server) streamRoutes() {
	s.addRaw(Route{
		Method: "GET", Path: "/v1/events", ID: "streamEvents", Tag: "Events",
		Summary: "Follow requests and grants",
		Text: "Server-Sent Events about the requests that the caller may see, each with the request as it is. " +
			"`Last-Event-ID`, as a header or as `last_event_id`, resumes after that event; without it the stream begins now. " +
			"A comment every 15 s keeps the connection alive. The stream ends when the token does.",
		Query:   []param{seqParam("last_event_id", "For clients that cannot set the `Last-Event-ID` header.")},
		Answers: []int{200}, Waits: true, Media: "text/event-stream",
	}, reflect.TypeFor[api.StreamEvent](), s.stream)
}

// stream holds a goroutine for the broker and one for the heartbeat; both have
// ended when it returns.
func (s *server) stream(w http.ResponseWriter, c *call) error {
	after, err := lastEvent(c)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	out := &sse{w: w, rc: http.NewResponseController(w)}
	if out.write(fmt.Sprintf("retry: %d\n\n", reconnect.Milliseconds())) != nil {
		return nil //nolint:nilerr // nobody is there any more to be told
	}
	ctx, stop := s.until(c.ctx)
	var beats sync.WaitGroup
	beats.Go(func() { out.beat(ctx, stop) })
	err = s.Broker.Stream(ctx, c.caller, after, out.event)
	stop()
	beats.Wait()
	if err != nil && !errors.Is(err, context.Canceled) && out.failed == nil {
		if _, foreseen := problemOf(err); !foreseen {
			s.log.Error("event stream ended", "error", err)
		}
	}
	return nil
}

// lastEvent is after which event to begin, -1 for now.
func lastEvent(c *call) (int64, error) {
	given := c.r.Header.Values("Last-Event-ID")
	if len(given) == 0 || len(given) == 1 && given[0] == "" {
		if n, has := c.query.number("last_event_id"); has {
			return n, nil
		}
		return -1, nil
	}
	n, err := strconv.ParseUint(given[0], 10, 62)
	if err != nil || len(given) > 1 {
		return 0, malformed("header.Last-Event-ID", "Last-Event-ID is the id of an event of this stream.")
	}
	return int64(n), nil
}

// sse writes one event stream from two goroutines.
type sse struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu     sync.Mutex
	failed error
}

// beat writes a comment now and then, and ends the stream when one cannot be
// written.
func (o *sse) beat(ctx context.Context, stop func()) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if o.write(": still here\n\n") != nil {
				stop()
				return
			}
		}
	}
}

func (o *sse) event(e api.StreamEvent) error {
	data, err := encode(e) // one line, and a newline
	if err != nil {
		return err
	}
	kind := strings.NewReplacer("\r", "", "\n", "").Replace(e.Type)
	return o.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n", e.Seq, kind, data))
}

func (o *sse) write(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil {
		return o.failed
	}
	if _, o.failed = o.w.Write([]byte(text)); o.failed == nil {
		o.failed = o.rc.Flush()
	}
	return o.failed
}
