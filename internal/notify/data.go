package notify

import (
	"time"

	"github.com/daypass/daypass/api"
)

// data is the message for programs. It holds no address of a person, no secret,
// and users' texts only as neutralised as everywhere else: a receiver is apt to
// print them.
func (f Facts) data(m Message, summary string) map[string]any {
	d := map[string]any{"summary": summary + ".", "command": m.Command}
	put := func(key, value string, limit int) {
		if value = Plain(value, limit); value != "" {
			d[key] = value
		}
	}
	at := func(key string, t time.Time) {
		if !t.IsZero() {
			d[key] = api.TimeOf(t).String()
		}
	}
	put("request", f.Request, maxName)
	put("grant", f.Grant, maxName)
	put("requester", f.Requester, maxName)
	put("job", f.Job, maxReason)
	put("resource", f.Resource, maxName)
	put("role", f.Role, maxName)
	put("scope", f.Scope, maxReason)
	put("reason", f.Reason, maxReason)
	put("ticket", f.Ticket, maxName)
	put("extends", f.Extends, maxName)
	put("by", f.By, maxName)
	put("comment", f.Comment, maxReason)
	put("outcome", f.Outcome, maxReason)
	put("ended_reason", f.EndedReason, maxName)
	if f.Duration > 0 {
		d["duration"] = api.FormatDuration(f.Duration)
	}
	at("approve_by", f.ApproveBy)
	at("starts_at", f.StartsAt)
	at("expires_at", f.ExpiresAt)
	if m.Link != "" {
		d["link"] = m.Link
	}
	recipients := make([]string, 0, len(m.To))
	for _, r := range m.To {
		recipients = append(recipients, Plain(r.Principal, maxName))
	}
	d["recipients"] = recipients
	return d
}
