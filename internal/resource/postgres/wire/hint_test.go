package wire

import (
	"encoding/binary"
	"strings"
	"testing"
)

func TestAHintIsAdded(t *testing.T) {
	ours := Error{Severity: SeverityError, Code: CodePrivilege, Message: "permission denied for table customers", Detail: "d"}
	body := ours.AppendError(nil)[5:]
	out := AppendHinted([]byte("before"), body, "ask")
	if !strings.HasPrefix(string(out), "beforeE") {
		t.Fatalf("%q", out)
	}
	out = out[len("before"):]
	if int(binary.BigEndian.Uint32(out[1:])) != len(out)-1 {
		t.Errorf("its length is wrong: %q", out)
	}
	want := ours
	want.Hint = "ask"
	if got := ReadError(out[5:]); *got != want {
		t.Errorf("%+v", got)
	}
	for _, odd := range []string{"", "\x00", "SERROR", "SERROR\x00", "SERROR\x00C42501"} {
		out := AppendHinted(nil, []byte(odd), "ask")
		if string(out[5:]) != odd || int(binary.BigEndian.Uint32(out[1:])) != len(out)-1 {
			t.Errorf("%q became %q", odd, out)
		}
	}
}
