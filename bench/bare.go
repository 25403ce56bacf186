//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// bareCommand makes this program one of the servers that Daypass is measured
// against, in a process of its own as Daypass is.
const bareCommand = "bare"

// bare serves on a free port, which it prints, until its input ends.
//
//	bare answer FILE   the file, whatever is asked: headers, an empty line, a body
//	bare proxy URL     httputil.ReverseProxy alone
//	bare stream EVERY  a piece every so often, for ever
//	bare relay ADDR    bytes to and from there, with io.Copy
func bare(args []string) int {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "bare: answer FILE, proxy URL, stream EVERY, or relay ADDR")
		return 2
	}
	if args[0] == "relay" {
		return relaying(args[1])
	}
	var handler http.Handler
	switch args[0] {
	case "answer":
		content, err := os.ReadFile(args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, "bare:", err)
			return 1
		}
		handler = constant(string(content))
	case "proxy":
		target, err := url.Parse(args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, "bare:", err)
			return 1
		}
		handler = &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
			Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		}
	}
	if args[0] == "stream" {
		every, err := time.ParseDuration(args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, "bare:", err)
			return 1
		}
		handler = endless(every)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		return 1
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = s.Close()
	}()
	fmt.Fprintln(os.Stdout, l.Addr())
	if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, "bare:", err)
		return 1
	}
	return 0
}

// constant answers the same bytes to everything.
func constant(content string) http.Handler {
	head, body, _ := strings.Cut(content, "\n\n")
	type header struct {
		name  string
		value []string
	}
	var headers []header
	for line := range strings.SplitSeq(head, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			headers = append(headers, header{http.CanonicalHeaderKey(name), []string{value}})
		}
	}
	answer := []byte(body)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for _, line := range headers {
			h[line.name] = line.value
		}
		_, _ = w.Write(answer)
	})
}

// endless sends a piece every so often until the client goes.
func endless(every time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		flush := http.NewResponseController(w)
		for {
			if _, err := io.WriteString(w, "tick\n"); err != nil || flush.Flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	})
}

// child is a bare server that runs.
type child struct {
	cmd   *exec.Cmd
	input io.Closer
	addr  string
}

func startBare(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, append([]string{bareCommand}, args...)...)}
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := fmt.Fscanln(out, &c.addr); err != nil {
		c.stop()
		return nil, fmt.Errorf("a bare server did not start: %w", err)
	}
	return c, nil
}

func (c *child) stop() {
	_ = c.input.Close()
	_ = c.cmd.Wait()
}

// command runs a program and fails with what it said.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
