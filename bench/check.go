//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// churnRate is how many grants a second are made and end during checks.
const churnRate = 50

// tokenCheck loads POST /oauth/introspect, as a service that holds an API
// token asks for live tokens of grants, beside a handler that answers the same
// bytes and does nothing.
func (b *bench) tokenCheck(ctx context.Context) error {
	b.report.note(b.out, "Token check: POST /oauth/introspect by a service with its API token, of up to %d live tokens in turn, by wrk on %d keep-alive connections, while %d grants a second are made through the API and end. "+
		"Beside it: a bare net/http handler that answers the same bytes to the same requests, without that churn. %d rounds of %s each side.", samples, connections, churnRate, b.scale.rounds, b.scale.round)
	var at []float64
	for _, n := range b.scale.grants {
		ratio, err := b.checkAt(ctx, n)
		if err != nil {
			return fmt.Errorf("at %d grants: %w", n, err)
		}
		at = append(at, ratio)
	}
	drop := 1 - at[len(at)-1]/at[0]
	b.report.check(b.out, fmt.Sprintf("token check, drop from 1 to %d live grants", b.scale.grants[len(at)-1]), "≤ 10 %", fmt.Sprintf("%.1f %%", 100*drop), drop <= 0.10,
		"the index no longer fits the processor's caches")
	return nil
}

// checkAt compares at n live grants and returns the ratio of the throughputs.
func (b *bench) checkAt(ctx context.Context, n int) (float64, error) {
	seed, err := b.seeded(ctx, n)
	if err != nil {
		return 0, err
	}
	w, err := b.copyOf(ctx, seed, "check")
	if err != nil {
		return 0, err
	}
	defer w.remove()
	s, err := b.start(ctx, w, b.binary)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	size, err := b.prepareCheck(ctx, s)
	if err != nil {
		return 0, err
	}
	naked, err := startBare(ctx, "answer", w.path("answer"))
	if err != nil {
		return 0, err
	}
	defer naked.stop()
	args := []string{"POST", "/oauth/introspect", w.path("requests")}
	var ours, theirs []load
	for range b.scale.rounds {
		l, err := b.wrk(ctx, "http://"+naked.addr, b.scale.round, args...)
		if err != nil {
			return 0, fmt.Errorf("bare: %w", err)
		}
		theirs = append(theirs, l)
		stop := b.churn(ctx, s)
		l, err = b.wrk(ctx, "http://"+s.api, b.scale.round, args...)
		made, churned := stop()
		if err = errors.Join(err, churned); err != nil {
			return 0, err
		}
		if math.Abs(l.bytes-size) > size/20 {
			return 0, fmt.Errorf("an answer has %.0f bytes, a live one %.0f: were all tokens live?", l.bytes, size)
		}
		if want := b.scale.round.Seconds() * churnRate * 0.7; float64(made) < want {
			b.report.note(b.out, "Only %d grants were made during a round of %s at %d live grants.", made, b.scale.round, n)
		}
		ours = append(ours, l)
	}
	return b.compareChecks(n, ours, theirs), nil
}

func (b *bench) compareChecks(n int, ours, theirs []load) float64 {
	us, them := middle(ours), middle(theirs)
	ratio, tail := us.perSecond/them.perSecond, float64(us.p99)/float64(them.p99)
	const limit = "net/http itself spends most of the time; what is left is reading the form, two look-ups by SHA-256 and composing the answer"
	label := fmt.Sprintf("token check, %d live grants", n)
	b.report.check(b.out, label+", of bare", "≥ 0.6 (mark 0.75)", fmt.Sprintf("%.2f (%.0f/s of %.0f/s)", ratio, us.perSecond, them.perSecond), ratio >= 0.6, limit)
	b.report.check(b.out, label+", p99 of bare's", "≤ 1.5", fmt.Sprintf("%.2f (%s, %s)", tail, us.p99, them.p99), tail <= 1.5, "two cores carry the load generator, the churn's commits and the server")
	b.report.tell(b.out, label+", p50", fmt.Sprintf("%s, bare %s", us.p50, them.p50))
	return ratio
}

// middle takes the median of each figure.
func middle(loads []load) load {
	var rates []float64
	var p50, p99 []time.Duration
	for _, l := range loads {
		rates, p50, p99 = append(rates, l.perSecond), append(p50, l.p50), append(p99, l.p99)
	}
	return load{perSecond: median(rates), p50: median(p50), p99: median(p99)}
}

// prepareCheck asks for every known token once, so that its first use is on
// record, and writes what wrk sends and what the bare server answers. It
// returns the size of an answer with its headers.
func (b *bench) prepareCheck(ctx context.Context, s *server) (float64, error) {
	tokens, err := s.w.known()
	if err != nil {
		return 0, err
	}
	var lines, naked strings.Builder
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	client := newClient()
	defer client.CloseIdleConnections()
	next := make(chan string)
	for range 64 {
		group.Go(func() {
			for token := range next {
				a, err := s.call(ctx, client, checker, "POST", "/oauth/introspect", "token="+token)
				if err == nil && (a.status != http.StatusOK || !strings.Contains(string(a.body), `"active":true`)) {
					err = fmt.Errorf("introspection says %d %s", a.status, a.body)
				}
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	for _, token := range tokens {
		fmt.Fprintf(&lines, "%s token=%s\n", s.w.tokens[checker], token)
		next <- token
	}
	close(next)
	group.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	a, err := s.call(ctx, client, checker, "POST", "/oauth/introspect", "token="+tokens[len(tokens)/2])
	if err != nil {
		return 0, err
	}
	size := float64(len("HTTP/1.1 200 OK\r\n\r\n") + len(a.body))
	for name, values := range a.header {
		size += float64(len(name) + len(": ") + len(values[0]) + len("\r\n"))
		if name != "Date" && name != "Content-Length" {
			fmt.Fprintf(&naked, "%s: %s\n", name, values[0])
		}
	}
	naked.WriteString("\n" + string(a.body))
	return size, errors.Join(s.w.write("requests", []byte(lines.String())), s.w.write("answer", []byte(naked.String())))
}

func newClient() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}
}

// churn makes grants that end by themselves after two seconds, until stop is
// called, which says how many.
func (b *bench) churn(ctx context.Context, s *server) (stop func() (made int64, err error)) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	var made atomic.Int64
	var failed atomic.Pointer[error]
	client := newClient()
	tick := time.NewTicker(time.Second / churnRate)
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			group.Go(func() {
				a, err := s.call(ctx, client, fmt.Sprintf("user:u%d", i%principals), "POST", "/v1/requests",
					map[string]any{"resource": fmt.Sprintf("res-%d", i%resources), "role": "all", "duration": "2s", "reason": "bench"})
				switch {
				case ctx.Err() != nil:
				case err != nil:
					failed.Store(&err)
				case a.status != http.StatusCreated:
					err = fmt.Errorf("a request was answered with %d %s", a.status, a.body)
					failed.Store(&err)
				default:
					made.Add(1)
				}
			})
		}
	})
	return func() (int64, error) {
		tick.Stop()
		cancel()
		group.Wait()
		client.CloseIdleConnections()
		if err := failed.Load(); err != nil {
			return made.Load(), *err
		}
		return made.Load(), nil
	}
}
