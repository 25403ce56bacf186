package httpkind

import (
	"net/http"
	"testing"
)

// Cookies do not know ports: a browser that is logged in to Daypass shows its
// login to a gateway on the same host too. No upstream sees it, or sets one.
//
// Attack: OID-09
func TestLoginsDoNotReachAnUpstream(t *testing.T) {
	h := http.Header{"Cookie": {"a=1; __Host-daypass=x; __Host-daypass-0a1b2c=x; daypass-loopback=x", "daypass-loopback-0a1b2c=x; e=dplc_x; f=dplt_x; g=dpsl_x; daypassport=2"}}
	stripCookies(h)
	if got := h.Get("Cookie"); got != "a=1; daypassport=2" {
		t.Errorf("the upstream gets %q", got)
	}
	for _, line := range []string{"daypass-loopback=planted; Path=/", "Daypass-Loopback-0a1b2c=x", "__host-daypass-0a1b2c=x"} {
		if new(Gateway).cookieAllowed(line) {
			t.Errorf("an upstream may set %s", line)
		}
	}
}
