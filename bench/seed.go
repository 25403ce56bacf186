//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

const (
	// seedBatch is how many grants are written in one commit, their entries as
	// one leaf of the record.
	seedBatch = 10_000
	// samples is how many of the grants' tokens are known to the bench.
	samples = 4096
	// seedLife is how long seeded grants live. A cached store is used while
	// they have a day left.
	seedLife = 60 * 24 * time.Hour
)

// seeded is a folder with n live grants, each with its token. It is made once
// and kept, for the grants take a while; what uses it must not change it:
// see copyOf.
func (b *bench) seeded(ctx context.Context, n int) (*world, error) {
	dir := filepath.Join(b.cache, fmt.Sprintf("seed-%d-%s", n, seedVersion))
	if w, err := openWorld(dir); err == nil {
		if made, err := os.ReadFile(w.path("ends")); err == nil {
			if end, err := time.Parse(time.RFC3339, string(made)); err == nil && time.Until(end) > 24*time.Hour {
				return w, w.upgrade(ctx)
			}
		}
	}
	// Of a form that is not used any more, or half done.
	old, _ := filepath.Glob(filepath.Join(b.cache, fmt.Sprintf("seed-%d-*", n)))
	for _, dir := range old {
		_ = os.RemoveAll(dir)
	}
	began := time.Now()
	w, err := b.seed(ctx, dir, n, seedLife)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("seeding %d grants: %w", n, err), os.RemoveAll(dir))
	}
	fmt.Fprintf(b.out, "  seeded %d grants in %s\n", n, time.Since(began).Round(time.Millisecond))
	return w, nil
}

// seedVersion names the form of what is put there.
const seedVersion = "2"

func (b *bench) seed(ctx context.Context, dir string, n int, life time.Duration) (*world, error) {
	w, err := newWorld(dir, "http://127.0.0.1:9", principals, resources)
	if err != nil {
		return nil, err
	}
	// A first start makes the keys and applies the catalog.
	s, err := b.start(ctx, w, b.binary)
	if err != nil {
		return nil, err
	}
	s.stop()
	sign, err := headSigner(w.path("data"))
	if err != nil {
		return nil, err
	}
	store, err := sqlite.Open(ctx, w.path("data"), sqlstore.Options{SignHead: sign})
	if err != nil {
		return nil, err
	}
	f, err := newSeeder(ctx, w, store, n, life)
	for i := 0; err == nil && i < n; i += seedBatch {
		err = f.write(ctx, store, i, min(n, i+seedBatch))
	}
	if err = errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	// Last: without it the folder is made again.
	return w, errors.Join(w.write("tokens.txt", []byte(strings.Join(f.tokens, "\n")+"\n")), w.write("ends", []byte(f.ends.Format(time.RFC3339))))
}

// headSigner signs with the key of a data folder.
func headSigner(data string) (func(audit.Head, [32]byte, time.Time) ([]byte, error), error) {
	content, err := os.ReadFile(filepath.Join(data, "keys", "audit.skey"))
	if err != nil {
		return nil, err
	}
	skey, _, _ := bytes.Cut(content, []byte("\n"))
	signer, err := audit.ParseSigner(string(skey))
	if err != nil {
		return nil, err
	}
	return func(h audit.Head, root [32]byte, at time.Time) ([]byte, error) {
		return audit.SignCheckpoint(signer.Name(), h, root, signer, at)
	}, nil
}

// seeder makes requests as the broker would: policy decides, the domain makes
// the grant, and every change has its entry.
type seeder struct {
	catalog *policy.Catalog
	stored  sqlstore.Catalog
	terms   []access.Terms // by resource
	inputs  []policy.Input
	now     time.Time
	life    time.Duration
	ends    time.Time
	every   int // of so many grants the token is known
	tokens  []string
}

func newSeeder(ctx context.Context, w *world, store *sqlite.Store, n int, life time.Duration) (*seeder, error) {
	f := &seeder{now: time.Now().UTC().Truncate(time.Second), every: max(1, n/samples)}
	f.life, f.ends = life, f.now.Add(life)
	if err := store.View(ctx, func(tx *sqlstore.Tx) error {
		stored, err := tx.Catalog()
		if err == nil {
			f.stored = *stored
		}
		return err
	}); err != nil {
		return nil, err
	}
	var err error
	if f.catalog, err = policy.Parse(f.stored.Source, daemon.PolicyKinds()); err != nil {
		return nil, err
	}
	for i := range resources {
		id := fmt.Sprintf("res-%d", i)
		res, ok := f.catalog.Resource(id)
		if !ok {
			return nil, fmt.Errorf("there is no %s", id)
		}
		in := policy.Input{Principal: "user:u0", Groups: f.catalog.Groups("user:u0"), Resource: id, Duration: life, StartsAt: f.now, Now: f.now, Client: "bench"}
		for _, role := range res.Roles {
			if role.Name == "read" {
				in.Role, in.Scope = role.Name, role.Scope.JSON()
			}
		}
		d := f.catalog.Evaluate(in)
		if !d.Terms.Auto {
			return nil, fmt.Errorf("%s is not approved by policy: %s", id, d.Explanation)
		}
		d.Terms.ApproveWithin = 24 * time.Hour
		f.terms, f.inputs = append(f.terms, d.Terms), append(f.inputs, in)
	}
	return f, nil
}

// write writes the grants from one number up to another in one commit.
func (f *seeder) write(ctx context.Context, store *sqlite.Store, from, to int) error {
	known := len(f.tokens)
	return store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error {
		f.tokens = f.tokens[:known]
		var records []sqlstore.Record
		for i := from; i < to; i++ {
			r, entries, err := f.one(tx, i)
			if err != nil {
				return fmt.Errorf("grant %d: %w", i, err)
			}
			for _, e := range entries {
				records = append(records, sqlstore.Record{Entry: e, Principal: r.Content.Requester})
			}
		}
		return tx.AppendBatch(records)
	})
}

func (f *seeder) one(tx *sqlstore.Tx, i int) (*access.Request, []*audit.Entry, error) {
	n := i % resources
	who, in := fmt.Sprintf("user:u%d", i%principals), f.inputs[n]
	in.Principal = who
	content := access.Content{
		Requester: who, Resource: in.Resource, Incarnation: f.stored.Incarnations[in.Resource], Kind: "http",
		Role: in.Role, Scope: in.Scope, Duration: f.life, Terms: f.terms[n],
	}
	facts := access.Facts{Now: f.now, Directory: f.catalog, Current: &access.Verdict{Terms: content.Terms}}
	events, err := access.Decide(nil, access.Submit{ID: ascending("req", i), GrantID: ascending("grt", i), Content: content}, facts)
	if err != nil {
		return nil, nil, err
	}
	r := access.Apply(nil, events...)
	if err := tx.PutRequest(r); err != nil {
		return nil, nil, err
	}
	input, err := json.Marshal(in)
	if err != nil {
		return nil, nil, err
	}
	if err := tx.PutInput(r.ID, input); err != nil {
		return nil, nil, err
	}
	c := sqlstore.Credential{ID: ascending("cred", i), Grant: r.Grant.ID, Request: r.ID, Kind: "token", IssuedAt: f.now, ExpiresAt: r.Grant.ExpiresAt}
	if i%f.every == 0 && len(f.tokens) < samples {
		secret, hash := credential.NewToken(credential.GrantToken)
		f.tokens, c.Hash = append(f.tokens, secret.Reveal()), hash
	} else {
		_, _ = rand.Read(c.Hash[8:])
		binary.BigEndian.PutUint64(c.Hash[:], uint64(i)<<40)
	}
	if err := tx.PutCredential(c); err != nil {
		return nil, nil, err
	}
	entry := func(n int, kind, actor string, details map[string]any) *audit.Entry {
		details["principal"] = who
		return &audit.Entry{
			ID: ascending("evt", 2*i+n), Time: f.now, Type: kind, Actor: actor, Request: r.ID, Grant: r.Grant.ID, Resource: content.Resource, Scope: content.Scope,
			Outcome: audit.Allowed, Source: audit.Source{Channel: "bench"}, Details: details,
		}
	}
	return r, []*audit.Entry{
		entry(0, audit.RequestApproved, "system:policy", map[string]any{"rule": content.Terms.Rule, "content_hash": r.ContentHash}),
		entry(1, audit.CredentialIssued, who, map[string]any{"format": "token", "jti": c.ID, "expires_at": api.TimeOf(c.ExpiresAt).String()}),
	}, nil
}

var digits = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ascending is a valid ID, in the order of i, as the server's own are in the
// order of their making.
func ascending(prefix string, i int) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], uint64(i)<<24)
	_, _ = rand.Read(raw[8:])
	return prefix + "_" + digits.EncodeToString(raw[:])
}

// copyOf copies a seeded folder to the working folder of this run.
func (b *bench) copyOf(ctx context.Context, w *world, name string) (*world, error) {
	to := filepath.Join(b.work, name)
	if err := command(ctx, "cp", "-a", "--reflink=auto", w.dir, to); err != nil {
		return nil, err
	}
	return openWorld(to)
}

// known are tokens of live grants.
func (w *world) known() ([]string, error) {
	content, err := os.ReadFile(w.path("tokens.txt"))
	return strings.Fields(string(content)), err
}

// remove deletes a copy.
func (w *world) remove() { _ = os.RemoveAll(w.dir) }

// upgrade brings the schema of a kept store up to date, so that no copy has to.
func (w *world) upgrade(ctx context.Context) error {
	sign, err := headSigner(w.path("data"))
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, w.path("data"), sqlstore.Options{SignHead: sign})
	if err != nil {
		return err
	}
	return store.Close()
}
