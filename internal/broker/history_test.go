package broker_test

import (
	"context"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
)

// What people do to one live grant while others check it, each told with the
// instants between which it happened. There must be one order of all of it, in
// which each check says what was so at one instant of its own: whoever begins
// to check after a revocation was answered is denied.
//
// Invariant: A1, A5
// Attack: LIV-01
func TestChecksAreLinearizable(t *testing.T) {
	m, _ := interleaved(t)
	guard := gateway.New(m.index, m.Broker, m.effective.Now, false)
	rounds := 40
	if v := os.Getenv("DAYPASS_HISTORIES"); v != "" {
		var err error
		rounds, err = strconv.Atoi(v)
		must(t, err)
	}
	var allowed, denied int
	for round := range rounds {
		h := m.history(guard, uint64(round))
		for _, op := range h {
			if op.Input == opCheck {
				if op.Output == true {
					allowed++
				} else {
					denied++
				}
			}
		}
		if result := porcupine.CheckOperationsTimeout(grantModel, h, 10*time.Second); result != porcupine.Ok {
			for _, op := range h {
				t.Logf("%d–%d client %d: %v → %v", op.Call, op.Return, op.ClientId, op.Input, op.Output)
			}
			t.Fatalf("round %d is %s: no order of what happened explains what the checks said", round, result)
		}
	}
	if allowed < rounds || denied < rounds {
		t.Fatalf("%d checks allowed and %d denied: too few to tell", allowed, denied)
	}
	t.Logf("%d histories, %d checks allowed, %d denied", rounds, allowed, denied)
}

// What can happen to the grant of a history.
const (
	opCheck  = "check"
	opIssue  = "credential"
	opRevoke = "revoke"
	opExtend = "approve extension"
	opEnd    = "time comes to the end"
	opLater  = "time comes to the extended end"
)

// grantState is what is true of the grant at one instant.
type grantState struct {
	revoked, extended bool
	time              int // 0 before the end, 1 from it on, 2 from the extended end on
}

func (s grantState) live() bool { return !s.revoked && (s.time == 0 || s.time == 1 && s.extended) }

// grantModel is a grant: a register that checks read.
var grantModel = porcupine.Model{
	Init: func() any { return grantState{} },
	Step: func(state, input, output any) (bool, any) {
		s := state.(grantState)
		switch input {
		case opRevoke:
			s.revoked = true
		case opEnd:
			s.time = max(s.time, 1)
		case opLater:
			s.time = 2
		case opExtend:
			if output != s.live() {
				return false, s
			}
			s.extended = s.extended || s.live()
		default: // a check, or a credential that was or was not issued
			return output == s.live(), s
		}
		return true, s
	},
}

// history is one short history of a fresh grant.
func (m *machine) history(guard *gateway.Guard, seed uint64) []porcupine.Operation {
	ctx := context.Background()
	s := &scene{machine: m}
	m.reset()
	setGrant(s)
	incarnation := m.Incarnation("orders")
	var (
		mu    sync.Mutex
		all   []porcupine.Operation
		group sync.WaitGroup
		ready = make(chan struct{})
		began = time.Now()
	)
	told := func(client int, what string, f func() any) {
		call := int64(time.Since(began))
		out := f()
		op := porcupine.Operation{ClientId: client, Input: what, Call: call, Output: out, Return: int64(time.Since(began))}
		mu.Lock()
		all = append(all, op)
		mu.Unlock()
	}
	byIndex := func() any { return m.index.Check(s.check).State == live.Live }
	checks := []func() any{
		byIndex,
		func() any {
			in, err := m.Introspect(ctx, as("service:orders"), s.token)
			return err == nil && in.Active
		},
		func() any {
			session, err := guard.Open(ctx, gateway.Attempt{
				Secret: s.token, Prefix: credential.GrantToken, Resource: "orders", Incarnation: incarnation, Gateway: "http", IP: "192.0.2.1",
				Allow: func(*live.Grant) error { return nil },
			})
			if err == nil {
				session.Close(gateway.Stats{})
			}
			return err == nil
		},
	}
	client := 0
	start := func(f func(client int, r *rand.Rand)) {
		client++
		c, r := client, rand.New(rand.NewPCG(seed, uint64(client))) //nolint:gosec // a schedule, not a secret
		group.Go(func() {
			<-ready
			f(c, r)
		})
	}
	for _, check := range checks {
		start(func(c int, r *rand.Rand) {
			for range 8 {
				pause(r)
				told(c, opCheck, check)
			}
		})
	}
	acts := map[string]func() any{
		opRevoke: func() any {
			_, err := m.Revoke(ctx, as("user:ada"), s.grant, "")
			return err == nil
		},
		opExtend: func() any {
			_, err := m.Review(ctx, as("user:cy"), s.more.ID, broker.Vote{Decision: "approve", ContentHash: s.more.ContentHash}, nil)
			return err == nil
		},
		opIssue: func() any {
			_, err := m.Issue(ctx, as("user:ana"), s.grant, "token", nil)
			return err == nil
		},
		opEnd: func() any {
			m.reach(s.end)
			return true
		},
		opLater: func() any {
			m.reach(s.end.Add(10 * time.Minute))
			return true
		},
	}
	// Not all of them each time: a revocation makes the rest trivial.
	plans := [][]string{{opRevoke, opExtend, opIssue}, {opExtend, opEnd, opIssue}, {opEnd, opLater, opExtend}, {opRevoke, opIssue, opEnd}}
	for _, what := range plans[seed%uint64(len(plans))] {
		start(func(c int, r *rand.Rand) {
			pause(r)
			told(c, what, acts[what])
			told(c, opCheck, byIndex) // whoever was answered looks at once
		})
	}
	close(ready)
	group.Wait()
	told(0, opCheck, byIndex)
	return all
}

// pause lets others run for a while.
func pause(r *rand.Rand) {
	for range r.IntN(60) {
		runtime.Gosched()
	}
}
