package daemon_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// mails takes mail as a relay without TLS does (RFC 5321).
type mails struct {
	mu  sync.Mutex
	got []string
}

func (r *mails) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			in := bufio.NewReader(conn)
			say := func(line string) { fmt.Fprint(conn, line+"\r\n") }
			say("220 relay")
			var mail strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); verb {
				case "DATA":
					say("354 go on")
					for {
						line, err := in.ReadString('\n')
						if err != nil {
							return
						}
						if line == ".\r\n" {
							break
						}
						mail.WriteString(line)
					}
					r.mu.Lock()
					r.got = append(r.got, mail.String())
					r.mu.Unlock()
					mail.Reset()
					say("250 taken")
				case "QUIT":
					say("221 bye")
					return
				case "RCPT", "MAIL":
					mail.WriteString(line)
					say("250 ok")
				default:
					say("250 ok")
				}
			}
		}()
	}
}

func (r *mails) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.got, "\n")
}

// TestNotices: approvers and requesters are told, by a signed webhook that is
// tried again, and by mail; with no secret and no link that decides anything.
//
// Invariant: A14, A21
func TestNotices(t *testing.T) {
	type hook struct {
		header http.Header
		body   string
	}
	var mu sync.Mutex
	var hooks []hook
	calls := 0
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls == 1 {
			w.WriteHeader(http.StatusServiceUnavailable) // it is tried again
			return
		}
		hooks = append(hooks, hook{r.Header.Clone(), string(body)})
	}))
	defer receiver.Close()
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	var inbox mails
	go inbox.serve(relay)

	s := files(t)
	key := []byte("0123456789abcdef0123456789abcdef")
	s.write("hook.key", "whsec_"+base64.StdEncoding.EncodeToString(key))
	s.configure(fmt.Sprintf("notify:\n  webhook: {url: %q, secret: {file: ./hook.key}}\n  smtp: {addr: %q, from: daypass@example.com, tls: off}\n", receiver.URL+"/hook", relay.Addr()))
	s.start()
	r := s.pending("user:ana", "orders-api", "write", 5*time.Minute)
	told := func(n int, names ...string) {
		t.Helper()
		soon(t, fmt.Sprintf("%d webhooks came, and mails to %v", n, names), func() bool {
			mu.Lock()
			defer mu.Unlock()
			text := inbox.all()
			for _, name := range names {
				if !strings.Contains(text, "RCPT TO:<"+name+"@example.com>") {
					return false
				}
			}
			return len(hooks) >= n
		})
	}
	told(1, "bo", "dan")
	s.approve("user:bo", r).is(200)
	told(2, "cy") // whose stage is open now
	done := s.approve("user:cy", r).is(200).request()
	token := s.token("user:ana", done)
	s.call("user:cy", "POST", "/v1/grants/"+done.Grant.ID+"/revoke", m{"reason": "enough"}).is(200)

	told(4, "ana")
	mu.Lock()
	defer mu.Unlock()
	for _, h := range hooks {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", h.header.Get("webhook-id"), h.header.Get("webhook-timestamp"), h.body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); h.header.Get("webhook-signature") != want {
			t.Errorf("the signature is %s, want %s", h.header.Get("webhook-signature"), want)
		}
		var message struct {
			Type string         `json:"type"`
			Data map[string]any `json:"data"`
		}
		if err := json.Unmarshal([]byte(h.body), &message); err != nil || message.Type == "" || message.Data["request"] != r.ID {
			t.Errorf("%v: %s", err, h.body)
		}
	}
	for where, text := range map[string]string{"a mail": inbox.all(), "a webhook": fmt.Sprint(hooks)} {
		for _, secret := range []string{token, s.tokens["user:ana"], s.tokens["user:bo"], "whsec_", "approve?", "decision=", "token="} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, where)
			}
		}
	}
	if !strings.Contains(strings.ReplaceAll(inbox.all(), "=\r\n", ""), r.ID) {
		t.Errorf("no mail names the request:\n%s", inbox.all())
	}
}
