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
