// Package webhook sends messages as signed HTTP POSTs in the form of Standard
// Webhooks, so that receivers can check them with a library they have: the
// headers webhook-id, webhook-timestamp and webhook-signature, and a JSON body
// {"type", "timestamp", "data"}.
//
// It refuses redirects, proxies, addresses that package dial refuses, plain
// HTTP off loopback unless told by name, and to send without a secret. It
// reads no more of an answer than it needs to keep the connection.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/dial"
	"github.com/daypass/daypass/internal/notify"
)

const (
	timeout       = 10 * time.Second // of one attempt, from connecting to the answer
	maxAnswer     = 64 << 10         // bytes read of an answer
	maxRetryAfter = time.Hour
)

// Config is one receiver.
type Config struct {
	Name    string              // in logs and metrics; "webhook" when empty
	URL     string              // https, or http to a literal loopback address
	Secrets []credential.Secret // whsec_…; each signs, so that one can be replaced at leisure
	// PlainHTTP allows http to other hosts too: anybody on the way can then
	// read the messages. They stay signed.
	PlainHTTP bool
	RootCAs   *x509.CertPool   // nil: the system's
	Now       func() time.Time // nil: time.Now
}

// Sender is a notify.Notifier.
type Sender struct {
	name, url string
	keys      [][]byte
	now       func() time.Time
	client    *http.Client
}

var _ notify.Notifier = (*Sender)(nil)

// New checks c and returns its sender. Errors never quote a secret, nor the
// URL, whose path may be one.
func New(c Config) (*Sender, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return nil, errors.New("webhook: url is not an http or https URL")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("webhook: url holds a user or a fragment; the signature is what authenticates")
	case u.Scheme == "http" && !c.PlainHTTP && !loopback(u.Hostname()):
		return nil, errors.New("webhook: url is plain http to another host: use https, or allow it by name")
	}
	if err := dial.CheckHost(u.Hostname()); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	keys, err := decodeSecrets(c.Secrets)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	s := &Sender{name: c.Name, url: u.String(), keys: keys, now: c.Now}
	if s.name == "" {
		s.name = "webhook"
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.client = &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would resolve the name anew, unchecked
			DialContext:            dial.New(u.Hostname()).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs},
			TLSHandshakeTimeout:    timeout,
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        4,
			MaxIdleConns:           2,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: maxAnswer,
			DisableCompression:     true, // an answer that unpacks to gigabytes
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Name returns the name from the config.
func (s *Sender) Name() string { return s.name }

// Close drops idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// body is what is signed: the same bytes in every attempt.
type body struct {
	Type      string         `json:"type"`
	Timestamp api.Time       `json:"timestamp"`
	Data      map[string]any `json:"data"`
}

// Send posts m. 2xx is success; 410 (the receiver is gone) and what cannot be
// sent at all are permanent; everything else is worth another attempt, after
// Retry-After where a 429 or 5xx says so. The timestamp is that of the attempt.
func (s *Sender) Send(ctx context.Context, m notify.Message) error {
	if !cleanID.MatchString(m.ID) {
		return notify.Permanent(fmt.Errorf("webhook %s: message id %q cannot be signed", s.name, notify.Plain(m.ID, 40)))
	}
	content, err := json.Marshal(body{Type: m.Type, Timestamp: api.TimeOf(m.At), Data: m.Data})
	if err != nil {
		return notify.Permanent(fmt.Errorf("webhook %s: encoding: %w", s.name, err))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(content))
	if err != nil {
		return notify.Permanent(fmt.Errorf("webhook %s: url cannot be asked", s.name))
	}
	timestamp := strconv.FormatInt(s.now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Daypass")
	request.Header.Set(HeaderID, m.ID)
	request.Header.Set(HeaderTimestamp, timestamp)
	request.Header.Set(HeaderSignature, sign(s.keys, m.ID, timestamp, content))
	answer, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("webhook %s: %w", s.name, withoutURL(err))
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	_ = answer.Body.Close()
	return s.judge(answer)
}

func (s *Sender) judge(answer *http.Response) error {
	code := answer.StatusCode
	err := fmt.Errorf("webhook %s: answered %d", s.name, code)
	switch {
	case 200 <= code && code <= 299:
		return nil
	case code == http.StatusGone:
		return notify.Permanent(err)
	case code == http.StatusTooManyRequests || code >= 500:
		if after, ok := retryAfter(answer.Header.Get("Retry-After"), s.now()); ok {
			return &notify.RetryAfter{After: after, Err: err}
		}
	}
	return err
}

// retryAfter reads the header (RFC 9110 §10.2.3), at most maxRetryAfter.
func retryAfter(header string, now time.Time) (time.Duration, bool) {
	if header == "" {
		return 0, false
	}
	if n, err := strconv.ParseUint(header, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter), true
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}

// withoutURL strips what http.Client wraps around an error: the URL.
func withoutURL(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("no answer in time: %w", err)
	}
	return err
}
