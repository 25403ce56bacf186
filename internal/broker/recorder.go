package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/pack"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// High-rate entries are written in batches (CONTRACT §7).
const (
	flushEvery = 50 * time.Millisecond
	flushSize  = pack.MaxEntries
	// backlog bounds what waits for a slow or full disk; beyond it the writer
	// blocks, and after recordWait refuses.
	backlog    = 8 * flushSize
	recordWait = 2 * time.Second
)

// recorder makes entries of accesses durable, in batches of one leaf each.
type recorder struct {
	b     *Broker
	queue chan queued
	wake  chan struct{} // somebody waits, or a batch is full; all else waits for the next flush
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once
	ids   credential.IDs // of the goroutine that writes

	written atomic.Uint64 // batches
	settled atomic.Int64  // what was accepted before, in Unix milliseconds, is on record

	mu      sync.Mutex
	failure error
	counts  map[countKey]int
}

type queued struct {
	record sqlstore.Record
	done   chan<- error // nil: nobody waits
}

// countKey groups denials that name no principal.
type countKey struct{ kind, source, channel, what string }

// countKeys bounds the groups of one minute; the rest is counted together.
const countKeys = 1000

func newRecorder(b *Broker) *recorder {
	r := &recorder{b: b, queue: make(chan queued, backlog), wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), counts: map[countKey]int{}}
	r.settled.Store(b.now().UnixMilli())
	return r
}

// Record makes an entry durable: at once and before it returns when durable is
// set, else within 50 ms. It blocks rather than drops; an error means that the
// access must not go on (A20).
func (b *Broker) Record(ctx context.Context, e *audit.Entry, principal string, durable bool) error {
	return b.recorder.record(ctx, e, principal, durable)
}

// Room reports whether Record takes an entry now without waiting. An eighth of
// the backlog is left for those who record between the question and the entry.
func (b *Broker) Room() bool { return len(b.recorder.queue) < backlog-backlog/8 }

// CountDenied counts a denial of somebody who showed no valid credential.
func (b *Broker) CountDenied(source, channel, what string) {
	b.recorder.count(countKey{audit.AccessDeniedSummary, source, channel, what})
}

func (r *recorder) record(ctx context.Context, e *audit.Entry, principal string, durable bool) error {
	if e.Time.IsZero() {
		e.Time = r.b.now()
	}
	q := queued{record: sqlstore.Record{Entry: e, Principal: principal}}
	var answer chan error
	if durable {
		answer = make(chan error, 1)
		q.done = answer
	}
	select {
	case <-r.stop:
		return unrecorded()
	default:
	}
	if !durable && r.offer(q) {
		return nil
	}
	timer := time.NewTimer(recordWait)
	defer timer.Stop()
	select {
	case r.queue <- q:
		r.call(durable)
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return unrecorded()
	case <-r.stop:
		return unrecorded()
	}
	if !durable {
		return nil
	}
	select {
	case err := <-answer:
		if err != nil {
			return unrecorded()
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return unrecorded()
	}
}

func unrecorded() error {
	return &Error{Kind: Unavailable, Code: "audit_unavailable", Message: "The audit log takes no entries now, so nothing is allowed. Try again in a moment.", RetryAfter: time.Second}
}

// offer queues an entry that nobody waits for if there is room, as there
// nearly always is.
func (r *recorder) offer(q queued) bool {
	select {
	case r.queue <- q:
		r.call(false)
		return true
	default:
		return false
	}
}

// call wakes the writer for an entry just queued if it must not sleep until the
// next flush.
func (r *recorder) call(now bool) {
	if !now && len(r.queue) < flushSize {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default: // it is on its way, and will find this entry too
	}
}

func (r *recorder) count(k countKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.counts[k]; !ok && len(r.counts) >= countKeys {
		k.source, k.what = "elsewhere", "more than can be told apart"
	}
	r.counts[k]++
}

func (r *recorder) countFailed(source, channel, what string) {
	r.count(countKey{audit.AuthFailed, source, channel, what})
}

func (r *recorder) settledAt() time.Time { return time.UnixMilli(r.settled.Load()).UTC() }

func (r *recorder) ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// run writes batches until close.
func (r *recorder) run() {
	defer close(r.done)
	flush := time.NewTimer(flushEvery)
	defer flush.Stop()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	var batch []queued
	for {
		wake := r.wake
		if len(batch) >= flushSize {
			wake = nil // a full disk: what comes now waits, and is refused in the end
		}
		select {
		case <-wake:
			if batch = r.drain(batch); len(batch) < flushSize && !waitedFor(batch) {
				continue
			}
			batch = r.turn(batch)
			flush.Reset(flushEvery)
		case <-flush.C:
			batch = r.turn(batch)
			flush.Reset(flushEvery)
		case <-minute.C:
			if wake != nil { // else they go on being counted
				batch = r.summaries(batch)
			}
		case <-r.stop:
			r.finish(r.summaries(batch))
			return
		}
	}
}

// turn fills up a batch and writes it. Among those behind it may be some whose call was
// answered with this one: they are looked at next.
func (r *recorder) turn(batch []queued) []queued {
	now := r.b.now()
	if batch = r.drain(batch); len(batch) == flushSize {
		now = batch[flushSize-1].record.Entry.Time // there is more behind it
	}
	if batch = r.write(batch); len(batch) == 0 && r.ready() == nil {
		// Whoever was about to queue an entry took its time a moment before.
		r.settled.Store(now.Add(-flushEvery).UnixMilli())
	}
	r.call(len(r.queue) > 0)
	return batch
}

// finish writes all that still waits. A full disk may have room again by the
// third time.
func (r *recorder) finish(batch []queued) {
	failpoint.Hit("recorder.finish.before")
	for tries := 3; tries > 0; {
		if batch = r.drain(batch); len(batch) == 0 {
			return
		}
		if batch = r.write(batch); len(batch) > 0 {
			tries--
		}
	}
	r.b.cfg.Log.Error("audit entries are lost: the disk is full, or too slow", "entries", len(batch)+len(r.queue))
}

// drain adds what waits, without blocking, up to one batch.
func (r *recorder) drain(batch []queued) []queued {
	for len(batch) < flushSize {
		select {
		case q := <-r.queue:
			batch = append(batch, q)
		default:
			return batch
		}
	}
	return batch
}

func waitedFor(batch []queued) bool {
	for _, q := range batch {
		if q.done != nil {
			return true
		}
	}
	return false
}

// passing reports whether what was not written may be written later: the disk
// is full, or does not keep up.
func passing(err error) bool {
	return errors.Is(err, sqlstore.ErrFull) || errors.Is(err, sqlstore.ErrBusy)
}

// write commits a batch as one leaf and returns what must be tried again: the
// entries of a full or slow disk, which nobody waits for any more.
func (r *recorder) write(batch []queued) []queued {
	if len(batch) == 0 {
		return batch[:0]
	}
	records := make([]sqlstore.Record, len(batch))
	for i, q := range batch {
		if e := q.record.Entry; e.ID == "" {
			e.ID = r.ids.At("evt", e.Time)
		}
		records[i] = q.record
	}
	failpoint.Hit("recorder.batch.before")
	err := r.b.cfg.Store.Update(context.Background(), sqlstore.Normal, func(tx *sqlstore.Tx) error {
		return tx.AppendPack(records)
	})
	failpoint.Hit("recorder.batch.after")
	r.written.Add(1)
	r.mu.Lock()
	r.failure = err
	r.mu.Unlock()
	var again []queued
	for _, q := range batch {
		if q.done != nil {
			q.done <- err
		} else if passing(err) {
			again = append(again, q)
		}
	}
	if err != nil && !passing(err) {
		r.b.cfg.Log.Error("audit entries could not be written", "entries", len(batch), "error", err)
	}
	if len(again) > 0 {
		time.Sleep(flushEvery) // the queue fills meanwhile, and blocks
	}
	return again
}

// summaries turns the counts of the last minute into entries.
func (r *recorder) summaries(batch []queued) []queued {
	r.mu.Lock()
	counts := r.counts
	r.counts = map[countKey]int{}
	r.mu.Unlock()
	for k, n := range counts {
		e := &audit.Entry{
			Time: r.b.now(), Type: k.kind, Actor: audit.Anonymous, Outcome: audit.Denied,
			Source: audit.Source{IP: k.source, Channel: k.channel}, Details: map[string]any{"count": n, "what": k.what, "over": "1m"},
		}
		batch = append(batch, queued{record: sqlstore.Record{Entry: e}})
	}
	return batch
}

// close writes what is left and ends the recorder.
func (r *recorder) close() {
	r.once.Do(func() { close(r.stop) })
	<-r.done
}
