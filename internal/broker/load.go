package broker

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// lately is how many of the grants that ended last a start puts back into the
// index, so that a denial can still say when.
const lately = 1000

// loadLive fills the index with the grants that may give access, and with
// those that ended last.
func (b *Broker) loadLive(tx *sqlstore.Tx) error {
	ended, err := endedLately(tx)
	if err != nil {
		return err
	}
	for _, r := range ended {
		b.cfg.Index.Put(b.liveGrant(r), r.Grant.ExpiresAt)
	}
	share := names{}
	err = tx.EachActiveGrant(func(g *sqlstore.ActiveGrant) error {
		principal := share.of(g.Requester)
		b.cfg.Index.Put(live.Grant{
			ID: string(g.Grant), Request: string(g.Request), Principal: principal, OnBehalfOf: b.owner(principal), Resource: share.of(g.Resource),
			Incarnation: share.of(g.Incarnation), Kind: share.of(g.Kind), Scope: json.RawMessage(share.of(g.Scope)), StartsAt: g.StartsAt,
		}, g.ExpiresAt)
		return nil
	})
	if err != nil {
		return err
	}
	// Those of other grants that have ended are dropped by the index.
	err = tx.EachCredential(func(c *sqlstore.StoredCredential) error {
		b.cfg.Index.PutCredential(live.Credential{
			Hash: live.Hash(c.Hash), ID: string(c.ID), Grant: string(c.Grant), Kind: share.of(c.Kind), Host: share.of(c.Host), IssuedAt: c.IssuedAt,
		})
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range ended {
		b.buryGrant(r.Grant)
	}
	return nil
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
