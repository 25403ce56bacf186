package rest

import (
	"net/http"
	"testing"
)

// BenchmarkNew is what the face costs at the start of the server.
func BenchmarkNew(b *testing.B) {
	f := newFake()
	for b.Loop() {
		New(Deps{Broker: f, Bearer: NewBearer(f)})
	}
}

// BenchmarkSubmit is one decoded, validated and answered call.
func BenchmarkSubmit(b *testing.B) {
	f := newFake()
	h := New(Deps{Broker: f, Bearer: NewBearer(f), PublicURL: "http://127.0.0.1:7400"})
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, request("POST", "/v1/requests", bodies["createRequest"]))
		f.calls = f.calls[:0]
	}
}

// hotFace answers a constant: what is left is the guards' own cost.
var hotFace = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("{}")) })

// The guards cost one recorder for a call of a face that is asked for each use
// of a credential, and nothing else.
func TestTheGuardsHardlyAllocate(t *testing.T) {
	f := newFake()
	h := New(Deps{Broker: f, Bearer: NewBearer(f), PublicURL: "http://127.0.0.1:7400", OAuth: hotFace})
	w, r := discard{http.Header{}}, request("POST", "/oauth/introspect", "")
	h.ServeHTTP(w, r) // the first makes the series of its metrics
	if n := testing.AllocsPerRun(200, func() { h.ServeHTTP(w, r) }); n > 5 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkGuards is what every call of such a face passes.
func BenchmarkGuards(b *testing.B) {
	f := newFake()
	h := New(Deps{Broker: f, Bearer: NewBearer(f), PublicURL: "http://127.0.0.1:7400", OAuth: hotFace})
	w, r := discard{http.Header{}}, request("POST", "/oauth/introspect", "")
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
