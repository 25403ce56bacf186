package gateway

import (
	"testing"
	"time"

	"github.com/daypass/daypass/internal/live"
)

func TestAssertionsAreReusedForHalfAMinute(t *testing.T) {
	n := 0
	a := Assertions{Mint: func(*live.Grant) (string, error) { n++; return "x", nil }}
	g := &live.Grant{ID: "grt_1"}
	start := time.Now()
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{0, 1}, {29 * time.Second, 1}, {30 * time.Second, 2}, {59 * time.Second, 2}, {time.Minute, 3}, {0, 4}} {
		if _, err := a.Of(g, start.Add(c.at)); err != nil || n != c.want {
			t.Errorf("at %v: signed %d times, want %d", c.at, n, c.want)
		}
	}
}
