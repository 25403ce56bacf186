package broker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// lately is how many of the grants that ended last a start puts back into the
// index, so that a denial can still say when.
const lately = 1000

// loadLive fills the index with the grants that may give access, and with
// those that ended last. Nobody else writes yet, so that all that it reads, by
// several connections, is of one state.
func (b *Broker) loadLive(ctx context.Context) error {
	var ended []*access.Request
	if err := b.cfg.Store.View(ctx, func(tx *sqlstore.Tx) error {
		grants, credentials, err := tx.CountLive()
		if err != nil {
			return err
		}
		b.cfg.Index.Expect(grants, credentials)
		ended, err = endedLately(tx)
		return err
	}); err != nil {
		return err
	}
	for _, r := range ended {
		b.cfg.Index.Put(b.liveGrant(r), r.Grant.ExpiresAt)
	}
	if err := b.inHalves(ctx, b.loadGrants); err != nil {
		return err
	}
	// After all grants: those of other grants, that have ended, are dropped.
	if err := b.inHalves(ctx, b.loadCredentials); err != nil {
		return err
	}
	for _, r := range ended {
		b.buryGrant(r.Grant)
	}
	return b.cfg.Store.View(ctx, b.endSwept)
}

// inHalves reads two halves at once.
func (b *Broker) inHalves(ctx context.Context, read func(*sqlstore.Tx, sqlstore.Part) error) error {
	other := make(chan error, 1)
	go func() {
		other <- b.cfg.Store.View(ctx, func(tx *sqlstore.Tx) error { return read(tx, sqlstore.OtherHalf) })
	}()
	err := b.cfg.Store.View(ctx, func(tx *sqlstore.Tx) error { return read(tx, sqlstore.OneHalf) })
	return errors.Join(err, <-other)
}

func (b *Broker) loadGrants(tx *sqlstore.Tx, part sqlstore.Part) error {
	share, scopes := names{}, map[string]json.RawMessage{}
	return tx.EachActiveGrant(part, func(g *sqlstore.ActiveGrant) error {
		scope, ok := scopes[string(g.Scope)]
		if !ok {
			scope = bytes.Clone(g.Scope)
			scopes[string(scope)] = scope
		}
		principal := share.of(g.Requester)
		b.cfg.Index.Put(live.Grant{
			ID: string(g.Grant), Request: string(g.Request), Principal: principal, OnBehalfOf: b.owner(principal), Resource: share.of(g.Resource),
			Incarnation: share.of(g.Incarnation), Kind: share.of(g.Kind), Scope: scope, StartsAt: g.StartsAt,
		}, g.ExpiresAt)
		return nil
	})
}

func (b *Broker) loadCredentials(tx *sqlstore.Tx, part sqlstore.Part) error {
	share := names{}
	return tx.EachCredential(part, func(c *sqlstore.StoredCredential) error {
		b.cfg.Index.PutCredential(live.Credential{
			Hash: live.Hash(c.Hash), ID: string(c.ID), Grant: string(c.Grant), Kind: share.of(c.Kind), Host: share.of(c.Host), IssuedAt: c.IssuedAt,
		})
		return nil
	})
}

// endedLately are the grants that ended last, the oldest first. It asks for
// each state by itself: then the index gives them in their order, and a start
// does not read all that ever ended.
func endedLately(tx *sqlstore.Tx) ([]*access.Request, error) {
	var all []*access.Request
	for _, state := range []access.GrantState{access.Ended, access.Ending} {
		some, err := tx.Requests(sqlstore.RequestFilter{GrantStates: []access.GrantState{state}, Limit: lately})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(x, y *access.Request) int {
		return cmp.Or(x.CreatedAt.Compare(y.CreatedAt), cmp.Compare(x.ID, y.ID))
	})
	return all[max(0, len(all)-lately):], nil
}

// names makes one string of many equal ones.
type names map[string]string

func (n names) of(b []byte) string {
	if s, ok := n[string(b)]; ok {
		return s
	}
	s := string(b)
	n[s] = s
	return s
}
