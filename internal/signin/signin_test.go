package signin

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/identity"
)

var ana = identity.Caller{Principal: "user:ana", Login: "lgn_a", IP: "192.0.2.1"}

type hand struct{ now time.Time }

func (h *hand) Now() time.Time { return h.now }

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Invariant: A23
// Attack: CLI-04
func TestCodesAreGoodOnceAndForTheirClient(t *testing.T) {
	h := &hand{now: time.Now()}
	const redirect = "http://127.0.0.1:4000/callback"
	for what, c := range map[string]struct {
		redirect, verifier string
		after              time.Duration
		want               error
	}{
		"as agreed":      {redirect, "verifier", time.Minute - 1, nil},
		"another port":   {"http://127.0.0.1:4001/callback", "verifier", 0, ErrNone},
		"no proof":       {redirect, "another", 0, ErrNone},
		"a minute later": {redirect, "verifier", time.Minute, ErrExpired},
	} {
		codes := NewCodes(h.Now)
		code, err := codes.Issue(Code{Caller: ana, RedirectURI: redirect, Challenge: challenge("verifier")})
		if err != nil {
			t.Fatal(err)
		}
		h.now = h.now.Add(c.after)
		got, _, err := codes.Redeem(code, c.redirect, c.verifier)
		if !errors.Is(err, c.want) || (err == nil) != (got.Caller == ana) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
		codes.Became(code, "lgn_b")
		if got, stolen, err := codes.Redeem(code, redirect, "verifier"); !errors.Is(err, ErrNone) || stolen != "lgn_b" || got.Caller != ana {
			t.Errorf("%s, a second time: stolen %q, %v", what, stolen, err)
		}
	}
	// A second try that comes while the login of the first is made.
	twice := NewCodes(h.Now)
	code, err := twice.Issue(Code{Caller: ana, RedirectURI: redirect, Challenge: challenge("verifier")})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := twice.Redeem(code, redirect, "verifier"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := twice.Redeem(code, redirect, "verifier"); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	if !twice.Became(code, "lgn_b") {
		t.Error("a code that two had makes a login that goes on")
	}
	codes := NewCodes(h.Now)
	if _, _, err := codes.Redeem("", "", ""); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	for n := range mostCodes {
		one := Code{Caller: identity.Caller{Principal: fmt.Sprint("user:", n/mostOfOne)}}
		if _, err := codes.Issue(one); err != nil {
			t.Fatal(err)
		}
		if n == mostOfOne-1 {
			if _, err := codes.Issue(one); !errors.Is(err, ErrFull) {
				t.Errorf("one person has more than %d: %v", mostOfOne, err)
			}
		}
	}
	if _, err := codes.Issue(Code{}); !errors.Is(err, ErrFull) {
		t.Errorf("more than %d: %v", mostCodes, err)
	}
	h.now = h.now.Add(time.Minute)
	if _, err := codes.Issue(Code{}); err != nil {
		t.Errorf("they do not go: %v", err)
	}
}

// Attack: OID-04, CLI-04
func TestRedirects(t *testing.T) {
	for _, good := range []string{"http://127.0.0.1:4000/callback", "http://[::1]:4000/callback", "http://127.0.0.2:65535/callback"} {
		if !CheckRedirect(good) {
			t.Errorf("%s is refused", good)
		}
	}
	for _, bad := range []string{
		"", "/callback", "https://127.0.0.1:4000/callback", "http://127.0.0.1/callback", "http://127.0.0.1:80/callback", "http://localhost:4000/callback", "http://evil.example:4000/callback",
		"http://127.0.0.1:4000/callback?a=b", "http://127.0.0.1:4000/callback#a", "http://127.0.0.1:4000/callback/", "http://127.0.0.1:4000/other", "http://127.0.0.1:4000@evil.example/callback",
		"http://user@127.0.0.1:4000/callback", "http://127.0.0.1:4000\\@evil.example/callback", "http://127.1:4000/callback", "http://2130706433:4000/callback", "http://0.0.0.0:4000/callback",
		"http://[::1%25eth0]:4000/callback", "http://10.0.0.1:4000/callback", "javascript:alert(1)", "http://127.0.0.1:04000/callback", "HTTP://127.0.0.1:4000/callback", "http://127.0.0.1:4000/%63allback",
	} {
		if CheckRedirect(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
	if CheckChallenge("short") || CheckChallenge("") || CheckChallenge(challenge("v")+"=") || !CheckChallenge(challenge("v")) {
		t.Error("a challenge is the SHA-256 of something, in base64url")
	}
}

// Invariant: A23
// Attack: OID-06
func TestADeviceWaitsAndIsLetInOnce(t *testing.T) {
	h := &hand{now: time.Now()}
	d := NewDevices(h.Now)
	code, device, err := d.Start("laptop", "192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	poll := func(want error) identity.Caller {
		t.Helper()
		by, _, err := d.Poll(code)
		if !errors.Is(err, want) {
			t.Errorf("polled: %v, want %v", err, want)
		}
		return by
	}
	poll(ErrSlowDown) // at once
	h.now = h.now.Add(5 * time.Second)
	poll(ErrSlowDown) // the interval is ten seconds now
	h.now = h.now.Add(15 * time.Second)
	poll(ErrPending)
	if got, err := d.Look(" "+device.UserCode[:4]+" "+device.UserCode[5:], ana); err != nil || got.Label != "laptop" || got.IP != "192.0.2.7" {
		t.Errorf("looked at: %+v, %v", got, err)
	}
	h.now = h.now.Add(20 * time.Second)
	poll(ErrPending) // to look decides nothing
	if _, err := d.Decide(device.UserCode, ana, true); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decide(device.UserCode, identity.Caller{Principal: "user:mal"}, true); !errors.Is(err, ErrNone) {
		t.Errorf("decided twice: %v", err)
	}
	if by := poll(nil); by != ana {
		t.Errorf("let in by %+v", by)
	}
	poll(ErrNone)
	if _, _, err := d.Poll("a code of somebody else"); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	// No, and nobody.
	code, device, _ = d.Start("x", "192.0.2.7")
	if _, err := d.Decide(device.UserCode, ana, false); err != nil {
		t.Fatal(err)
	}
	poll(ErrDenied)
	poll(ErrNone)
	code, device, _ = d.Start("x", "192.0.2.7")
	h.now = h.now.Add(DeviceFor)
	if _, err := d.Decide(device.UserCode, ana, true); !errors.Is(err, ErrNone) {
		t.Errorf("decided too late: %v", err)
	}
	poll(ErrExpired)
}

// Attack: OID-06, OID-12
func TestGuessersAreThrottledAndNobodyElse(t *testing.T) {
	h := &hand{now: time.Now()}
	d := NewDevices(h.Now)
	_, device, err := d.Start("laptop", "192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	mal := identity.Caller{Principal: "user:mal", IP: "192.0.2.66"}
	for i := range mostWrong {
		if _, err := d.Look(fmt.Sprintf("BBBB-BBB%c", alphabet[i]), mal); !errors.Is(err, ErrNone) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if _, err := d.Look(device.UserCode, mal); !errors.Is(err, ErrThrottled) {
		t.Errorf("one guess too many, and right: %v", err)
	}
	if _, err := d.Decide(device.UserCode, mal, true); !errors.Is(err, ErrThrottled) {
		t.Errorf("to decide is to guess too: %v", err)
	}
	if _, err := d.Look(device.UserCode, identity.Caller{Principal: "user:mal", IP: "2001:db8::1"}); !errors.Is(err, ErrThrottled) {
		t.Errorf("each address of one person has tries of its own: %v", err)
	}
	if _, err := d.Look(device.UserCode, identity.Caller{Principal: ana.Principal, IP: mal.IP}); err != nil {
		t.Errorf("somebody else at that address pays for it: %v", err)
	}
	h.now = h.now.Add(wrongWindow)
	if _, err := d.Look("BBBB-BBBB", mal); !errors.Is(err, ErrNone) {
		t.Errorf("the window does not end: %v", err)
	}
	for i := range mostPerAddress {
		if _, _, err := d.Start("x", "192.0.2.8"); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if _, _, err := d.Start("x", "192.0.2.8"); !errors.Is(err, ErrFull) {
		t.Errorf("one address has more than %d that wait: %v", mostPerAddress, err)
	}
	if _, _, err := d.Start("x", "192.0.2.9"); err != nil {
		t.Errorf("another address pays for it: %v", err)
	}
	// One subscriber has a /64.
	for i := range mostPerAddress {
		if _, _, err := d.Start("x", fmt.Sprintf("2001:db8::%x", i)); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if _, _, err := d.Start("x", "2001:db8::ffff"); !errors.Is(err, ErrFull) {
		t.Errorf("one network has more than %d that wait: %v", mostPerAddress, err)
	}
}

func TestUserCodes(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		c := userCode()
		if seen[c] || Canonical(c) != c || len(c) != 9 {
			t.Fatalf("%q", c)
		}
		seen[c] = true
	}
	for typed, want := range map[string]string{"bcdf ghjk": "BCDF-GHJK", "BCDFGHJK": "BCDF-GHJK", "": "", "BCDF-GHJ": "", "BCDF-GHJKL": "", "BCDF-GHJA": "", "ＢCDF-GHJK": ""} {
		if got := Canonical(typed); got != want {
			t.Errorf("%q is %q", typed, got)
		}
	}
}
