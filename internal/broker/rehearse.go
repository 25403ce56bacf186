package broker

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/rehearse"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// ExplainCatalog says how somebody's request would be decided by the catalog
// in force. It tells of rights that are not the caller's: only admins, auditors
// and the owners of the resource are told, and it is on record.
func (b *Broker) ExplainCatalog(ctx context.Context, c identity.Caller, q api.ExplainRequest) (api.Explained, error) {
	w := b.who(c)
	if !w.auditor() && !w.owns(q.Resource) {
		return api.Explained{}, b.forbid(ctx, c, "explaining a decision", "Only admins, auditors and the owners of a resource explain decisions; of your own requests, dry_run tells the decision.")
	}
	at := b.now()
	if q.At != nil {
		at = q.At.Time
	}
	asked := rehearse.Question{
		Principal: q.Principal, Resource: q.Resource, Role: q.Role, Scope: q.Scope, Duration: q.Duration.Std(), Reason: q.Reason, Ticket: q.Ticket, At: at, Client: "api", Effective: q.Effective,
	}
	if asked.Effective == nil {
		asked.Effective = b.reaches(ctx, w.cat, asked)
	}
	out, err := rehearse.Explain(w.cat, asked)
	if err != nil {
		var bad *rehearse.QuestionError
		if errors.As(err, &bad) {
			return out, invalid("body."+bad.Field, "%s", sentence(bad.Message))
		}
		return out, err
	}
	return out, b.do(ctx, c, sqlstore.Normal, func(u *unit) error {
		e := entry(audit.CatalogExplained, "", map[string]any{"principal": out.Principal, "decision": out.Decision.Decision, "policy": w.cat.Version()})
		e.Resource, e.Scope, e.Outcome = out.Resource, out.Scope, audit.Allowed
		return u.append(e, out.Principal)
	})
}

// reaches looks up what a question's access would really reach; nil where that
// cannot be found out, which conditions that read it cannot bear.
func (b *Broker) reaches(ctx context.Context, cat *policy.Catalog, q rehearse.Question) json.RawMessage {
	in, err := rehearse.Input(cat, q)
	if err != nil || b.cfg.Inspect == nil {
		return nil // Explain says what is wrong
	}
	res, ok := cat.Resource(in.Resource)
	if !ok || res.Disabled {
		return nil
	}
	scope, err := res.Kind.ParseScope(in.Scope)
	if err != nil {
		return nil
	}
	finding, err := b.cfg.Inspect(ctx, res, scope)
	if err != nil {
		b.cfg.Log.Warn("a target could not be looked at", "resource", res.ID, "error", err)
		return nil
	}
	return policy.Effective(finding.Target)
}

// sentence is what a package below says, as the API writes it.
func sentence(s string) string {
	if s == "" {
		return s
	}
	if 'a' <= s[0] && s[0] <= 'z' {
		s = string(s[0]-'a'+'A') + s[1:]
	}
	return s + "."
}
