package resource

import (
	"testing"
	"time"
)

func TestLimitsThatAreNotSetHaveTheirDefaults(t *testing.T) {
	got := Limits{Connections: 7, IdleTimeout: -time.Second}.OrDefault()
	want := Limits{Connections: 7, ConnectionsPerPeer: 1000, Upstreams: 20_000, HeaderBytes: 64 << 10, HeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, Streams: 250}
	if got != want {
		t.Errorf("%+v", got)
	}
}
