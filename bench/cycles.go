//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// cycles measures how many times a second somebody asks for access, is granted
// it by policy and gets a credential: two calls and two durable commits, beside
// what the disk can commit.
func (b *bench) cycles(ctx context.Context) error {
	b.report.note(b.out, "Cycles: POST /v1/requests, approved by policy, then POST /v1/grants/{id}/credentials; both answers come after their fsync. Beside it, on the same file system: records of %d bytes written over in place, with fdatasync after each record or group.", record)
	w, err := newWorld(filepath.Join(b.work, "cycles"), "http://127.0.0.1:9", 100, few)
	if err != nil {
		return err
	}
	defer w.remove()
	s, err := b.start(ctx, w, b.binary)
	if err != nil {
		return err
	}
	defer s.stop()
	for _, clients := range b.scale.clients {
		var ours, disk, single []float64
		for range b.scale.rounds {
			for into, group := range map[*[]float64]int{&single: 1, &disk: clients} {
				rate, err := b.disk(group, b.scale.round/2)
				if err != nil {
					return err
				}
				*into = append(*into, rate)
			}
			rate, err := b.cycle(ctx, s, clients, "res-")
			if err != nil {
				return err
			}
			ours = append(ours, rate)
		}
		us, group, one := median(ours), median(disk), median(single)
		what := fmt.Sprintf("durable cycles, %d clients", clients)
		figure := fmt.Sprintf("%.3f (%.0f/s of %.0f/s; single %.0f/s)", us/group, us, group, one)
		if clients == 16 {
			b.report.check(b.out, what+", of the disk's commits in groups of 16", "≥ 0.1 (mark 0.2)", figure, us/group >= 0.1,
				"the processor: a cycle is two HTTP calls, two decisions, four entries with their hashes and signatures, some twenty SQL statements in one writer; clients and server share two cores")
		} else {
			b.report.tell(b.out, fmt.Sprintf("%s, of the disk's commits in groups of %d", what, clients), figure)
		}
	}
	return nil
}

// cycle runs so many clients for one round, on the resource of that name, or on
// several where it ends in a dash.
func (b *bench) cycle(ctx context.Context, s *server, clients int, resource string) (float64, error) {
	client := newClient()
	defer client.CloseIdleConnections()
	var group sync.WaitGroup
	var n atomic.Int64
	errs := make(chan error, clients)
	began := time.Now()
	for i := range clients {
		group.Go(func() {
			on := resource
			if strings.HasSuffix(on, "-") {
				on += strconv.Itoa(i % few)
			}
			for who := fmt.Sprintf("user:u%d", i%100); time.Since(began) < b.scale.round && ctx.Err() == nil; n.Add(1) {
				if _, _, err := s.grant(ctx, client, who, on, map[string]any{"duration": "1m"}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	close(errs)
	return float64(n.Load()) / took.Seconds(), errors.Join(<-errs, ctx.Err())
}

// grant asks for the role all and returns the grant and a token of it.
func (s *server) grant(ctx context.Context, client *http.Client, who, resource string, more map[string]any) (id, token string, err error) {
	body := map[string]any{"resource": resource, "role": "all", "reason": "bench"}
	for k, v := range more {
		body[k] = v
	}
	var request struct{ Grant struct{ ID string } }
	if err := s.create(ctx, client, who, "/v1/requests", body, &request); err != nil {
		return "", "", err
	}
	if _, scheduled := more["start_at"]; scheduled {
		return request.Grant.ID, "", nil
	}
	token, err = s.issue(ctx, client, who, request.Grant.ID)
	return request.Grant.ID, token, err
}

// issue makes a token of a grant.
func (s *server) issue(ctx context.Context, client *http.Client, who, grant string) (string, error) {
	var issued struct{ Secret string }
	err := s.create(ctx, client, who, "/v1/grants/"+grant+"/credentials", map[string]any{"format": "token"}, &issued)
	return issued.Secret, err
}

// create makes a call that must be answered with 201.
func (s *server) create(ctx context.Context, client *http.Client, who, path string, body, into any) error {
	a, err := s.call(ctx, client, who, "POST", path, body)
	if err != nil {
		return err
	}
	if a.status != http.StatusCreated {
		return fmt.Errorf("POST %s: %d %s", path, a.status, a.body)
	}
	return json.Unmarshal(a.body, into)
}
