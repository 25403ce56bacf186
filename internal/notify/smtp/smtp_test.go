package smtp

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/dial"
	"github.com/daypass/daypass/internal/notify"
)

var at = time.Date(2026, 11, 23, 14, 0, 0, 123e6, time.UTC)

func message(to ...string) notify.Message {
	m := notify.Message{ID: "msg_1", Type: notify.RequestPending, At: at, Subject: "Daypass: Zoë asks", Text: "Zoë asks for read.\n\n.\nReview: daypass show req_1\n"}
	for _, a := range to {
		m.To = append(m.To, notify.Recipient{Principal: "user:" + a, Email: a})
	}
	return m
}

func (r *relay) config() Config {
	return Config{Host: "127.0.0.1", Port: r.port, From: "Daypass <daypass@example.com>", RootCAs: r.roots}
}

func send(t *testing.T, c Config, m notify.Message) error {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s.Send(t.Context(), m)
}

func TestSendOverSTARTTLS(t *testing.T) {
	r := (&relay{user: "daypass"}).start(t)
	c := r.config()
	c.Username, c.Password = "daypass", credential.NewSecret("pass")
	m := message("bo@example.com", "cy@example.com")
	m.To = append(m.To, notify.Recipient{Principal: "user:nobody"})
	for range 2 {
		if err := send(t, c, m); err != nil {
			t.Fatal(err)
		}
	}
	mails, _, plain := r.seen()
	if len(mails) != 4 || plain != 0 {
		t.Fatalf("%d mails, %d commands without TLS", len(mails), plain)
	}
	if mails[0].data != mails[2].data || mails[1].data != mails[3].data {
		t.Error("a repetition differs from the first")
	}
	for i, got := range mails[:2] {
		to := []string{"bo@example.com", "cy@example.com"}[i]
		if !got.tls || !got.auth || got.from != "daypass@example.com" || got.to != to {
			t.Errorf("envelope: %+v", got)
		}
		parsed, err := mail.ReadMessage(strings.NewReader(got.data))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
		if err != nil || subject != "Daypass: Zoë asks" {
			t.Errorf("subject %q, %v", subject, err)
		}
		for name, want := range map[string]string{
			"From": `"Daypass" <daypass@example.com>`, "To": "<" + to + ">", "Message-Id": "<msg_1@example.com>", "Auto-Submitted": "auto-generated",
			"Date": "Mon, 23 Nov 2026 14:00:00 +0000", "Content-Type": "text/plain; charset=utf-8", "Mime-Version": "1.0", "Content-Transfer-Encoding": "quoted-printable",
		} {
			if parsed.Header.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, parsed.Header.Get(name), want)
			}
		}
		text, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
		if err != nil || strings.ReplaceAll(string(text), "\r\n", "\n") != m.Text {
			t.Errorf("text %q, %v", text, err)
		}
		if other := []string{"cy@example.com", "bo@example.com"}[i]; strings.Contains(got.data, other) {
			t.Errorf("%s learns of %s", to, other)
		}
	}
}

func TestImplicitTLS(t *testing.T) {
	r := (&relay{implicit: true}).start(t)
	c := r.config()
	c.TLS = Implicit
	if err := send(t, c, message("bo@example.com")); err != nil {
		t.Fatal(err)
	}
	if mails, _, _ := r.seen(); len(mails) != 1 || !mails[0].tls {
		t.Errorf("mails: %+v", mails)
	}
}

// Invariant: A40
func TestTLSOffOnlyByNameAndOnLoopback(t *testing.T) {
	r := (&relay{noTLS: true}).start(t)
	if err := send(t, r.config(), message("bo@example.com")); err == nil || notify.IsPermanent(err) {
		t.Errorf("a relay without STARTTLS: %v", err)
	}
	if mails, commands, _ := r.seen(); len(mails) != 0 || strings.Contains(strings.Join(commands, "\n"), "MAIL") {
		t.Fatalf("sent without TLS: %q", commands)
	}
	c := r.config()
	c.TLS = Off
	if err := send(t, c, message("bo@example.com")); err != nil {
		t.Fatal(err)
	}
	if mails, _, _ := r.seen(); len(mails) != 1 || mails[0].tls {
		t.Errorf("mails: %+v", mails)
	}
	c.Host = "mail.example.com"
	if _, err := New(c); err == nil {
		t.Error("tls: off towards another host was accepted")
	}
}

// A relay with a certificate that nobody vouches for, or of another name, sees
// neither password nor mail.
func TestUntrustedRelay(t *testing.T) {
	r := (&relay{user: "daypass"}).start(t)
	c := r.config()
	c.Username, c.Password, c.RootCAs = "daypass", credential.NewSecret("pass"), nil
	if err := send(t, c, message("bo@example.com")); err == nil || notify.IsPermanent(err) {
		t.Errorf("an unknown authority: %v", err)
	}
	s, err := New(r.config())
	if err != nil {
		t.Fatal(err)
	}
	s.host = "mail.example.com" // the name the certificate would have to bear
	if err := s.Send(t.Context(), message("bo@example.com")); err == nil || notify.IsPermanent(err) {
		t.Errorf("a certificate of another name: %v", err)
	}
	mails, commands, _ := r.seen()
	if len(mails) != 0 || strings.Contains(strings.Join(commands, "\n"), "AUTH") {
		t.Errorf("got as far as %q", commands)
	}
}

func TestRepliesOfTheRelay(t *testing.T) {
	for name, c := range map[string]struct {
		answers map[string]string
		final   bool
		mails   int
	}{
		"one mailbox unknown":      {map[string]string{"RCPT bo@example.com": "550 5.1.1 no such user"}, true, 1},
		"one mailbox busy":         {map[string]string{"RCPT bo@example.com": "450 4.2.1 later"}, false, 1},
		"both mailboxes unknown":   {map[string]string{"RCPT bo@example.com": "550 no", "RCPT cy@example.com": "550 no"}, true, 0},
		"one unknown and one busy": {map[string]string{"RCPT bo@example.com": "550 no", "RCPT cy@example.com": "451 no"}, false, 0},
		"content refused":          {map[string]string{".": "554 5.7.1 spam"}, true, 0},
		"content later":            {map[string]string{".": "452 4.3.1 full"}, false, 0},
		"sender refused":           {map[string]string{"MAIL": "553 5.7.1 not you"}, true, 0},
		"shutting down":            {map[string]string{"MAIL": "421 bye"}, false, 0},
		"greylisted":               {map[string]string{"DATA": "451 wait"}, false, 0},
	} {
		r := (&relay{answers: c.answers}).start(t)
		err := send(t, r.config(), message("bo@example.com", "cy@example.com"))
		if err == nil || notify.IsPermanent(err) != c.final {
			t.Errorf("%s: permanent %v: %v", name, notify.IsPermanent(err), err)
		}
		if mails, _, _ := r.seen(); len(mails) != c.mails {
			t.Errorf("%s: %d mails, want %d", name, len(mails), c.mails)
		}
	}
}

func TestWrongPasswordIsTriedAgain(t *testing.T) {
	r := (&relay{user: "daypass"}).start(t)
	c := r.config()
	c.Username, c.Password = "daypass", credential.NewSecret("wrong-pw")
	err := send(t, c, message("bo@example.com"))
	if err == nil || notify.IsPermanent(err) || strings.Contains(err.Error(), "wrong-pw") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%v", err)
	}
}

// Attack: WHK-14
func TestNothingEndsAHeader(t *testing.T) {
	evil := "x\r\nBcc: evil@example.com\r\n\r\nforged"
	r := (&relay{}).start(t)
	m := message("bo@example.com")
	m.Subject, m.ID, m.Text = evil+strings.Repeat("é", 400), evil, "line\r\n.\r\nMAIL FROM:<x>\rlone\n"
	if err := send(t, r.config(), m); err != nil {
		t.Fatal(err)
	}
	mails, commands, _ := r.seen()
	if len(mails) != 1 {
		t.Fatalf("%d mails: %q", len(mails), commands)
	}
	parsed, err := mail.ReadMessage(strings.NewReader(mails[0].data))
	if err != nil {
		t.Fatal(err)
	}
	if len(parsed.Header) != 9 || parsed.Header.Get("Bcc") != "" || parsed.Header.Get("Message-Id") != "<xBccevilexample.comforged@example.com>" {
		t.Errorf("header: %v", parsed.Header)
	}
	for _, line := range strings.Split(mails[0].data, "\n") {
		if len(line) > 200 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	for _, address := range []string{"bo@example.com\r\nRCPT TO:<evil@example.com>", "bo@example.com>\r\nDATA", "not an address", "\"a\r\nb\"@example.com", `"a(b"@example.com`, `"a b"@example.com`, "a b@example.com", "<bo@example.com> SIZE=1"} {
		if err := send(t, r.config(), message(address)); !notify.IsPermanent(err) {
			t.Errorf("%q: %v", address, err)
		}
	}
	if mails, commands, _ = r.seen(); len(mails) != 1 || strings.Contains(strings.Join(commands, "\n"), "evil") {
		t.Errorf("%d mails, commands %q", len(mails), commands)
	}
}

func TestNobodyToTell(t *testing.T) {
	s, err := New(Config{Host: "127.0.0.1", Port: 1, From: "a@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), notify.Message{To: []notify.Recipient{{Principal: "user:bo"}}}); err != nil {
		t.Errorf("nobody has an address: %v", err)
	}
}

func TestSendHeedsItsContext(t *testing.T) {
	r := (&relay{silent: true}).start(t)
	s, err := New(r.config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, message("bo@example.com")); !errors.Is(err, context.DeadlineExceeded) || notify.IsPermanent(err) {
		t.Errorf("a relay that says nothing: %v", err)
	}
}

// Attack: WHK-08
func TestNewRefuses(t *testing.T) {
	good := Config{Host: "mail.example.com", From: "daypass@example.com"}
	for name, change := range map[string]func(c *Config){
		"no host": func(c *Config) { c.Host = "" }, "localhost": func(c *Config) { c.Host = "localhost" }, "metadata": func(c *Config) { c.Host = "169.254.169.254" },
		"no from": func(c *Config) { c.From = "" }, "from with a line": func(c *Config) { c.From = "a@b\r\nBcc: c@d" }, "port": func(c *Config) { c.Port = 70000 },
		"tls": func(c *Config) { c.TLS = "none" }, "password alone": func(c *Config) { c.Password = credential.NewSecret("x") }, "user alone": func(c *Config) { c.Username = "x" },
		"hello": func(c *Config) { c.Hello = "a\r\nb" },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for want, c := range map[string]Config{
		"mail.example.com:587 starttls": good,
		"mail.example.com:465 implicit": {Host: good.Host, From: good.From, TLS: Implicit},
		"[::1]:25 off":                  {Host: "[::1]", From: good.From, TLS: Off, Port: 25},
		"10.0.0.1:465 implicit":         {Host: "10.0.0.1", From: good.From, Port: 465},
	} {
		if s, err := New(c); err != nil || s.addr+" "+string(s.tls) != want || s.Name() != "smtp" {
			t.Errorf("%s: %+v, %v", want, s, err)
		}
	}
	s, err := New(Config{Host: "mail.example.com", From: good.From})
	if err != nil {
		t.Fatal(err)
	}
	s.addr = "localhost:25" // as if the name resolved to loopback
	if err := s.Send(t.Context(), message("bo@example.com")); !errors.Is(err, dial.ErrRefused) {
		t.Errorf("a name for loopback: %v", err)
	}
}
