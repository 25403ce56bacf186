package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// The crash tests run this test binary again as a process of its own, which
// writes until it is killed and tells each acknowledgement on its standard
// output before it goes on.

const (
	childEnv      = "DAYPASS_TEST_STORE_CHILD"   // the data folder
	childKeyEnv   = "DAYPASS_TEST_STORE_KEY"     // signs the log's heads
	childRoundEnv = "DAYPASS_TEST_STORE_ROUND"   // makes its IDs its own
	childManyEnv  = "DAYPASS_TEST_STORE_CLIENTS" // clients at once

	childLimit = 50_000 // updates after which a child that nothing stops gives up

	exitFailed = 3 // the store failed and said so
	exitError  = 4 // an update failed in another way
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

func say(format string, args ...any) {
	if _, err := os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n"); err != nil {
		os.Exit(1) // nobody listens any more
	}
}

func child(dir string) int {
	opts := keys{skey: os.Getenv(childKeyEnv)}.options()
	began := time.Now()
	opts.Clock = func() clock.Mark { return clock.Mark{At: time.Now(), Boot: "boot", Up: time.Since(began)} }
	opts.Failed = func(err error) {
		say("failed %v", err)
		os.Exit(exitFailed)
	}
	s, err := Open(context.Background(), dir, opts)
	if err != nil {
		say("error %v", err)
		return exitError
	}
	say("ready")
	clients, err := strconv.Atoi(os.Getenv(childManyEnv))
	if err != nil {
		say("error %v", err)
		return exitError
	}
	var count atomic.Int64
	ended := make(chan error)
	for range clients {
		go func() {
			for {
				n := count.Add(1)
				if n > childLimit {
					ended <- errors.New("nothing stopped me")
					return
				}
				id := fmt.Sprintf("%s_%d", os.Getenv(childRoundEnv), n)
				bad := n%5 == 0
				err := s.Update(context.Background(), sqlstore.Normal, func(tx *sqlstore.Tx) error {
					if err := writeWhole(tx, id); err != nil || !bad {
						return err
					}
					return errBad
				})
				switch {
				case err == nil && !bad:
					say("ack %s", id)
				case !errors.Is(err, errBad):
					ended <- err
					return
				}
			}
		}()
	}
	err = <-ended
	if errors.Is(err, sqlstore.ErrFailed) {
		time.Sleep(10 * time.Second) // Failed ends the process
	}
	say("error %v", err)
	return exitError
}

var errBad = errors.New("an update that is meant to fail")

// writeWhole writes something of every kind under one ID.
func writeWhole(tx *sqlstore.Tx, id string) error {
	count, err := tx.Setting("count")
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(count) // "" on a new store
	now := time.Now().UTC().Truncate(time.Millisecond)
	var records []sqlstore.Record
	for _, part := range []string{"a", "b", "c", "d"} {
		r := entry(id + "_" + part)
		r.Entry.Request = "req_" + id
		records = append(records, r)
	}
	return errors.Join(
		tx.PutSetting("count", strconv.Itoa(n+1)),
		tx.PutSetting("id_"+id, "set"),
		tx.PutRequest(&access.Request{
			ID: "req_" + id, State: access.Approved, CreatedAt: now,
			Content: access.Content{Requester: "user:ana", Resource: "orders"},
			Grant:   &access.Grant{ID: "grt_" + id, State: access.Active, StartsAt: now, ExpiresAt: now.Add(time.Hour)},
		}),
		tx.PutCredential(sqlstore.Credential{Hash: hashOf(id), ID: id, Grant: "grt_" + id, Request: "req_" + id, Kind: "token", IssuedAt: now, ExpiresAt: now}),
		tx.Append(records[:2]...),
		tx.AppendBatch(records[2:]),
		tx.Enqueue(sqlstore.Job{Kind: id, RunAt: now}),
	)
}

func hashOf(id string) (h [32]byte) {
	copy(h[:], id)
	return h
}

// checkWhole checks that every ID that is there is there with all its parts,
// and nothing else is; that all of acked are; and that the log is whole. It
// returns the IDs.
func checkWhole(t *testing.T, s *Store, acked []string) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	if err := s.View(t.Context(), func(tx *sqlstore.Tx) error {
		requests, err := tx.Requests(sqlstore.RequestFilter{})
		if err != nil {
			return err
		}
		for _, r := range requests {
			id := strings.TrimPrefix(r.ID, "req_")
			there[id] = true
			if err := checkParts(tx, id); err != nil {
				return err
			}
		}
		for _, id := range acked {
			if !there[id] {
				return fmt.Errorf("%s was acknowledged and is gone", id)
			}
		}
		count, err := tx.Setting("count")
		if err != nil {
			return err
		}
		if n, _ := strconv.Atoi(count); n != len(there) {
			return fmt.Errorf("the counter says %d, %d are there", n, len(there))
		}
		credentials, err := tx.Credentials("")
		if err == nil && len(credentials) != len(there) {
			err = fmt.Errorf("%d credentials, %d requests", len(credentials), len(there))
		}
		if err != nil {
			return err
		}
		head, _, err := tx.Head()
		if err == nil && (head.Seq != 4*int64(len(there)) || head.Leaves != 3*int64(len(there))) {
			err = fmt.Errorf("the head is %+v, %d are there", head, len(there))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	checkJobs(t, s, there)
	return there
}

func checkParts(tx *sqlstore.Tx, id string) error {
	if n, err := strconv.Atoi(id[strings.LastIndex(id, "_")+1:]); err != nil || n%5 == 0 {
		return fmt.Errorf("%s was rolled back and is there: %w", id, err)
	}
	set, err := tx.Setting("id_" + id)
	if err != nil || set != "set" {
		return fmt.Errorf("%s has no setting: %w", id, err)
	}
	events, err := tx.Events(sqlstore.EventFilter{Request: "req_" + id})
	if err != nil || len(events) != 4 {
		return fmt.Errorf("%s has %d entries: %w", id, len(events), err)
	}
	credentials, err := tx.Credentials("grt_" + id)
	if err != nil || len(credentials) != 1 || credentials[0].Hash != hashOf(id) {
		return fmt.Errorf("%s has the credentials %v: %w", id, credentials, err)
	}
	return nil
}

// checkJobs looks at the jobs by claiming them in an update that is rolled back.
func checkJobs(t *testing.T, s *Store, there map[string]bool) {
	t.Helper()
	err := s.Update(t.Context(), sqlstore.Ends, func(tx *sqlstore.Tx) error {
		future := time.Now().Add(1000 * time.Hour)
		jobs, err := tx.ClaimJobs(future, future.Add(time.Hour), 1<<30)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if !there[j.Kind] {
				return fmt.Errorf("there is a job of %s and nothing else", j.Kind)
			}
		}
		if len(jobs) != len(there) {
			return fmt.Errorf("%d jobs, %d requests", len(jobs), len(there))
		}
		return errBad
	})
	if !errors.Is(err, errBad) {
		t.Fatal(err)
	}
}
