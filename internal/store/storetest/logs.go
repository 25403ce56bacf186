package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// randomSteps appends in every shape, with failures and restarts between, and
// verifies everything after each step.
func (s *suite) randomSteps() {
	s.begin()
	rnd := rand.New(rand.NewPCG(7, 7))
	written := int64(0)
	for step := range 70 {
		singles, batch, packs, fail := rnd.IntN(4), rnd.IntN(6), rnd.IntN(3)*rnd.IntN(20), rnd.IntN(4) == 0
		var records []sqlstore.Record
		err := s.update(func(tx *sqlstore.Tx) error {
			records = nil
			for i := range singles {
				records = append(records, record(fmt.Sprint(step, "_s", i)))
			}
			if err := tx.Append(records...); err != nil {
				return err
			}
			var together []sqlstore.Record
			for i := range batch {
				together = append(together, record(fmt.Sprint(step, "_b", i)))
			}
			packed := led(packs, at(time.Duration(step)*time.Second))
			records = append(append(records, together...), packed...)
			if err := errors.Join(tx.AppendBatch(together), tx.AppendPack(packed)); err != nil {
				return err
			}
			if fail {
				return errWanted
			}
			return nil
		})
		if fail {
			s.want(err, errWanted)
		} else {
			s.must(err)
			for _, r := range records {
				if written++; r.Entry.Seq != written {
					s.Fatalf("step %d: an entry got seq %d, want %d", step, r.Entry.Seq, written)
				}
			}
		}
		if rnd.IntN(20) == 0 {
			s.restart()
		}
		s.view(func(tx *sqlstore.Tx) error {
			head, _, err := tx.Head()
			if err == nil && head.Seq != written {
				err = fmt.Errorf("step %d: the head is %+v, %d were written", step, head, written)
			}
			return err
		})
	}
	// The same ID twice is refused as a whole.
	if err := s.update(func(tx *sqlstore.Tx) error { return tx.Append(record("new"), record("new")) }); err == nil {
		s.Error("two entries have one ID")
	}
	// An entry that cannot be encoded, in the middle.
	bad := record("bad")
	bad.Entry.Actor = ""
	if err := s.update(func(tx *sqlstore.Tx) error {
		return errors.Join(tx.Append(record("good")), tx.AppendBatch([]sqlstore.Record{record("x"), bad}))
	}); err == nil {
		s.Error("an entry without an actor was written")
	}
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.Append(record("good")) }))
}

// led are n entries of high rate, with IDs that a time leads.
func led(n int, at time.Time) []sqlstore.Record {
	out := make([]sqlstore.Record, n)
	for i := range out {
		out[i] = record("")
		out[i].Entry.ID, out[i].Entry.Type = credential.NewIDAt("evt", at.Add(time.Duration(i)*time.Millisecond)), audit.AccessAllowed
	}
	return out
}

// proofs proves every entry after every few appends.
func (s *suite) proofs() {
	s.begin()
	rnd := rand.New(rand.NewPCG(3, 1))
	var ids []string
	for step := range 12 {
		s.must(s.update(func(tx *sqlstore.Tx) error {
			if step%4 == 1 {
				packed := led(8+rnd.IntN(20), at(time.Duration(rnd.IntN(3))*time.Second)) // of times that overlap
				for _, r := range packed {
					ids = append(ids, r.Entry.ID)
				}
				err := tx.AppendPack(packed)
				if err == nil {
					_, err = tx.Proof(packed[3].Entry.ID)
				}
				if !errors.Is(err, sqlstore.ErrNotFound) {
					return fmt.Errorf("an entry that is not committed was proved: %w", err)
				}
				return nil
			}
			var batch []sqlstore.Record
			for i := range 1 + rnd.IntN(9) {
				batch = append(batch, record(fmt.Sprint(step, "_", i)))
				ids = append(ids, batch[i].Entry.ID)
			}
			if step%3 == 0 {
				return tx.Append(batch...)
			}
			if err := tx.AppendBatch(batch); err != nil {
				return err
			}
			_, err := tx.Proof(batch[0].Entry.ID)
			if !errors.Is(err, sqlstore.ErrNotFound) {
				return fmt.Errorf("an entry that is not committed was proved: %w", err)
			}
			return nil
		}))
		s.view(func(tx *sqlstore.Tx) error {
			for _, id := range ids {
				p, err := tx.Proof(id)
				if err != nil {
					return err
				}
				if err := audit.VerifyProof(p, s.vkey); err != nil {
					return fmt.Errorf("%s: %w", id, err)
				}
				p.Leaf.Count++
				if err := audit.VerifyProof(p, s.vkey); err == nil {
					return fmt.Errorf("%s is proved to be where it is not", id)
				}
			}
			for _, unknown := range []string{"evt_unknown", credential.NewIDAt("evt", at(time.Second))} {
				_, err := tx.Proof(unknown)
				s.want(err, sqlstore.ErrNotFound)
			}
			return nil
		})
	}
	if len(ids) < 40 {
		s.Fatalf("only %d entries were proved", len(ids))
	}
}

// events compares the lists with a filter in plain Go.
func (s *suite) events() {
	s.begin()
	rnd := rand.New(rand.NewPCG(5, 5))
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	var all []sqlstore.Record
	for range 30 {
		s.must(s.update(func(tx *sqlstore.Tx) error {
			var some []sqlstore.Record
			how := rnd.IntN(3)
			for range 6 + 6*how {
				r := record(fmt.Sprint(len(all) + len(some)))
				e := r.Entry
				e.Time = at(time.Duration(len(all)) * time.Millisecond)
				e.Type = pick(audit.RequestCreated, audit.RequestApproved, audit.AccessAllowed)
				e.Actor, e.OnBehalfOf = pick("user:ana", "user:bo", "agent:bot"), pick("", "", "user:ana")
				r.Principal = pick("", "user:ana", "user:cy")
				e.Request, e.Resource = pick("", "req_1", "req_2"), pick("", "orders")
				if how == 2 {
					e.ID = credential.NewIDAt("evt", e.Time)
					e.Details = map[string]any{"id": "evt_" + fmt.Sprint(rnd.IntN(len(all)+1))} // of others
					if len(all) > 0 {
						e.Details["id"] = all[rnd.IntN(len(all))].Entry.ID
					}
				}
				some = append(some, r)
			}
			all = append(all, some...)
			switch how {
			case 0:
				return tx.Append(some...)
			case 1:
				return tx.AppendBatch(some)
			}
			return tx.AppendPack(some)
		}))
	}
	found := 0
	for range 120 {
		f := sqlstore.EventFilter{
			Request: pick("", "", "req_1"), Principal: pick("", "user:ana", "user:cy", "user:nobody"), Resource: pick("", "", "orders"),
			Type: pick("", "", audit.AccessAllowed), Ascending: rnd.IntN(2) == 0, Limit: rnd.IntN(20),
		}
		if rnd.IntN(2) == 0 {
			f.After = rnd.Int64N(int64(len(all)) + 20)
		}
		if rnd.IntN(2) == 0 {
			f.Before = 1 + rnd.Int64N(int64(len(all))+20)
		}
		var want []int64
		for _, r := range all {
			e := r.Entry
			if (f.After == 0 || e.Seq > f.After) && (f.Before == 0 || e.Seq < f.Before) && (f.Request == "" || f.Request == e.Request) &&
				(f.Resource == "" || f.Resource == e.Resource) && (f.Type == "" || f.Type == e.Type) &&
				(f.Principal == "" || slices.Contains([]string{e.Actor, e.OnBehalfOf, r.Principal}, f.Principal)) {
				want = append(want, e.Seq)
			}
		}
		if !f.Ascending {
			slices.Reverse(want)
		}
		if f.Limit > 0 && len(want) > f.Limit {
			want = want[:f.Limit]
		}
		var got []int64
		s.view(func(tx *sqlstore.Tx) error {
			events, err := tx.Events(f)
			if err != nil {
				return err
			}
			for _, e := range events {
				got = append(got, e.Seq)
				entry, err := audit.DecodeEntry(e.Bytes)
				if err != nil {
					return err
				}
				if entry.Seq != e.Seq || e.Seq < e.Leaf.First || e.Seq >= e.Leaf.First+int64(e.Leaf.Count) || entry.ID != all[e.Seq-1].Entry.ID {
					return fmt.Errorf("entry %d in leaf %+v is %+v", e.Seq, e.Leaf, entry)
				}
			}
			return nil
		})
		if diff := cmp.Diff(want, got); diff != "" {
			s.Fatalf("%+v (-want +got):\n%s", f, diff)
		}
		found += len(got)
	}
	if found < 300 {
		s.Fatalf("the filters found %d entries in all: too few to say anything", found)
	}
	s.view(func(tx *sqlstore.Tx) error {
		_, err := tx.Event("evt_unknown")
		s.want(err, sqlstore.ErrNotFound)
		for i, r := range all {
			e, err := tx.Event(r.Entry.ID)
			if err != nil {
				return err
			}
			if e.Seq != int64(i+1) {
				return fmt.Errorf("%s is %d, not %d", r.Entry.ID, e.Seq, i+1)
			}
		}
		return tx.VerifyBeside()
	})
	// From the middle of a batch on, whatever it is kept as.
	for _, from := range []int64{1, 2, int64(len(all) / 3), int64(len(all)) / 2, int64(len(all)), int64(len(all)) + 1} {
		next := from
		s.view(func(tx *sqlstore.Tx) error {
			return tx.AuditRows(from, func(seq int64, _ audit.Leaf, _ [32]byte, bytes []byte) error {
				e, err := audit.DecodeEntry(bytes)
				if err == nil && (seq != next || e.ID != all[seq-1].Entry.ID) {
					err = fmt.Errorf("from %d on: entry %d is %s", from, seq, e.ID)
				}
				next++
				return err
			})
		})
		if next != int64(len(all))+1 {
			s.Errorf("from %d on there are entries up to %d", from, next-1)
		}
	}
}

// verifyNotices shows that this suite's own check is not blind: an earlier
// checkpoint of another history does not fit.
func (s *suite) verifyNotices() {
	s.begin()
	for i := range 5 {
		s.must(s.update(func(tx *sqlstore.Tx) error { return tx.Append(record(fmt.Sprint(i))) }))
	}
	s.view(func(tx *sqlstore.Tx) error {
		_, note, err := tx.Head()
		if err != nil {
			return err
		}
		_, other, err := audit.NewSigner("log.example", zeroReader{})
		if err != nil {
			return err
		}
		if _, err := tx.VerifyAudit(audit.VerifierOptions{Keys: []string{other}}); err == nil {
			return errors.New("a checkpoint of an unknown key was accepted")
		}
		report, err := tx.VerifyAudit(audit.VerifierOptions{Keys: []string{s.vkey}, Checkpoints: [][]byte{note}})
		if err == nil && (report.Checkpoints != 2 || report.Vouched != 5) {
			err = fmt.Errorf("the report is %+v", report)
		}
		return err
	})
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
