package workload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/dial"
)

const (
	fetchTime = 5 * time.Second // of one fetch, from connecting to the last byte
	// freshFor is how long keys are used without asking again: an issuer that
	// withdraws one waits that long. staleFor is how long they go on while the
	// issuer does not answer; then nobody gets in until it does.
	freshFor = 10 * time.Minute
	staleFor = time.Hour
)

// fetched are keys behind a URL. They are fetched when they are needed: at
// first, when they are old, and when a token names one that is not there, but
// never more often than every `every`, whoever asks for what.
type fetched struct {
	url    string
	every  time.Duration
	client *http.Client
	log    *slog.Logger

	mu     sync.Mutex
	keys   pinned
	at     time.Time     // when keys were fetched
	tried  time.Time     // when that was last begun
	flight chan struct{} // closed when the fetch that runs is over; nil when none runs
}

func newFetched(j config.JWKS, log *slog.Logger) (*fetched, error) {
	u, err := url.Parse(j.URL)
	if err != nil {
		return nil, fmt.Errorf("the URL: %w", err)
	}
	if err := dial.CheckHost(u.Hostname()); err != nil {
		return nil, err
	}
	return &fetched{url: j.URL, every: j.Every, log: log, client: &http.Client{
		Timeout: fetchTime,
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would resolve the name anew, unchecked
			DialContext:            dial.New(u.Host).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    fetchTime,
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        1,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // an answer that unpacks to gigabytes
		},
		// Keys come from the address that was configured, or not at all.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (f *fetched) key(ctx context.Context, kid string, now time.Time) (key, error) {
	f.mu.Lock()
	if k, ok := f.keys[kid]; ok && now.Sub(f.at) < freshFor {
		f.mu.Unlock()
		return k, nil
	}
	if f.flight == nil && (f.tried.IsZero() || now.Sub(f.tried) >= f.every) {
		f.tried, f.flight = now, make(chan struct{})
		go f.refresh(now, f.flight)
	}
	flight := f.flight
	f.mu.Unlock()
	if flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return key{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch k, ok := f.keys[kid]; {
	case len(f.keys) == 0 || now.Sub(f.at) >= staleFor:
		return key{}, refuse("the issuer's keys could not be fetched")
	case ok:
		return k, nil
	}
	return key{}, errUnknownKid
}

// refresh fetches the keys for all who wait. What it cannot fetch leaves those
// from before.
func (f *fetched) refresh(now time.Time, done chan struct{}) {
	keys, err := f.fetch()
	if err != nil {
		f.log.Warn("the keys of an issuer of workload tokens could not be fetched", "url", f.url, "error", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.keys, f.at = keys, now
	}
	f.flight = nil
	close(done)
}

func (f *fetched) fetch() (pinned, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := f.client.Do(r)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %d (a redirect is not followed)", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	keys, skipped, err := parseKeys(raw)
	if err != nil {
		return nil, err
	}
	if skipped != nil {
		f.log.Debug("a key of an issuer is not used", "url", f.url, "why", skipped)
	}
	return keys, nil
}
