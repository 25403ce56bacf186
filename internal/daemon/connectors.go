package daemon

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

// targetKeyFile is what everything in targets that must not be guessed is
// derived from. It is not in backups: what it protects is made anew.
const targetKeyFile = "target.key"

// reconcileEvery is how often targets are compared with what should be there.
const reconcileEvery = 5 * time.Minute

// connect makes the connectors of all kinds. They connect to nothing yet.
func (d *Daemon) connect() (map[string]resource.Connector, error) {
	out := map[string]resource.Connector{}
	for _, k := range Kinds() {
		c, ok := k.(resource.Connecting)
		if !ok {
			continue
		}
		secret, err := credential.LoadOrCreateFile(filepath.Join(d.cfg.Data, keysFolder), targetKeyFile, func() ([]byte, error) {
			b := make([]byte, 32)
			_, _ = rand.Read(b) // never fails (crypto/rand)
			return b, nil
		})
		if err != nil {
			return nil, fmt.Errorf("the key for targets: %w", err)
		}
		key := func(purpose string) []byte {
			derived, err := hkdf.Expand(sha256.New, secret, "daypass "+k.Name()+" "+purpose, 32)
			if err != nil {
				panic(err) // 32 bytes are never too many (RFC 5869 §2.3)
			}
			return derived
		}
		if out[k.Name()], err = c.Connector(resource.ConnectorDeps{Key: key, Log: d.log, Now: d.clock.Now}); err != nil {
			return nil, fmt.Errorf("the connector for %s: %w", k.Name(), err)
		}
	}
	return out, nil
}

func (d *Daemon) disconnect() {
	for _, c := range d.connectors {
		c.Close()
	}
}

// inspect looks into the target of a resource whose kind does so.
func (d *Daemon) inspect(ctx context.Context, r *policy.Resource, scope policy.Scope) (policy.Finding, error) {
	if i, ok := d.connectors[r.Kind.Name()].(resource.Inspector); ok {
		return i.Inspect(ctx, r, scope)
	}
	return policy.Finding{}, nil
}

// grant is a grant that is known, also one that has ended.
func (d *Daemon) grant(id string) *live.Grant {
	g, _ := d.index.Grant(id)
	return g
}

// found is what was found in the target when a request was submitted.
func (d *Daemon) found(ctx context.Context, request string) (json.RawMessage, error) {
	t, err := d.broker.Target(ctx, request)
	if err != nil {
		return nil, err
	}
	return t.Request.Content.Target, nil
}

// reconcile has connectors compare their targets with the grants that there
// are, at the start and from time to time.
func (d *Daemon) reconcile(ctx context.Context) {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for {
		for kind, c := range d.connectors {
			r, ok := c.(resource.Reconciler)
			if !ok {
				continue
			}
			var of []*policy.Resource
			for _, one := range d.broker.CatalogInForce().Resources() {
				if one.Kind.Name() == kind {
					of = append(of, one)
				}
			}
			found, err := r.Reconcile(ctx, of, d.broker.Stands)
			for _, sentence := range found {
				d.log.Warn("a target was not as it should be", "kind", kind, "what", sentence)
			}
			if err != nil && ctx.Err() == nil {
				d.log.Warn("a target could not be compared with what should be there", "kind", kind, "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
