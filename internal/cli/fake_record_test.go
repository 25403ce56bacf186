package cli_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
)

// record is a real audit log in memory.
type record struct {
	head   audit.Head
	hashes []tlog.Hash
	events []api.Event // oldest first, with their leaves
	skey   string
	vkey   string
}

// ReadHashes makes it a tlog.HashReader.
func (l *record) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, 0, len(indexes))
	for _, i := range indexes {
		out = append(out, l.hashes[i])
	}
	return out, nil
}

func (l *record) add(t testing.TB, actor, kind, reason string) {
	t.Helper()
	e := &audit.Entry{
		ID: newID("evt_"), Time: time.Now().UTC().Truncate(time.Millisecond), Type: kind, Actor: actor, Resource: "orders-api",
		Outcome: audit.Allowed, Source: audit.Source{IP: "127.0.0.1", Channel: "cli"}, Details: map[string]any{"note": hostile},
	}
	var shown *string
	if reason != "" {
		e.Reason, shown = audit.NewText([16]byte{1}, reason), &reason
	}
	added, err := audit.Append(l.head, l, []*audit.Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	l.head = added.Head
	for _, h := range added.Hashes {
		l.hashes = append(l.hashes, h.Hash)
	}
	ev, err := audit.EventOf(added.Entries[0], &added.Leaf, shown)
	if err != nil {
		t.Fatal(err)
	}
	l.events = append(l.events, ev)
}

func (l *record) sign() (api.Checkpoint, error) {
	if l.skey == "" {
		var err error
		if l.skey, l.vkey, err = audit.NewSigner("test", rand.Reader); err != nil {
			return api.Checkpoint{}, err
		}
	}
	signer, err := audit.ParseSigner(l.skey)
	if err != nil {
		return api.Checkpoint{}, err
	}
	root, err := audit.Root(l.head, l)
	if err != nil {
		return api.Checkpoint{}, err
	}
	note, err := audit.SignCheckpoint("test", l.head, root, signer, time.Now())
	return api.Checkpoint{Checkpoint: string(note), Key: l.vkey}, err
}

func (f *fakeAPI) checkpoint(w http.ResponseWriter, _ *http.Request, who caller) {
	if !who.Auditor {
		problem(w, 403, "forbidden", "Only auditors may do this.")
		return
	}
	cp, err := f.record.sign()
	if err != nil {
		problem(w, 500, "internal", err.Error())
		return
	}
	reply(w, 200, cp)
}

func (f *fakeAPI) auditEvents(w http.ResponseWriter, r *http.Request, who caller) {
	if !who.Auditor {
		problem(w, 403, "forbidden", "Only auditors may do this.")
		return
	}
	q := r.URL.Query()
	after, ascending := int64(0), q.Has("after")
	if ascending {
		after, _ = strconv.ParseInt(q.Get("after"), 10, 64)
	}
	items := []api.Event{}
	for _, e := range f.record.events {
		if e.Seq > after && (q.Get("type") == "" || q.Get("type") == e.Type) {
			items = append(items, e)
		}
	}
	if !ascending {
		slices.Reverse(items)
	}
	if r.Header.Get("Accept") == "application/x-ndjson" {
		for _, e := range items {
			line, _ := json.Marshal(e)
			_, _ = fmt.Fprintf(w, "%s\n", line)
		}
		return
	}
	for i := range items {
		items[i].Leaf = nil
	}
	listOf(w, r, items)
}
