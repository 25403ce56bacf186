package credential

import (
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var prefixes = []string{PrincipalToken, GrantToken, GrantCookie, LoginCookie, LoginToken, SetupLink}

// refToken is the format as the contract words it, written a second time.
func refToken(prefix string, raw []byte) string {
	digits := func(n *big.Int, width int) string {
		out := make([]byte, width)
		for i := range out {
			out[width-1-i] = alphabet[new(big.Int).Mod(n, big.NewInt(62)).Int64()]
			n = new(big.Int).Div(n, big.NewInt(62))
		}
		return string(out)
	}
	s := prefix + digits(new(big.Int).SetBytes(raw), 43)
	return s + digits(big.NewInt(int64(crc32.ChecksumIEEE([]byte(s)))), 6)
}

// These were computed by a program in another language.
func TestTokenVectors(t *testing.T) {
	var zero, count, ones [tokenBytes]byte
	for i := range count {
		count[i], ones[i] = byte(i), 0xff
	}
	for _, v := range []struct {
		prefix      string
		raw         [tokenBytes]byte
		token, hash string
	}{
		{PrincipalToken, count, "dpat_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf005cSd", "a7bf0af4acb86e78a1db3dcf3ee77426787831d07d2c93d6a883c0f611596d3b"},
		{GrantToken, zero, "dpgt_00000000000000000000000000000000000000000004WHINY", "98248f07b9b412d685305b8d1dcd92a67792bdba4193e61af818a292fb5db7d0"},
		{GrantCookie, ones, "dpgc_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13Nav5Y", "6a958971a45b5bf7cb030f5a447aabcc6ce76f55c1ef41d4cd342fe9192ed716"},
	} {
		if got := encodeToken(v.prefix, v.raw); got != v.token {
			t.Errorf("encodeToken(%s) = %s, want %s", v.prefix, got, v.token)
		}
		hash, err := ParseToken(v.prefix, v.token)
		if err != nil || hash.String() != v.hash {
			t.Errorf("ParseToken(%s) = %s, %v, want %s", v.token, hash, err, v.hash)
		}
	}
}

// Attack: TOK-14
func TestTokensAreRandomAndStoredHashed(t *testing.T) {
	seen := map[Hash]bool{}
	firsts := map[byte]bool{}
	for range 2000 {
		secret, hash := NewToken(GrantToken)
		parsed, err := ParseToken(GrantToken, secret.Reveal())
		if err != nil || parsed != hash {
			t.Fatalf("ParseToken of a new token: %v", err)
		}
		if seen[hash] {
			t.Fatal("the same token twice")
		}
		seen[hash] = true
		firsts[secret.Reveal()[len(GrantToken)+1]] = true
		if strings.Contains(hash.String(), secret.Reveal()[len(GrantToken):]) {
			t.Fatal("the hash holds the token")
		}
	}
	if len(firsts) != 62 {
		t.Fatalf("the second digit took %d values in 2000 tokens, want all 62", len(firsts))
	}
}

func TestTokenMatchesReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SampledFrom(prefixes).Draw(t, "prefix")
		raw := [tokenBytes]byte(rapid.SliceOfN(rapid.Byte(), tokenBytes, tokenBytes).Draw(t, "raw"))
		s := encodeToken(prefix, raw)
		if want := refToken(prefix, raw[:]); s != want {
			t.Fatalf("got %s, want %s", s, want)
		}
		if _, err := ParseToken(prefix, s); err != nil {
			t.Fatal(err)
		}
		// Any other byte in any one place breaks it.
		i := rapid.IntRange(0, len(s)-1).Draw(t, "i")
		c := rapid.Byte().Filter(func(c byte) bool { return c != s[i] }).Draw(t, "c")
		if _, err := ParseToken(prefix, s[:i]+string([]byte{c})+s[i+1:]); err == nil {
			t.Fatalf("accepted with byte %d changed", i)
		}
	})
}

// Attack: TOK-03, TOK-07, TOK-14
func TestParseTokenRefuses(t *testing.T) {
	secret, _ := NewToken(GrantToken)
	good := secret.Reveal()
	over := new(big.Int).Lsh(big.NewInt(1), 256) // 2^256: one too many
	wide := refToken(GrantToken, over.Bytes())
	if len(wide) != len(good) {
		t.Fatalf("the overflowing token has %d bytes", len(wide))
	}
	foreign := []byte(good[:len(good)-sumChars]) // no digit, under a checksum that is right
	foreign[20] = '-'
	sum := checkDigits(foreign)
	for name, s := range map[string]string{
		"no digit, checksum right": string(foreign) + string(sum[:]),
		"empty":                    "", "prefix alone": GrantToken, "of another kind": PrincipalToken + good[len(GrantToken):],
		"trailing space": good + " ", "leading space": " " + good[1:], "newline": good[:len(good)-1] + "\n", "short": good[:len(good)-1], "long": good + "0",
		"NUL": good[:20] + "\x00" + good[21:], "not ASCII": good[:20] + "é" + good[22:], "value of 2^256": wide,
		"base64url": good[:20] + "-_" + good[22:], "all z": "dpgt_" + strings.Repeat("z", 49),
	} {
		if hash, err := ParseToken(GrantToken, s); err != ErrMalformed || hash != (Hash{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseToken(PrincipalToken, good); err != ErrMalformed {
		t.Error("a grant token passed as an API token")
	}
	if _, err := ParseToken(strings.Repeat("p", maxPrefix+1), strings.Repeat("p", maxPrefix+1+49)); err != ErrMalformed {
		t.Error("a prefix too long for the buffer passed")
	}
}

// A prefix for which ParseToken has no room makes no token that it would refuse.
func TestPrefixesThatFit(t *testing.T) {
	longest := strings.Repeat("p", maxPrefix)
	secret, hash := NewToken(longest)
	if got, err := ParseToken(longest, secret.Reveal()); err != nil || got != hash {
		t.Errorf("a prefix of %d bytes: %v", maxPrefix, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a longer prefix was taken")
		}
	}()
	NewToken(longest + "p")
}

func TestParseTokenDoesNotAllocate(t *testing.T) {
	secret, _ := NewToken(GrantToken)
	good, bad := secret.Reveal(), secret.Reveal()[:53]+"!"
	if n := testing.AllocsPerRun(100, func() {
		_, _ = ParseToken(GrantToken, good)
		_, _ = ParseToken(GrantToken, bad)
	}); n != 0 {
		t.Errorf("%v allocations per check", n)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("dpat_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf005cSd")
	f.Add("dpgt_00000000000000000000000000000000000000000004WHINY")
	f.Add("dpgc_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13Nav5Y")
	f.Add("dpgt_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		accepted := 0
		for _, prefix := range prefixes {
			if _, err := ParseToken(prefix, s); err != nil {
				continue
			}
			accepted++
			n := new(big.Int)
			for _, c := range []byte(s[5:48]) {
				n.Add(n.Mul(n, big.NewInt(62)), big.NewInt(int64(strings.IndexByte(alphabet, c))))
			}
			if n.BitLen() > 256 {
				t.Fatal("a value over 256 bits")
			}
			if again := encodeToken(prefix, [32]byte(n.FillBytes(make([]byte, 32)))); again != s {
				t.Fatalf("%q is a second spelling of %q", s, again)
			}
		}
		if accepted > 1 {
			t.Fatal("one string is a token of two kinds")
		}
	})
}

func BenchmarkParseToken(b *testing.B) {
	secret, _ := NewToken(GrantToken)
	s := secret.Reveal()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseToken(GrantToken, s); err != nil {
			b.Fatal(err)
		}
	}
}

func TestHashIsHex(t *testing.T) {
	h := Hash{0: 0xab, 31: 0x01}
	if b, err := hex.DecodeString(h.String()); err != nil || Hash(b) != h {
		t.Errorf("String() = %q", h)
	}
}
