package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/daypass/daypass/api"
)

// Event is one server-sent event: something happened to a request or a grant
// that the caller may see.
type Event struct {
	ID   string          // resumes after this event
	Type string          // "message" when the server named none
	Data json.RawMessage // as it came
}

// Decode returns what the event says.
func (e Event) Decode() (*api.StreamEvent, error) {
	var out api.StreamEvent
	if err := json.Unmarshal(e.Data, &out); err != nil {
		return nil, fmt.Errorf("reading event %s: %w", e.ID, err)
	}
	return &out, nil
}

// Events yields what happens from now on, or since the event whose ID is
// given. When the connection breaks it connects again and resumes after the
// last event it yielded, so that none is lost and none comes twice. It ends
// with an error: an answer that says no, or the end of ctx; and without one
// when the server says that there will be no more (204).
func (c *Client) Events(ctx context.Context, lastEventID string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		last, retry := lastEventID, time.Duration(0)
		for fails := 1; ; fails++ {
			k := reading("v1", "events")
			k.header = http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-store"}}
			if last != "" {
				k.header.Set("Last-Event-ID", last)
			}
			s, err := c.openStream(ctx, k)
			if err == nil {
				if s.noContent() {
					s.close()
					return
				}
				p := eventParser{last: last, retry: retry}
				got, stop := p.read(s, yield)
				s.close()
				if stop {
					return
				}
				last, retry = p.last, p.retry
				if got {
					fails = 0
				}
			}
			if ctx.Err() != nil {
				yield(Event{}, ctx.Err())
				return
			}
			if err != nil && !mayPass(err) {
				yield(Event{}, err)
				return
			}
			if c.sleep(ctx, max(retry, pause(max(fails, 1), err))) != nil {
				yield(Event{}, ctx.Err())
				return
			}
		}
	}
}

// eventParser interprets a stream as the HTML standard says (section 9.2.6),
// with one stricter rule: an ID counts only once its event is complete, so that
// an event cut off half-way comes again.
type eventParser struct {
	last  string
	retry time.Duration

	id   string
	kind string
	data []byte
	any  bool
}

// read yields events until the stream breaks. got says that there was one,
// stop that the consumer wants no more.
func (p *eventParser) read(s *stream, yield func(Event, error) bool) (got, stop bool) {
	p.id = p.last
	first := true
	for {
		line, err := s.next()
		if err != nil {
			return got, false // whatever broke it, the caller connects again
		}
		if first {
			line, first = bytes.TrimPrefix(line, []byte("\uFEFF")), false
		}
		if len(line) > 0 {
			p.field(line)
			continue
		}
		p.last = p.id
		if p.any {
			e := Event{ID: p.id, Type: p.kind, Data: bytes.TrimSuffix(p.data, []byte{'\n'})}
			if e.Type == "" {
				e.Type = "message"
			}
			got = true
			if !yield(e, nil) {
				return got, true
			}
		}
		p.kind, p.data, p.any = "", nil, false
	}
}

// field takes one line that is not empty.
func (p *eventParser) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "event":
		p.kind = string(value)
	case "data":
		// What is too long to be one of ours is cut; it will not parse as JSON.
		if len(p.data)+len(value) < maxResponse {
			p.data = append(append(p.data, value...), '\n')
		}
		p.any = true
	case "id":
		// It goes back in a header, where control bytes have no place.
		if !bytes.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			p.id = string(value)
		}
	case "retry":
		if ms, err := strconv.ParseUint(string(value), 10, 20); err == nil {
			p.retry = min(time.Duration(ms)*time.Millisecond, maxWait)
		}
	}
}
