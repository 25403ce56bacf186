package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/daypass/daypass/api"
)

// AuditQuery selects audit entries; an empty field selects all. Without After
// the newest come first; with it those after that sequence number, ascending.
type AuditQuery struct {
	After     *int64
	Request   string
	Principal string
	Resource  string
	Type      string
	Page
}

func (q AuditQuery) values() url.Values {
	v := q.query()
	if q.After != nil {
		v.Set("after", strconv.FormatInt(*q.After, 10))
	}
	set(v, "request", q.Request)
	set(v, "principal", q.Principal)
	set(v, "resource", q.Resource)
	set(v, "type", q.Type)
	return v
}

// AuditEvents lists audit entries, for admins and auditors.
func (c *Client) AuditEvents(ctx context.Context, q AuditQuery) (*api.List[api.Event], error) {
	return list[api.Event](ctx, c, q.values(), "v1", "audit", "events")
}

// AuditLine is one entry of an export: decoded, and the line as it came.
type AuditLine struct {
	Event api.Event
	Raw   []byte // without the line end; valid until the next line is asked for
}

// ExportAudit yields all entries after a sequence number (0 for all), ascending
// and without a gap, each with the leaf that an offline check needs. It fetches
// page after page, so that an export of any length holds no more than a line.
func (c *Client) ExportAudit(ctx context.Context, after int64) iter.Seq2[AuditLine, error] {
	return func(yield func(AuditLine, error) bool) {
		for fails := 0; ; {
			from := after
			for line, err := range c.auditPage(ctx, after) {
				if err == nil && line.Event.Seq <= after {
					err = unusable{fmt.Errorf("entry %d came after entry %d: the export is out of order", line.Event.Seq, after)}
				}
				if err != nil {
					// Cut off half-way: go on after the last whole entry.
					if fails++; mayPass(err) && fails < c.attempts && c.sleep(ctx, pause(fails, err)) == nil {
						from = -1
						break
					}
					yield(AuditLine{}, err)
					return
				}
				if !yield(line, nil) {
					return
				}
				after, fails = line.Event.Seq, 0
			}
			if after == from {
				return
			}
		}
	}
}

// auditPage yields one answer in x-ndjson.
func (c *Client) auditPage(ctx context.Context, after int64) iter.Seq2[AuditLine, error] {
	return func(yield func(AuditLine, error) bool) {
		k := reading("v1", "audit", "events")
		k.query = url.Values{"after": {strconv.FormatInt(after, 10)}}
		k.header = http.Header{"Accept": {"application/x-ndjson"}}
		lines, err := c.openStream(ctx, k)
		if err != nil {
			yield(AuditLine{}, err)
			return
		}
		defer lines.close()
		for {
			raw, err := lines.next()
			if errors.Is(err, io.EOF) {
				return
			}
			line := AuditLine{Raw: raw}
			if err == nil && len(raw) == 0 {
				continue
			}
			if err == nil {
				if err = json.Unmarshal(raw, &line.Event); err != nil {
					err = unusable{err}
				}
			}
			if err != nil {
				yield(AuditLine{}, fmt.Errorf("reading the audit log after entry %d: %w", after, err))
				return
			}
			after = line.Event.Seq
			if !yield(line, nil) {
				return
			}
		}
	}
}

// AuditCheckpoint returns the signed head of the audit log. Keep it somewhere
// else: with it a later export can be checked for lost entries.
func (c *Client) AuditCheckpoint(ctx context.Context) (*api.Checkpoint, error) {
	return get[api.Checkpoint](ctx, c, "v1", "audit", "checkpoint")
}

// AuditProof returns the proof that an entry is in the log.
func (c *Client) AuditProof(ctx context.Context, event string) (*api.Proof, error) {
	k := reading("v1", "audit", "proof")
	k.query = url.Values{"event": {event}}
	return post[api.Proof](ctx, c, k, nil)
}
