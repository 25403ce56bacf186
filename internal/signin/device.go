package signin

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/identity"
)

// What the device is told while it waits (RFC 8628 section 3.5).
var (
	ErrPending  = errors.New("nobody has decided yet")
	ErrSlowDown = errors.New("it asks too often")
	ErrDenied   = errors.New("somebody said no")
	// ErrThrottled: too many codes were wrong, of this person.
	ErrThrottled = errors.New("too many wrong codes")
)

const (
	// DeviceFor is how long a code may be typed in.
	DeviceFor = 10 * time.Minute
	// Interval is how often a device may ask.
	Interval = 5 * time.Second

	mostDevices    = 2000
	mostPerAddress = 20 // that wait at once, of one IPv4 address or IPv6 /64
	mostWrong      = 10 // codes of one person, in a window
	wrongWindow    = 10 * time.Minute
	mostGuessers   = 4096
)

// alphabet is that of codes that people type: consonants that look like nothing
// else and make no words (RFC 8628 section 6.1). Eight of them are 34 bits;
// with ten tries in ten minutes one of 2,000 that wait is found once in
// thirteen hundred years.
const alphabet = "BCDFGHJKLMNPQRSTVWXZ"

// Device is one command line that waits.
type Device struct {
	UserCode string // as it is shown: BCDF-GHJK
	Label    string // what it says of itself
	IP       string // where it is
	Since    time.Time
	Until    time.Time
}

type waiting struct {
	Device
	from     string // the network of its address
	interval time.Duration
	asked    time.Time
	caller   identity.Caller // who said yes
	decided  bool
	denied   bool
}

// Devices are the command lines that wait. A code that was used, denied or has
// ended is forgotten.
type Devices struct {
	now func() time.Time

	mu     sync.Mutex
	byCode map[[32]byte]*waiting // the hash of the device's code
	byUser map[string]*waiting
	wrong  map[string]*guesses
}

type guesses struct {
	since time.Time
	count int
}

// NewDevices returns none yet.
func NewDevices(now func() time.Time) *Devices {
	return &Devices{now: now, byCode: map[[32]byte]*waiting{}, byUser: map[string]*waiting{}, wrong: map[string]*guesses{}}
}

// Start lets a command line wait.
func (d *Devices) Start(label, ip string) (deviceCode string, out Device, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	d.forget(now)
	here := 0
	from := network(ip)
	for _, w := range d.byCode {
		if w.from == from {
			here++
		}
	}
	if here >= mostPerAddress || len(d.byCode) >= mostDevices {
		return "", Device{}, ErrFull
	}
	w := &waiting{Device: Device{Label: label, IP: ip, Since: now, Until: now.Add(DeviceFor)}, from: from, interval: Interval, asked: now}
	for w.UserCode == "" || d.byUser[w.UserCode] != nil {
		w.UserCode = userCode()
	}
	deviceCode = random(32)
	d.byCode[sha256.Sum256([]byte(deviceCode))], d.byUser[w.UserCode] = w, w
	return deviceCode, w.Device, nil
}

func userCode() string {
	var out []byte
	for len(out) < 9 {
		if len(out) == 4 {
			out = append(out, '-')
		}
		var b [1]byte
		_, _ = rand.Read(b[:])
		if b[0] < 240 { // 12 × 20: no letter is likelier
			out = append(out, alphabet[b[0]%20])
		}
	}
	return string(out)
}

// Canonical is a code as it was shown, however it was typed; "" for none.
func Canonical(typed string) string {
	var out []byte
	for _, c := range []byte(strings.ToUpper(typed)) {
		switch {
		case c == '-' || c == ' ':
		case strings.IndexByte(alphabet, c) < 0 || len(out) == 8:
			return ""
		default:
			out = append(out, c)
		}
	}
	if len(out) != 8 {
		return ""
	}
	return string(out[:4]) + "-" + string(out[4:])
}

// network is what one subscriber has: an IPv4 address, or the /64 of an IPv6
// address.
func network(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Unmap().Is4() {
		return ip
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return ip
	}
	return p.String()
}

// Look finds the device of a code that somebody typed. Wrong ones are counted
// per person, wherever they are: nobody can use up the tries of somebody else,
// or has more of them at more addresses.
func (d *Devices) Look(typed string, by identity.Caller) (Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, err := d.look(typed, by)
	if err != nil {
		return Device{}, err
	}
	return w.Device, nil
}

func (d *Devices) look(typed string, by identity.Caller) (*waiting, error) {
	now := d.now()
	key := by.Principal
	g := d.wrong[key]
	if g != nil && now.Sub(g.since) >= wrongWindow {
		delete(d.wrong, key)
		g = nil
	}
	if g != nil && g.count >= mostWrong {
		return nil, ErrThrottled
	}
	w := d.byUser[Canonical(typed)]
	if w != nil && !w.decided && now.Before(w.Until) {
		return w, nil
	}
	if g == nil {
		if len(d.wrong) >= mostGuessers {
			for k, old := range d.wrong {
				if now.Sub(old.since) >= wrongWindow {
					delete(d.wrong, k)
				}
			}
		}
		if len(d.wrong) >= mostGuessers {
			return nil, ErrThrottled
		}
		g = &guesses{since: now}
		d.wrong[key] = g
	}
	g.count++
	return nil, ErrNone
}

// Decide says yes or no to a device, once, for the browser of by.
func (d *Devices) Decide(typed string, by identity.Caller, yes bool) (Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, err := d.look(typed, by)
	if err != nil {
		return Device{}, err
	}
	w.decided, w.denied, w.caller = true, !yes, by
	return w.Device, nil
}

// Poll is the device asking. Once it is told who said yes, its code is used up.
func (d *Devices) Poll(deviceCode string) (by identity.Caller, out Device, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	hash := sha256.Sum256([]byte(deviceCode))
	w := d.byCode[hash]
	if w == nil {
		return identity.Caller{}, Device{}, ErrNone
	}
	early := now.Sub(w.asked) < w.interval
	w.asked = now
	switch {
	case !now.Before(w.Until):
		d.drop(hash, w)
		return identity.Caller{}, Device{}, ErrExpired
	case early && !w.decided:
		w.interval = min(w.interval+Interval, time.Minute)
		return identity.Caller{}, Device{}, ErrSlowDown
	case !w.decided:
		return identity.Caller{}, Device{}, ErrPending
	}
	d.drop(hash, w)
	if w.denied {
		return identity.Caller{}, Device{}, ErrDenied
	}
	return w.caller, w.Device, nil
}

func (d *Devices) drop(hash [32]byte, w *waiting) {
	delete(d.byCode, hash)
	delete(d.byUser, w.UserCode)
}

// forget drops what ended some time ago: until then its device is told so.
func (d *Devices) forget(now time.Time) {
	for hash, w := range d.byCode {
		if now.Sub(w.Until) >= time.Minute {
			d.drop(hash, w)
		}
	}
}
