package pgkind

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/resource"
	"github.com/daypass/daypass/internal/resource/postgres/wire"
	"github.com/jackc/pgx/v5/pgconn"
)

// cancels finds the session that a cancel request means. Clients do not get the
// keys of their backends, which others can see a half of, but random ones of the
// gateway's own. Who guesses gets the same answer as who knows, none, and few
// tries.
type cancels struct {
	mu       sync.Mutex
	sessions map[string]*session // by process and key
	tries    map[netip.Prefix]*tries
	swept    time.Time
}

// Of cancel requests from one address.
const (
	cancelBurst = 20
	cancelEvery = 100 * time.Millisecond // one more
	cancelPeers = 10_000                 // addresses remembered; above, no other one is heard
	cancelTime  = 5 * time.Second        // to pass one on
)

type tries struct {
	left int
	at   time.Time
}

func (c *cancels) init() {
	c.sessions = make(map[string]*session)
	c.tries = make(map[netip.Prefix]*tries)
}

// add gives s a key of size bytes, behind the number of a process.
func (c *cancels) add(s *session, size int) string {
	b := make([]byte, 4+size)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		_, _ = rand.Read(b) // never fails (crypto/rand)
		b[0] &= 0x7f        // a process is a positive int32 to clients
		if _, taken := c.sessions[string(b)]; !taken && binary.BigEndian.Uint32(b) != 0 {
			c.sessions[string(b)] = s
			return string(b)
		}
	}
}

func (c *cancels) remove(key string) {
	c.mu.Lock()
	delete(c.sessions, key)
	c.mu.Unlock()
}

// find returns the session of a key; nil when there is none, or when peer has
// asked too often to be told apart from somebody who guesses.
func (c *cancels) find(process uint32, key []byte, peer netip.Prefix, now time.Time) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mayTry(peer, now) {
		return nil
	}
	return c.sessions[string(append(binary.BigEndian.AppendUint32(nil, process), key...))]
}

func (c *cancels) mayTry(peer netip.Prefix, now time.Time) bool {
	t := c.tries[peer]
	if t == nil {
		if len(c.tries) >= cancelPeers {
			c.sweep(now)
			if len(c.tries) >= cancelPeers {
				return false
			}
		}
		t = &tries{left: cancelBurst, at: now}
		c.tries[peer] = t
	}
	if more := int(now.Sub(t.at) / cancelEvery); more > 0 {
		t.left = min(cancelBurst, t.left+more)
		t.at = t.at.Add(time.Duration(more) * cancelEvery)
	}
	if t.left == 0 {
		return false
	}
	t.left--
	return true
}

// sweep forgets the addresses that have not asked for long enough.
func (c *cancels) sweep(now time.Time) {
	if now.Sub(c.swept) < time.Second {
		return
	}
	c.swept = now
	for peer, t := range c.tries {
		if now.Sub(t.at) >= cancelBurst*cancelEvery {
			delete(c.tries, peer)
		}
	}
}

// cancel passes a cancel request on.
func (g *Gateway) cancel(f wire.First, from net.Addr) {
	if s := g.cancels.find(f.Process, f.Key, resource.PeerOf(from), time.Now()); s != nil && !s.isOver() {
		s.cancelStatement()
	}
}

// cancelStatement asks the server to stop what the session runs.
func (s *session) cancelStatement() {
	s.mu.Lock()
	up := s.server
	s.mu.Unlock()
	if up == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelTime)
	defer cancel()
	var err error
	if len(up.SecretKey) == 0 {
		err = s.g.target.cancelBackend(ctx, s.resource, roleOf(s.grant.ID), up.PID)
	} else {
		// Of a connection made so only its address and its key are used here.
		var one *pgconn.PgConn
		if one, err = pgconn.Construct(up); err == nil {
			err = one.CancelRequest(ctx)
		}
	}
	if err != nil {
		s.g.log.Warn("postgres gateway: a statement could not be cancelled", "session", s.guard.ID, "err", err)
	}
}
