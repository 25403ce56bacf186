package gateway

import (
	"sync"
	"time"

	"github.com/daypass/daypass/internal/live"
)

// An assertion is signed once and then used for many requests: signing costs
// more than all else that a request costs here. Assertions live for a minute;
// the other half of it is for clocks that differ.
const (
	assertionAge = 30 * time.Second
	assertionMax = 4096 // grants remembered; above, all are forgotten
)

// Assertions keeps the signed statements of grants that upstreams get. It is
// safe for concurrent use.
type Assertions struct {
	// Mint signs one.
	Mint func(*live.Grant) (string, error)

	mu  sync.Mutex
	all map[string]assertion
}

type assertion struct {
	token   string
	at      time.Time
	expires time.Time // of the grant when it was minted
}

// Of returns an assertion of grant that is at most assertionAge old, and younger
// than the last change of the grant's end.
func (a *Assertions) Of(grant *live.Grant, now time.Time) (string, error) {
	expires := grant.ExpiresAt()
	a.mu.Lock()
	got, ok := a.all[grant.ID]
	a.mu.Unlock()
	if ok && !now.Before(got.at) && now.Sub(got.at) < assertionAge && got.expires.Equal(expires) {
		return got.token, nil
	}
	token, err := a.Mint(grant)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil || len(a.all) >= assertionMax {
		a.all = make(map[string]assertion)
	}
	a.all[grant.ID] = assertion{token: token, at: now, expires: expires}
	return token, nil
}
