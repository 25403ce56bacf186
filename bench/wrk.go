//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

const connections = 16

// load is what wrk measured.
type load struct {
	perSecond float64
	p50, p99  time.Duration
	bytes     float64 // of one answer with its headers
}

// script sends the requests of a file in turn: a line each of token and body.
const script = `
local requests = {}
local i, n = 0, 0
init = function(args)
  local method, path = args[1], args[2]
  local list = args[3]
  for line in io.lines(list) do
    local authorization, body = line:match("^(%S+) ?(.*)$")
    local headers = { ["Authorization"] = "Bearer " .. authorization }
    if args[4] then headers["Host"] = args[4] end
    if body ~= "" then headers["Content-Type"] = args[5] or "application/x-www-form-urlencoded" end
    n = n + 1
    requests[n] = wrk.format(method, path, headers, body ~= "" and body or nil)
  end
end
request = function()
  i = i % n + 1
  return requests[i]
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.bytes, e.connect + e.read + e.write + e.status + e.timeout))
end
`

var result = regexp.MustCompile(`RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)`)

// wrk loads a server on keep-alive connections. Every answer must be a success.
func (b *bench) wrk(ctx context.Context, url string, d time.Duration, args ...string) (load, error) {
	lua := filepath.Join(b.work, "load.lua")
	if err := os.WriteFile(lua, []byte(script), 0o600); err != nil {
		return load{}, err
	}
	args = append([]string{"-t2", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", max(1, int(d.Seconds()))), "--latency", "-s", lua, url, "--"}, args...)
	out, err := exec.CommandContext(ctx, "wrk", args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return load{}, errors.New("wrk is missing: run make setup")
	}
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	m := result.FindSubmatch(out)
	if m == nil {
		return load{}, fmt.Errorf("wrk says nothing:\n%s", out)
	}
	var n [7]float64
	for i := 1; i < len(n); i++ {
		n[i], _ = strconv.ParseFloat(string(m[i]), 64) // digits, by the pattern
	}
	if n[1] == 0 || n[6] > 0 {
		return load{}, fmt.Errorf("wrk: %.0f requests, %.0f errors:\n%s", n[1], n[6], out)
	}
	return load{
		perSecond: n[1] / n[2] * 1e6, p50: time.Duration(n[3]) * time.Microsecond, p99: time.Duration(n[4]) * time.Microsecond, bytes: n[5] / n[1],
	}, nil
}
