package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/policy"
	httpkind "github.com/daypass/daypass/internal/resource/http"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// BenchmarkBacktest replays 10,000 recorded requests, or as many as
// DAYPASS_REQUESTS says.
func BenchmarkBacktest(b *testing.B) {
	n := 10_000
	if s := os.Getenv("DAYPASS_REQUESTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	ctx, kinds := context.Background(), []policy.Kind{httpkind.Kind{}}
	store, err := sqlite.Open(ctx, b.TempDir()+"/data", sqlstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	cat, err := policy.Parse([]byte(base), kinds)
	if err != nil {
		b.Fatal(err)
	}
	res, _ := cat.Resource("orders")
	now := time.Now().UTC().Truncate(time.Millisecond)
	for from := 0; from < n; from += 5000 {
		err := store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error {
			for i := from; i < min(n, from+5000); i++ {
				if err := putRecorded(tx, cat, res, i, now.Add(-time.Duration(i)*time.Second)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		out, err := broker.Backtest(ctx, store, cat, broker.Replaying{Since: now.AddDate(-1, 0, 0), Until: now})
		if err != nil || out.Replayed != n || out.Same != n {
			b.Fatalf("%v, %+v", err, out)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

func putRecorded(tx *sqlstore.Tx, cat *policy.Catalog, res *policy.Resource, i int, at time.Time) error {
	digest := fmt.Sprintf("sha256:%064x", i)
	in := policy.Input{
		Principal: "user:ana", Groups: cat.Groups("user:ana"), Resource: res.ID, Role: "read", Scope: res.Roles[0].Scope.JSON(),
		Duration: 5 * time.Minute, StartsAt: at, Now: at, Client: "api",
	}
	r := &access.Request{ID: fmt.Sprintf("req_%026d", i), State: access.Approved, CreatedAt: at, Content: access.Content{
		Requester: in.Principal, Resource: res.ID, Kind: "http", Role: in.Role, Scope: in.Scope, Duration: in.Duration, ReasonDigest: digest, Terms: cat.Evaluate(in).Terms,
	}}
	if err := tx.PutText(digest, [16]byte{}, "because", in.Principal); err != nil {
		return err
	}
	if err := tx.PutRequest(r); err != nil {
		return err
	}
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return tx.PutInput(r.ID, raw)
}
