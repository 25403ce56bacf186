//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/live"
)

// checking measures a check inside the process: a token's form and hash, and
// what the index says of it.
func (b *bench) checking(_ context.Context) error {
	for _, n := range b.scale.grants {
		index, tokens := manyLive(n)
		result := testing.Benchmark(func(t *testing.B) {
			t.ReportAllocs()
			for i := 0; t.Loop(); i++ {
				hash, err := credential.ParseToken(credential.GrantToken, tokens[i%len(tokens)])
				if err != nil || index.Check(live.Hash(hash)).State != live.Live {
					t.Fatal("a live token is not live")
				}
			}
		})
		index.Close()
		if result.N == 0 {
			return fmt.Errorf("the check of one of %d grants failed", n)
		}
		took := time.Duration(result.NsPerOp())
		b.report.check(b.out, fmt.Sprintf("check in the process, %d live grants", n), "≤ 1 µs", fmt.Sprintf("%d ns, %d allocations", result.NsPerOp(), result.AllocsPerOp()),
			took <= time.Microsecond && result.AllocsPerOp() == 0, "the SHA-256 of the token and misses of the processor's caches")
	}
	return nil
}

// manyLive is an index of n live grants and some of their tokens.
func manyLive(n int) (*live.Index, []string) {
	index := live.New(time.Now)
	starts, ends := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	var tokens []string
	for i := range n {
		secret, hash := credential.NewToken(credential.GrantToken)
		id := credential.NewID("grt")
		index.Put(live.Grant{
			ID: id, Request: credential.NewID("req"), Principal: fmt.Sprintf("user:u%d", i%principals), Resource: fmt.Sprintf("res-%d", i%resources),
			Incarnation: fmt.Sprintf("inc-%d", i%resources), Kind: "http", Scope: json.RawMessage(`{"methods":["GET"],"paths":["/v1/**"]}`), StartsAt: starts,
		}, ends)
		index.PutCredential(live.Credential{Hash: live.Hash(hash), ID: credential.NewID("cred"), Grant: id, Kind: live.KindToken, IssuedAt: starts})
		if i%max(1, n/samples) == 0 {
			tokens = append(tokens, secret.Reveal())
		}
	}
	return index, tokens
}
