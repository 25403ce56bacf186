package live

import (
	"strings"
	"testing"
	"time"
)

// Whatever an ID looks like, the index gives it back, and keeps it apart from
// others.
func FuzzName(f *testing.F) {
	for _, id := range []string{"", "_", "grt_1", "grt_", idOf("grt", 1), idOf("grt_grt", 1), idOf("", 1), "grt_" + strings.Repeat("a", nameChars), "grt_" + strings.Repeat("7", nameChars), strings.ToUpper(idOf("grt", 1)), idOf("grt", 1) + "\n", "grt_\n" + idOf("", 1)[2:]} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		n, prefix, odd := nameOf(id)
		if got := n.id(prefix, odd); got != id {
			t.Fatalf("%q became %q", id, got)
		}
		n, odd = nameWith(grantPrefix, id)
		if got := n.id(grantPrefix, odd); got != id {
			t.Fatalf("%q became %q", id, got)
		}
	})
}

// A view says what was put, with IDs of a server and with others.
func TestAViewIsWhatWasPut(t *testing.T) {
	now := epoch
	x := New(func() time.Time { return now })
	for i, id := range []string{idOf("grt", 1), "grt_1", idOf("tkt", 1), "grt_" + strings.Repeat("a", nameChars)} {
		want := grant(id)
		want.OnBehalfOf, want.Request = "user:bo", strings.Replace(id, "grt", "req", 1)
		x.Put(want, epoch.Add(time.Hour))
		c := Credential{
			Hash: hashOf(uint64(i)), ID: strings.Replace(id, "grt", "cred", 1), Grant: id, Kind: KindCookie, Host: "h",
			IssuedAt: epoch.Add(time.Second), ExpiresAt: epoch.Add(time.Minute),
		}
		x.PutCredential(c)
		got, ok := x.Grant(id)
		if !ok || got.ID != id || got.Request != want.Request || got.Principal != want.Principal || got.OnBehalfOf != want.OnBehalfOf || got.Resource != want.Resource ||
			got.Incarnation != want.Incarnation || got.Kind != want.Kind || string(got.Scope) != string(want.Scope) || !got.StartsAt.Equal(want.StartsAt) {
			t.Errorf("%+v became %+v", want, got)
		}
		check := x.Check(c.Hash)
		cred := check.Credential()
		if check.Grant().ID != id || cred.Hash != c.Hash || cred.ID != c.ID || cred.Grant != id || cred.Kind != c.Kind || cred.Host != c.Host ||
			!cred.IssuedAt.Equal(c.IssuedAt) || !cred.ExpiresAt.Equal(c.ExpiresAt) {
			t.Errorf("%+v became %+v", c, cred)
		}
		// Two views are of one thing.
		got.MarkUsed()
		cred.MarkUsed()
		if again, _ := x.Grant(id); !again.Used() || !x.Check(c.Hash).Credential().Used() {
			t.Error("the use is forgotten")
		}
	}
	if g, c := x.Len(); g != 4 || c != 4 {
		t.Errorf("%d grants, %d credentials", g, c)
	}
}
