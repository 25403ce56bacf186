package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/daemon"
)

func (s *story) proof(ctx context.Context) error {
	s.title("Every step is on a record that cannot be changed quietly")
	s.types("user:ada", "daypass audit verify --data %s", s.Data)
	report, err := daemon.VerifyData(ctx, s.Data, daemon.VerifyOptions{})
	if err != nil {
		return err
	}
	s.sees(true, "%s", report)
	s.types("user:ada", "daypass audit export > audit.ndjson")
	path, lines, err := s.export(ctx)
	if err != nil {
		return err
	}
	if _, err := daemon.VerifyFile(path, daemon.VerifyOptions{}); err != nil {
		return err
	}
	s.sees(true, "%d entries, with all that a check elsewhere needs", len(lines))
	if s.db != nil {
		if err := s.recorded(lines); err != nil {
			return err
		}
	}
	seq, err := falsify(path)
	if err != nil {
		return err
	}
	s.say("Somebody changes one byte of the copy: who approved, in entry %d.", seq)
	s.types("user:ada", "daypass audit verify --file audit.ndjson")
	_, err = daemon.VerifyFile(path, daemon.VerifyOptions{})
	var fault *audit.Fault
	if !errors.As(err, &fault) || fault.Seq != seq {
		return fmt.Errorf("the change of entry %d was not found: %w", seq, err)
	}
	s.sees(false, "%v", fault)
	return nil
}

// recorded looks for what ana did in the database: each statement as it was
// sent, with what came of it.
func (s *story) recorded(all []api.Event) error {
	found := map[string]int{}
	for _, e := range all {
		if e.Resource == nil || *e.Resource != "orders-db" {
			continue
		}
		found[e.Type]++
		var d struct {
			SQL        string
			SQLState   string
			Refused    string
			Rows       int
			Unfinished bool
		}
		if e.Type != audit.SessionQuery || json.Unmarshal(e.Details, &d) != nil {
			continue
		}
		what := fmt.Sprintf("%d rows", d.Rows)
		switch {
		case d.Refused != "":
			what = "refused by the gateway"
		case d.SQLState != "":
			what = "refused by PostgreSQL: " + d.SQLState
		case d.Unfinished:
			what = "cut with its session"
		}
		s.say("  entry %d, %s: %s (%s)", e.Seq, e.Actor, d.SQL, what)
	}
	return expect(found[audit.SessionStarted] >= 4 && found[audit.SessionQuery] == 4 && found[audit.SessionEnded] >= 4, "the record has %v of the database", found)
}

// export writes what `daypass audit export` writes.
func (s *story) export(ctx context.Context) (path string, lines []api.Event, err error) {
	var b bytes.Buffer
	for line, err := range s.as("user:ada").ExportAudit(ctx, 0) {
		if err != nil {
			return "", nil, err
		}
		b.Write(line.Raw)
		b.WriteByte('\n')
		lines = append(lines, line.Event)
	}
	cp, err := s.as("user:ada").AuditCheckpoint(ctx)
	if err != nil {
		return "", nil, err
	}
	end, err := audit.ExportEnd([]byte(cp.Checkpoint), cp.Key)
	if err != nil {
		return "", nil, err
	}
	b.Write(end)
	b.WriteByte('\n')
	path = filepath.Join(filepath.Dir(s.Data), "audit.ndjson")
	return path, lines, os.WriteFile(path, b.Bytes(), 0o600)
}

// falsify changes one byte of a vote's line in an export and returns its entry.
func falsify(path string) (int64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	at := 0
	for _, line := range bytes.SplitAfter(content, []byte("\n")) {
		var e struct {
			Seq  int64
			Type string
		}
		if json.Unmarshal(line, &e) == nil && e.Type == audit.ReviewRecorded {
			i := bytes.Index(line, []byte("user:bo"))
			if i >= 0 {
				content[at+i+len("user:b")] = 'a'
				return e.Seq, os.WriteFile(path, content, 0o600)
			}
		}
		at += len(line)
	}
	return 0, errors.New("the export has no vote of bo's")
}
