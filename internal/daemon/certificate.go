package daemon

import (
	"crypto/tls"
	"os"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/config"
)

// lookAgain is how often the certificate's file is looked at.
const lookAgain = 10 * time.Second

// certificate is a certificate that may be renewed while it is served.
type certificate struct {
	files config.TLS

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  time.Time // of the file that was loaded
	looked time.Time
}

// get implements tls.Config.GetCertificate. A renewal that does not load
// leaves the certificate that did.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != nil && time.Since(c.looked) < lookAgain {
		return c.loaded, nil
	}
	c.looked = time.Now()
	info, err := os.Stat(c.files.Cert)
	if err == nil && c.loaded != nil && info.ModTime().Equal(c.stamp) {
		return c.loaded, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.files.Cert, c.files.Key); err == nil {
			c.loaded, c.stamp = &pair, info.ModTime()
		}
	}
	if c.loaded != nil {
		return c.loaded, nil
	}
	return nil, err
}
