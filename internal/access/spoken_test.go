package access

import (
	"testing"
	"time"
)

func TestDurationsInSentences(t *testing.T) {
	for d, want := range map[time.Duration]string{
		90 * time.Second: "1m30s", 20 * time.Minute: "20m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		10 * time.Hour: "10h", 10 * time.Second: "10s", 8760 * time.Hour: "8760h", 3605 * time.Second: "1h0m5s",
	} {
		if got := spoken(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
