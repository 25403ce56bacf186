package broker

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// inspected is what was seen in a target before the transaction that needs it:
// looking takes as long as the target does, and a commit must not.
type inspected struct {
	incarnation string
	scope       string // canonical
	finding     policy.Finding
	err         error
	looked      bool
}

// inspect looks into the target of a submission, for somebody who may ask for
// the resource at all: what is in it is not for others.
func (b *Broker) inspect(ctx context.Context, c identity.Caller, s Submission) inspected {
	if b.cfg.Inspect == nil {
		return inspected{looked: true}
	}
	st := b.state.Load()
	res, ok := st.catalog.Resource(s.Resource)
	if !ok || res.Disabled || !enabled(st.catalog, c.Principal) || !b.requestable(st.catalog, c, res) {
		return inspected{}
	}
	scope, err := scopeOf(res, s)
	if err != nil {
		return inspected{} // submit says so
	}
	out := inspected{incarnation: st.incarnations[res.ID], scope: string(scope.JSON()), looked: true}
	out.finding, out.err = b.cfg.Inspect(ctx, res, scope)
	if _, unfit := errors.AsType[*policy.Unfit](out.err); out.err != nil && !unfit {
		b.cfg.Log.Warn("a target could not be looked at", "resource", res.ID, "error", out.err)
	}
	return out
}

// fits returns what was found for scope on res. The error is for the caller.
func (i inspected) fits(res *policy.Resource, incarnation string, scope json.RawMessage) (json.RawMessage, error) {
	switch unfit, ok := errors.AsType[*policy.Unfit](i.err); {
	case ok:
		field := "body.scope"
		if unfit.Field != "" {
			field += "." + unfit.Field
		}
		return nil, invalid(field, "%s", unfit.Message)
	case i.err != nil:
		return nil, &Error{Kind: Unavailable, Code: "target_unavailable", Message: "What " + res.ID + " holds could not be looked at; try again in a moment. An admin finds the cause in the log."}
	case !i.looked, i.incarnation != "" && (i.incarnation != incarnation || i.scope != string(scope)):
		return nil, &Error{Kind: Unavailable, Code: "unavailable", Message: "The catalog changed at this very moment; try again."}
	}
	return i.finding.Target, nil
}

// unlooked stands for a target that need not be looked at again: an extension
// keeps what its grant was made for.
func unlooked(base *access.Request) inspected {
	return inspected{looked: true, finding: policy.Finding{Target: base.Content.Target}}
}

// Verifiers returns those of the tokens of a grant; nil when there are none.
func (b *Broker) Verifiers(ctx context.Context, grant string) ([]credential.Verifier, error) {
	var rows []sqlstore.Verifier
	err := b.view(ctx, func(tx *sqlstore.Tx) (err error) {
		rows, err = tx.Verifiers(grant)
		return err
	})
	out := make([]credential.Verifier, len(rows))
	for i, v := range rows {
		out[i] = credential.Verifier{Token: v.Hash, StoredKey: v.StoredKey, ServerKey: v.ServerKey}
	}
	return out, err
}

// Held is the newest grant of principal on resource, as it is now, that gives
// access; nil when there is none.
func (b *Broker) Held(principal, resource string) *live.Grant {
	incarnation := b.Incarnation(resource)
	return b.cfg.Index.Held(principal, resource, func(of string, _ json.RawMessage) bool { return of == incarnation })
}

// TargetOf is a request's grant and where a connector makes it real.
type TargetOf struct {
	Grant    *live.Grant
	Request  *access.Request
	Resource *policy.Resource // nil when no catalog is known that has it
}

// Target returns what a connector works on: the grant of a request, and its
// resource as the catalog in force has it, or the last one that did.
func (b *Broker) Target(ctx context.Context, request string) (TargetOf, error) {
	var out TargetOf
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		r, err := tx.Request(request)
		if err != nil {
			return err
		}
		if r.Grant == nil {
			return errors.New("request " + request + " has no grant")
		}
		g := b.liveGrant(r)
		out.Grant, out.Request = &g, r
		out.Resource, err = b.resourceOf(tx, r.Content.Resource, r.Content.Incarnation)
		return err
	})
	return out, err
}

func (b *Broker) resourceOf(tx *sqlstore.Tx, id, incarnation string) (*policy.Resource, error) {
	st := b.state.Load()
	cat := st.catalog
	if st.incarnations[id] != incarnation {
		row, err := tx.CatalogWith(id, incarnation)
		if errors.Is(err, sqlstore.ErrNotFound) {
			return nil, nil //nolint:nilnil // the contract of TargetOf
		}
		if err != nil {
			return nil, err
		}
		if cat = b.old.get(tx, b, row.Version); cat == nil {
			return nil, nil //nolint:nilnil // as above
		}
	}
	r, _ := cat.Resource(id)
	return r, nil
}

// Stands reports whether a grant may have something in its target: it is known,
// and not yet written down as ended.
func (b *Broker) Stands(ctx context.Context, grant string) (bool, error) {
	stands := false
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		r, err := tx.RequestOfGrant(grant)
		if errors.Is(err, sqlstore.ErrNotFound) {
			return nil
		}
		stands = err == nil && r.Grant != nil && r.Grant.State != access.Ended
		return err
	})
	return stands, err
}
