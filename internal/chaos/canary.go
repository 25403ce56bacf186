package chaos

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// secrets looks for every credential that was ever revealed, in every file of
// the data folder and in the logs (A21).
func (c *checker) secrets() error {
	all := append([]string(nil), c.Secrets...)
	for _, k := range c.calls {
		var made struct {
			Secret *string `json:"secret"`
		}
		if json.Unmarshal(k.Answer, &made) == nil && made.Secret != nil {
			all = append(all, *made.Secret)
		}
	}
	needles := newNeedles(all)
	return filepath.WalkDir(c.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		inData := strings.HasPrefix(path, filepath.Join(c.Dir, "data")+string(filepath.Separator))
		if !inData && !strings.HasSuffix(path, ".log") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if secret := needles.in(content); secret != "" {
			c.violated("no credential is on the disk [A21]", "%s… is in %s", secret[:min(len(secret), 12)], filepath.Base(path))
		}
		return nil
	})
}

// needles finds any of many secrets in one pass: by two bytes from the middle,
// where they are random, and then as a whole. A part of a secret that is long
// enough to matter counts: 20 characters from its middle.
type needles struct {
	first [1 << 16]bool
	parts map[[8]byte][]string
}

const middle = 10 // where the random part of every kind of secret has begun

func newNeedles(secrets []string) *needles {
	n := &needles{parts: map[[8]byte][]string{}}
	for _, s := range secrets {
		if len(s) < middle+20 {
			continue
		}
		at := middle
		if strings.Count(s, ".") == 2 {
			at = strings.LastIndexByte(s, '.') + 1 // of a JWT its signature
		}
		key := [8]byte([]byte(s[at : at+8]))
		n.first[int(key[0])<<8|int(key[1])] = true
		n.parts[key] = append(n.parts[key], s)
	}
	return n
}

func (n *needles) in(content []byte) string {
	for i := 0; i+8 <= len(content); i++ {
		if !n.first[int(content[i])<<8|int(content[i+1])] {
			continue
		}
		for _, s := range n.parts[[8]byte(content[i:i+8])] {
			at := strings.Index(s, string(content[i:i+8]))
			if bytes.HasPrefix(content[i:], []byte(s[at:min(len(s), at+20)])) {
				return s
			}
		}
	}
	return ""
}
