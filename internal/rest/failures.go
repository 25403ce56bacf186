package rest

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	failuresPerMinute         = 30
	failuresPerMinuteLoopback = 300 // one address for everybody on the machine
	rememberedAddresses       = 4096
)

// failures counts calls with a wrong token, per IPv4 address or IPv6 /64 and
// minute. It remembers a bounded number of addresses and forgets the one that
// was quiet for longest (ATTACKS RES-05).
type failures struct {
	now func() time.Time

	mu     sync.Mutex
	recent *list.List // of *failing, the latest first
	byAddr map[netip.Prefix]*list.Element
}

type failing struct {
	from  netip.Prefix
	since time.Time // the minute began
	count int
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, recent: list.New(), byAddr: map[netip.Prefix]*list.Element{}}
}

// count counts one failure and returns how long the address must wait, 0 while
// it is within its limit.
func (f *failures) count(ip string) time.Duration {
	from, most := network(ip), failuresPerMinute
	if from.Addr().IsLoopback() {
		most = failuresPerMinuteLoopback
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	e, known := f.byAddr[from]
	if !known {
		if f.recent.Len() == rememberedAddresses {
			quiet := f.recent.Back()
			delete(f.byAddr, quiet.Value.(*failing).from)
			f.recent.Remove(quiet)
		}
		e = f.recent.PushFront(&failing{from: from, since: now})
		f.byAddr[from] = e
	}
	f.recent.MoveToFront(e)
	of := e.Value.(*failing)
	if age := now.Sub(of.since); age >= time.Minute || age < 0 {
		of.since, of.count = now, 0
	}
	if of.count >= most {
		return of.since.Add(time.Minute).Sub(now)
	}
	of.count++
	return 0
}

// network is what counts as one peer: an IPv4 address, or the /64 of an IPv6
// address, which is what one subscriber has.
func network(ip string) netip.Prefix {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() || a.IsLoopback() {
		bits = a.BitLen()
	}
	p, _ := a.Prefix(bits)
	return p
}
