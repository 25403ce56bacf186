package cli

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/daypass/daypass/client"
)

// How a person logs in from a terminal.
const (
	byBrowser = "browser" // on this machine
	byDevice  = "device"  // on another one
	byToken   = "token"
)

var errNobodyLogsIn = errors.New("nobody logs in to this server with a browser: it works with API tokens")

// browserTime is how long somebody may take in the browser.
const browserTime = 10 * time.Minute

// signIn gets a login for this command line. It is stored by the caller.
func (a *app) signIn(ctx context.Context, url, how string) (login, error) {
	c, err := a.connectTo(url, "")
	if err != nil {
		return login{}, err
	}
	offer, err := c.SignIn(ctx)
	if err != nil && client.Status(err) != http.StatusNotFound {
		return login{}, err
	}
	if err != nil || offer.Authorize == "" {
		return login{}, &Error{Code: ExitFailed, Err: errNobodyLogsIn, Next: "daypass login --token --url " + url}
	}
	var got *client.LoginToken
	if how == byDevice {
		got, err = a.deviceLogin(ctx, c)
	} else {
		got, err = a.browserLogin(ctx, c, url, offer.Issuer)
	}
	if err != nil {
		return login{}, err
	}
	return login{URL: url, Token: got.Secret, Login: true, ExpiresAt: got.ExpiresAt}, nil
}

// deviceName is what a person is shown of this machine.
func deviceName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "a machine"
	}
	return "daypass on " + host
}

// deviceLogin shows a code and waits (RFC 8628).
func (a *app) deviceLogin(ctx context.Context, c *client.Client) (*client.LoginToken, error) {
	d, err := c.StartDevice(ctx, deviceName())
	if err != nil {
		return nil, err
	}
	a.err.printf("Open %s in a browser, on any machine, and type this code:\n\n  %s\n\nGive it to nobody. Waiting …\n", d.Where, paint(bold, d.UserCode))
	interval := time.Duration(max(d.Interval, 1)) * time.Second
	end := time.Now().Add(time.Duration(d.ExpiresIn) * time.Second)
	for time.Now().Before(end) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(interval):
		}
		got, err := c.PollDevice(ctx, d.Code)
		switch client.Code(err) {
		case "":
			return got, err
		case "authorization_pending":
		case "slow_down":
			interval += 5 * time.Second
		case "access_denied":
			return nil, &Error{Code: ExitDenied, Err: errors.New("it was refused in the browser")}
		default:
			return nil, err
		}
	}
	return nil, &Error{Code: ExitPending, Err: errors.New("nobody typed the code in time"), Next: "daypass login --device"}
}

// browserLogin sends a browser of this machine to the server, and waits for it
// to come back to a port of ours (RFC 8252 section 7.3).
func (a *app) browserLogin(ctx context.Context, c *client.Client, server, issuer string) (*client.LoginToken, error) {
	ctx, cancel := context.WithTimeout(ctx, browserTime)
	defer cancel()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the browser: %w", err)
	}
	redirect := "http://" + l.Addr().String() + "/callback"
	state, verifier := rand.Text()+rand.Text(), rand.Text()+rand.Text() // 52 characters each (RFC 7636 section 4.1: at least 43)
	sum := sha256.Sum256([]byte(verifier))
	codes := make(chan answered, 1)
	srv := &http.Server{Handler: callback(state, issuer, codes), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }() // until it is shut down
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = srv.Shutdown(closing) // the page is on its way
	}()
	to := server + "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {"daypass-cli"}, "redirect_uri": {redirect}, "state": {state}, "device_name": {deviceName()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode()
	if err := a.openBrowser(context.WithoutCancel(ctx), to); err != nil {
		a.err.printf("Open this in a browser of this machine:\n\n  %s\n\n(On another one: daypass login --device.) Waiting …\n", to)
	} else {
		a.err.printf("A browser opens. If it does not, open this yourself:\n\n  %s\n\nWaiting …\n", to)
	}
	select {
	case got := <-codes:
		if got.err != nil {
			return nil, got.err
		}
		return c.ExchangeCode(ctx, got.code, redirect, verifier)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, &Error{Code: ExitPending, Err: errors.New("nobody came back from the browser in time"), Next: "daypass login, or daypass login --device"}
		}
		return nil, ctx.Err()
	}
}

// answered is what the browser brought.
type answered struct {
	code string
	err  error
}

// callback takes the first answer that has our state. Whatever else comes to
// the port, from another program or page, changes nothing (ATTACKS CLI-04).
func callback(state, issuer string, codes chan<- answered) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		q := r.URL.Query()
		if r.Method != http.MethodGet || r.URL.Path != "/callback" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 || q.Get("iss") != issuer {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		got, text := answered{code: q.Get("code")}, "You are logged in. Return to the terminal; you can close this page."
		if got.code == "" {
			got.err, text = &Error{Code: ExitDenied, Err: errors.New("it was refused in the browser")}, "Nothing was let in. You can close this page."
		}
		select {
		case codes <- got:
			_, _ = w.Write([]byte("<!doctype html><html lang=en><meta name=viewport content=\"width=device-width\"><meta name=color-scheme content=\"light dark\"><title>Daypass</title><p>" + text + "</p>"))
		default:
			w.WriteHeader(http.StatusNotFound) // the first one counts
		}
	})
}

// openBrowser opens a page, where there is a screen to open it on.
func (a *app) openBrowser(ctx context.Context, to string) error {
	if a.Open != nil {
		return a.Open(to)
	}
	if !strings.HasPrefix(to, "https://") && !strings.HasPrefix(to, "http://") {
		return errors.New("not a page")
	}
	var cmd *exec.Cmd
	switch runtime.GOOS {
	case "darwin":
		cmd = exec.CommandContext(ctx, "/usr/bin/open", to)
	case "windows":
		cmd = exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", to)
	default:
		if a.Getenv("DISPLAY") == "" && a.Getenv("WAYLAND_DISPLAY") == "" {
			return errors.New("there is no screen")
		}
		cmd = exec.CommandContext(ctx, "xdg-open", to)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // how it ends says nothing
	return nil
}
