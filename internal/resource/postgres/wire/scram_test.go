package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/credential"
)

// client is the other side of an exchange, written from RFC 5802 alone.
type client struct {
	token, mechanism, gs2 string
	binding               []byte
	bare, auth            string
	salted                []byte
}

func (c *client) first() []byte {
	c.bare = "n=,r=fyko+d2lbbFgONRv9qkxdawL"
	return []byte(c.gs2 + c.bare)
}

func (c *client) final(t *testing.T, challenge []byte) []byte {
	t.Helper()
	fields := strings.Split(string(challenge), ",")
	salt, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(fields[1], "s="))
	if err != nil {
		t.Fatal(err)
	}
	rounds, err := strconv.Atoi(strings.TrimPrefix(fields[2], "i="))
	if err != nil {
		t.Fatal(err)
	}
	if c.salted, err = pbkdf2.Key(sha256.New, c.token, salt, rounds, 32); err != nil {
		t.Fatal(err)
	}
	bound := append([]byte(c.gs2), c.binding...)
	without := "c=" + base64.StdEncoding.EncodeToString(bound) + "," + fields[0]
	c.auth = c.bare + "," + string(challenge) + "," + without
	key := sum(c.salted, "Client Key")
	stored := sha256.Sum256(key)
	signature := sum(stored[:], c.auth)
	for i := range key {
		key[i] ^= signature[i]
	}
	return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(key))
}

func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

const grant = "grt_01"

func verifier(t *testing.T, token string) credential.Verifier {
	t.Helper()
	v, err := credential.NewVerifier(credential.NewSecret(token), grant)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAnyTokenOfAGrantCanBeProven(t *testing.T) {
	all := []credential.Verifier{verifier(t, "one"), verifier(t, "two"), verifier(t, "three")}
	bind := bytes.Repeat([]byte{7}, 32)
	for i, token := range []string{"one", "two", "three"} {
		for _, c := range []struct {
			client
			offered []byte
		}{
			{client{mechanism: ScramPlain, gs2: "n,,"}, nil},
			{client{mechanism: ScramPlain, gs2: "y,,"}, nil},
			{client{mechanism: ScramPlain, gs2: "n,,"}, bind},
			{client{mechanism: ScramPlus, gs2: "p=tls-server-end-point,,", binding: bind}, bind},
		} {
			peer := c.client
			peer.token = token
			s := NewScram(credential.SaltOf(grant), all, c.offered)
			challenge, err := s.First(peer.mechanism, peer.first())
			if err != nil {
				t.Fatal(err)
			}
			last, found, err := s.Final(peer.final(t, challenge))
			if err != nil || found != all[i] {
				t.Fatalf("%s %s: %v", token, peer.gs2, err)
			}
			if want := "v=" + base64.StdEncoding.EncodeToString(sum(sum(peer.salted, "Server Key"), peer.auth)); string(last) != want {
				t.Errorf("the server has not proven itself: %s", last)
			}
		}
	}
}

// Whoever does not hold a token learns nothing of whether a grant exists.
//
// Invariant: A21
// Attack: PG-03
func TestUnknownUsersFailAsWrongTokensDo(t *testing.T) {
	var failures []string
	for name, s := range map[string]func() *Scram{
		"wrong": func() *Scram {
			return NewScram(credential.SaltOf(grant), []credential.Verifier{verifier(t, "right")}, nil)
		},
		"unknown": func() *Scram { return NewScram(MockSalt([]byte("key"), grant), nil, nil) },
	} {
		x, peer := s(), &client{token: "wrong", mechanism: ScramPlain, gs2: "n,,"}
		challenge, err := x.First(peer.mechanism, peer.first())
		if err != nil {
			t.Fatal(err)
		}
		last, found, err := x.Final(peer.final(t, challenge))
		if !errors.Is(err, ErrProof) || last != nil || found != (credential.Verifier{}) {
			t.Errorf("%s: %v", name, err)
		}
		failures = append(failures, fmt.Sprintf("%d %v", len(challenge), err))
	}
	if len(failures) != 2 || failures[0] != failures[1] {
		t.Errorf("can be told apart: %q", failures)
	}
	a, again, other := MockSalt([]byte("key"), "ana"), MockSalt([]byte("key"), "ana"), MockSalt([]byte("key"), "bob")
	if !bytes.Equal(a, again) || bytes.Equal(a, other) || bytes.Equal(a, MockSalt([]byte("other"), "ana")) || len(a) != len(credential.SaltOf(grant)) {
		t.Error("a mock salt is like a real one: one for each user")
	}
}

// Invariant: A28
// Attack: PG-03
func TestBadExchangesAreRefused(t *testing.T) {
	bind := bytes.Repeat([]byte{7}, 32)
	for name, c := range map[string]struct {
		mechanism, first string
		offered          []byte
	}{
		"unknown mechanism":          {"SCRAM-SHA-1", "n,,n=,r=x", nil},
		"PLUS where none is offered": {ScramPlus, "p=tls-server-end-point,,n=,r=x", nil},
		"downgraded":                 {ScramPlain, "y,,n=,r=x", bind},
		"PLUS with n":                {ScramPlus, "n,,n=,r=x", bind},
		"PLUS with y":                {ScramPlus, "y,,n=,r=x", bind},
		"plain with p":               {ScramPlain, "p=tls-server-end-point,,n=,r=x", bind},
		"another binding":            {ScramPlus, "p=tls-unique,,n=,r=x", bind},
		"another identity":           {ScramPlain, "n,a=bob,n=,r=x", nil},
		"mandatory extension":        {ScramPlain, "n,,m=1,n=,r=x", nil},
		"no nonce":                   {ScramPlain, "n,,n=", nil},
		"empty nonce":                {ScramPlain, "n,,n=,r=", nil},
		"empty":                      {ScramPlain, "", nil},
		"zero byte":                  {ScramPlain, "n,,n=,r=x\x00", nil},
		"strange flag":               {ScramPlain, "z,,n=,r=x", nil},
	} {
		s := NewScram(credential.SaltOf(grant), []credential.Verifier{verifier(t, "right")}, c.offered)
		var e *Error
		if challenge, err := s.First(c.mechanism, []byte(c.first)); !errors.As(err, &e) || challenge != nil {
			t.Errorf("%s: %s %v", name, challenge, err)
		}
		if _, _, err := s.Final([]byte("c=biws,r=x,p=" + base64.StdEncoding.EncodeToString(bind))); !errors.As(err, &e) {
			t.Errorf("%s: went on: %v", name, err)
		}
	}
	for name, change := range map[string]func(string) string{
		"binding of n for p": func(m string) string { return "c=biws," + after(m, ",") },
		"another certificate": func(m string) string {
			bound := append([]byte("p=tls-server-end-point,,"), make([]byte, 32)...)
			return "c=" + base64.StdEncoding.EncodeToString(bound) + "," + after(m, ",")
		},
		"another nonce":         func(m string) string { return strings.Replace(m, "r=f", "r=g", 1) },
		"client's nonce only":   func(m string) string { return before(m, "L") + "L,p=" + after(m, ",p=") },
		"short proof":           func(m string) string { return before(m, ",p=") + ",p=AAAA" },
		"no proof":              func(m string) string { return before(m, ",p=") },
		"proof of another form": func(m string) string { return m + "=" },
	} {
		peer := &client{token: "right", mechanism: ScramPlus, gs2: "p=tls-server-end-point,,", binding: bind}
		s := NewScram(credential.SaltOf(grant), []credential.Verifier{verifier(t, "right")}, bind)
		challenge, err := s.First(peer.mechanism, peer.first())
		if err != nil {
			t.Fatal(err)
		}
		good := string(peer.final(t, challenge))
		bad := change(good)
		if bad == good {
			t.Fatalf("%s changes nothing", name)
		}
		var e *Error
		if last, _, err := s.Final([]byte(bad)); !errors.As(err, &e) || last != nil {
			t.Errorf("%s: %s %v", name, last, err)
		}
		if _, _, err := s.Final([]byte(good)); err == nil {
			t.Errorf("%s: a second try", name)
		}
	}
}

func FuzzScram(f *testing.F) {
	f.Add("n,,n=,r=x", "c=biws,r=x,p=AAAA")
	f.Add("p=tls-server-end-point,,n=,r=x", "c=,r=,p=")
	v, err := credential.NewVerifier(credential.NewSecret("right"), grant)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, final string) {
		for _, mechanism := range []string{ScramPlain, ScramPlus} {
			s := NewScram(credential.SaltOf(grant), []credential.Verifier{v}, make([]byte, 32))
			challenge, err := s.First(mechanism, []byte(first))
			if err != nil {
				continue
			}
			nonce, _, _ := strings.Cut(string(challenge), ",")
			if _, _, err := s.Final([]byte(strings.Replace(final, "r=", nonce, 1))); err == nil {
				t.Fatal("proven by chance")
			}
		}
	})
}

func before(s, sep string) string {
	head, _, _ := strings.Cut(s, sep)
	return head
}

func after(s, sep string) string {
	_, tail, _ := strings.Cut(s, sep)
	return tail
}
