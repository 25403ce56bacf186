//go:build failpoint

package failpoint

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// plan is what happens at one point.
type plan struct {
	action string
	at     int // the hit; 0 for each
	wait   time.Duration
	file   string
}

// parse reads what the environment says.
func parse(spec, seed string) (*table, error) {
	t := &table{hits: map[string]int{}, plans: map[string]plan{}}
	var number uint64
	if seed != "" {
		var err error
		if number, err = strconv.ParseUint(seed, 10, 64); err != nil {
			return nil, fmt.Errorf("the seed %q is not a number", seed)
		}
	}
	for one := range strings.SplitSeq(spec, ";") {
		if strings.TrimSpace(one) == "" {
			continue
		}
		name, what, ok := strings.Cut(strings.TrimSpace(one), "=")
		if !ok {
			return nil, fmt.Errorf("%q is not name=action", one)
		}
		if !slices.ContainsFunc(Points, func(p Point) bool { return p.Name == name }) {
			return nil, fmt.Errorf("there is no point %q", name)
		}
		p, err := parsePlan(what, number)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		t.plans[name] = p
	}
	return t, nil
}

func parsePlan(what string, seed uint64) (plan, error) {
	p := plan{at: 1}
	what, hits, some := strings.Cut(what, "@")
	if some {
		var err error
		if p.at, err = parseHits(hits, seed); err != nil {
			return p, err
		}
	}
	action, value, _ := strings.Cut(what, ":")
	p.action = action
	switch {
	case value == "" && (action == "kill" || action == "error"):
		return p, nil
	case value != "" && action == "pause":
		p.file = value
		return p, nil
	case action == "sleep":
		var err error
		p.wait, err = time.ParseDuration(value)
		return p, err
	}
	return p, fmt.Errorf("%q is not kill, error, sleep:DURATION or pause:FILE", what)
}

func parseHits(hits string, seed uint64) (int, error) {
	if hits == "*" {
		return 0, nil
	}
	from, to, ranged := strings.Cut(hits, "-")
	low, err := strconv.Atoi(from)
	high := low
	if err == nil && ranged {
		high, err = strconv.Atoi(to)
	}
	if err != nil || low < 1 || high < low {
		return 0, fmt.Errorf("%q is not a hit (3), a range of hits (2-40) or *", hits)
	}
	// Of math/rand, so that a seed gives the same hit again.
	return low + rand.New(rand.NewPCG(seed, seed)).IntN(high-low+1), nil
}
