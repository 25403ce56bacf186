package daemon

import (
	"fmt"
	"net"
	"strconv"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/notify"
	"github.com/daypass/daypass/internal/notify/smtp"
	"github.com/daypass/daypass/internal/notify/webhook"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	httpkind "github.com/daypass/daypass/internal/resource/http"
	pgkind "github.com/daypass/daypass/internal/resource/postgres"
	"github.com/daypass/daypass/internal/workload"
)

// Kinds are all kinds of resources. A new kind is its folder and a line here.
func Kinds() []resource.Kind {
	return []resource.Kind{
		httpkind.Kind{},
		pgkind.Kind{},
	}
}

// LoadConfig reads and checks a server's file, with the parts that packages
// above config check.
func LoadConfig(path string) (*config.Server, error) { return config.Load(path, workload.Check) }

// PolicyKinds are the same, as a catalog needs them.
func PolicyKinds() []policy.Kind {
	kinds := []policy.Kind{}
	for _, k := range Kinds() {
		kinds = append(kinds, k)
	}
	return kinds
}

// notifiers are those that the server's file names. A new one is its folder,
// its part of the file, and some lines here.
func notifiers(c config.Notify) ([]notify.Notifier, error) {
	var all []notify.Notifier
	if c.Webhook != nil {
		secret, err := c.Webhook.Secret.Value()
		if err != nil {
			return nil, fmt.Errorf("notify.webhook.secret: %w", err)
		}
		sender, err := webhook.New(webhook.Config{URL: c.Webhook.URL, PlainHTTP: true /* config warns, and it is on record */, Secrets: []credential.Secret{credential.NewSecret(secret)}})
		if err != nil {
			return nil, fmt.Errorf("notify.webhook: %w", err)
		}
		all = append(all, sender)
	}
	if c.SMTP != nil {
		sender, err := mailer(c.SMTP)
		if err != nil {
			return nil, fmt.Errorf("notify.smtp: %w", err)
		}
		all = append(all, sender)
	}
	return all, nil
}

func mailer(c *config.SMTP) (notify.Notifier, error) {
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("addr: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("addr: %w", err)
	}
	out := smtp.Config{Host: host, Port: number, TLS: smtp.TLS(c.TLS), Username: c.Username, From: c.From}
	if !c.Password.IsZero() {
		password, err := c.Password.Value()
		if err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		out.Password = credential.NewSecret(password)
	}
	return smtp.New(out)
}
