package cli

import (
	"strconv"
	"time"

	"github.com/daypass/daypass/api"
)

// short prints a length of time in at most two units, rounded down.
func short(d time.Duration) string {
	d = d.Abs()
	day := 24 * time.Hour
	unit := func(n time.Duration, s string) string { return strconv.FormatInt(int64(n), 10) + s }
	pair := func(big, small time.Duration, b, s string) string {
		if rest := d % big / small; rest > 0 {
			return unit(d/big, b) + unit(rest, s)
		}
		return unit(d/big, b)
	}
	switch {
	case d < time.Minute:
		return unit(d/time.Second, "s")
	case d < 10*time.Minute:
		return pair(time.Minute, time.Second, "m", "s")
	case d < time.Hour:
		return unit(d/time.Minute, "m")
	case d < 2*day:
		return pair(time.Hour, time.Minute, "h", "m")
	}
	return unit(d/day, "d")
}

// when prints t relative to now: "in 12m", "3h ago".
func (a *app) when(t api.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := t.Sub(a.Now()).Round(time.Second) // for the eye: "in 15m" right after asking
	switch {
	case d == 0:
		return "now"
	case d > 0:
		return "in " + short(d)
	}
	return short(d) + " ago"
}

// left prints how long it is until t, and "0s" when t has passed.
func (a *app) left(t api.Time) string { return short(max(t.Sub(a.Now()).Round(time.Second), 0)) }

// at prints t both ways.
func (a *app) at(t api.Time) string {
	return a.when(t) + " (" + t.Local().Format("2006-01-02 15:04:05 MST") + ")"
}
