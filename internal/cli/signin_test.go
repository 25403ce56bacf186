package cli

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Attack: CLI-04
func TestACallbackTakesItsOwnAnswerAlone(t *testing.T) {
	const state, issuer = "a state that nobody else knows", "https://daypass.example"
	codes := make(chan answered, 1)
	h := callback(state, issuer, codes)
	come := func(method, target string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
		return w.Code
	}
	const good = "/callback?code=c&state=a+state+that+nobody+else+knows&iss=https%3A%2F%2Fdaypass.example"
	for _, bad := range []string{
		"/callback", "/", "/callback?code=c", "/callback?code=c&state=guessed&iss=https%3A%2F%2Fdaypass.example", "/callback?code=c&state=a+state+that+nobody+else+knows",
		"/callback?code=c&state=a+state+that+nobody+else+knows&iss=https%3A%2F%2Fevil.example", "/other?" + good[len("/callback?"):],
	} {
		if code := come(http.MethodGet, bad); code != http.StatusNotFound {
			t.Errorf("%s: %d", bad, code)
		}
	}
	if code := come(http.MethodPost, good); code != http.StatusNotFound || len(codes) != 0 {
		t.Errorf("a post was taken: %d", code)
	}
	if code := come(http.MethodGet, good); code != http.StatusOK || len(codes) != 1 {
		t.Errorf("its own answer: %d", code)
	}
	if code := come(http.MethodGet, good); code != http.StatusNotFound {
		t.Errorf("a second one: %d", code)
	}
	if got := <-codes; got.code != "c" || got.err != nil {
		t.Errorf("it got %+v", got)
	}
}
