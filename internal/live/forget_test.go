package live

import (
	"testing"
	"time"
)

// What is kept of a grant beyond its check says nothing of the grant that takes
// its place when it has been forgotten.
//
// Invariant: A1, A4
func TestAForgottenGrantIsNotAnother(t *testing.T) {
	x := New((&fakeClock{}).now)
	defer x.Close()
	put := func(n int) (string, Hash) {
		id, h := idOf("grt", n), hashOf(uint64(n))
		x.Put(grant(id), epoch.Add(time.Duration(n)*time.Hour))
		x.PutCredential(Credential{Hash: h, ID: idOf("cred", n), Grant: id, Kind: KindToken})
		return id, h
	}
	id, h := put(1)
	check := x.Check(h)
	kept, cred := check.Grant(), check.Credential()
	told := make(chan string, 1)
	x.Watch(id, func(reason string) { told <- reason })
	x.End(id, epoch, ReasonRevoked)
	if reason := <-told; reason != ReasonRevoked {
		t.Errorf("told %q", reason)
	}
	for n := 2; n < Tombstones+2; n++ { // until it is forgotten
		id, _ := put(n)
		x.End(id, epoch, ReasonReturned)
	}
	var successors []Hash // one of them is where it was
	places := map[ref]bool{}
	for n := Tombstones + 2; n < Tombstones+2+chunkLen; n++ {
		id, h := put(n)
		r, _ := x.entry(id)
		places[r] = true
		successors = append(successors, h)
		x.Check(h).Grant().MarkUsed()
		x.Check(h).Credential().MarkUsed()
	}
	if !places[kept.place.at] {
		t.Fatal("nothing took its place")
	}
	if x.LiveAt(kept, epoch) || kept.Used() || !kept.ExpiresAt().Equal(epoch.Add(time.Hour)) {
		t.Errorf("the grant lives on as another: %t, %t, %s", x.LiveAt(kept, epoch), kept.Used(), kept.ExpiresAt())
	}
	if check.Grant() != nil || check.Credential() != nil || cred.Used() {
		t.Error("the credential lives on as another")
	}
	for _, h := range successors {
		if x.Check(h).State != Live {
			t.Fatal("a successor is not live")
		}
	}
	if n := len(x.watchers.watched); n != 0 {
		t.Errorf("%d are watched", n)
	}
}
