package daemon

import (
	"github.com/daypass/daypass/internal/resource"
	"github.com/daypass/daypass/internal/rest"
)

// room is how many connections each listener may hold.
type room struct {
	api  int
	gate resource.Limits
}

// keptFree are the file descriptors that peers cannot take: those of the
// store, the listeners, the log, certificates, notices.
const keptFree = 96

// roomFor shares out the file descriptors that the process may open, so that
// no flood of peers takes those that the store needs. With many, 0 included
// (unknown), the usual limits hold. A connection through the gateway takes two.
func roomFor(descriptors uint64) room {
	r := room{api: rest.MaxConns, gate: resource.Limits{}.OrDefault()}
	if descriptors == 0 || descriptors > 1<<20 {
		return r
	}
	third := max(8, (int(descriptors)-keptFree)/3)
	r.api = min(r.api, third)
	r.gate.Connections = min(r.gate.Connections, third)
	r.gate.ConnectionsPerPeer = min(r.gate.ConnectionsPerPeer, third)
	r.gate.Upstreams = min(r.gate.Upstreams, third)
	return r
}
