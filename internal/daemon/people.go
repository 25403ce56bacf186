package daemon

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/oauth"
	"github.com/daypass/daypass/internal/oidc"
	"github.com/daypass/daypass/internal/rest"
	"github.com/daypass/daypass/internal/signin"
	"github.com/daypass/daypass/internal/web"
)

// logins says how people log in.
func (d *Daemon) logins() broker.Logins {
	l := d.cfg.Identity.Logins
	issuers, provisions := oidc.Issuers(d.cfg.Identity.OIDC)
	if d.cast != nil {
		issuers = append(issuers, d.cast.Issuer)
	}
	return broker.Logins{Issuers: issuers, Provisions: provisions, Idle: l.Idle, Absolute: l.Absolute, Remember: l.Remember, TokenTTL: l.TokenTTL}
}

// faces are those by which people log in.
type faces struct {
	web    http.Handler
	signIn *oauth.SignIn // nil where nobody could
}

// people puts together the pages on which people log in, and the way of their
// command lines.
func (d *Daemon) people(bearer *rest.Bearer) (faces, error) {
	providers, err := oidc.New(d.cfg.Identity.OIDC, oidc.Options{PublicURL: d.cfg.PublicURL, Now: d.clock.Now, Log: d.log})
	if err != nil {
		return faces{}, fmt.Errorf("identity.oidc: %w", err)
	}
	codes, devices := signin.NewCodes(d.clock.Now), signin.NewDevices(d.clock.Now)
	f := faces{web: web.New(web.Deps{
		Broker: d.broker, Providers: providers, Codes: codes, Devices: devices, PublicURL: d.cfg.PublicURL, Cast: d.cast,
		Person: bearer.Person, Failure: bearer.Failure, PeerIP: rest.PeerIP, Now: d.clock.Now, Log: d.log,
	})}
	if len(d.cfg.Identity.OIDC) > 0 {
		f.signIn = &oauth.SignIn{Codes: codes, Devices: devices, Login: d.broker.LogInCLI, End: d.broker.EndLogin}
	}
	return f, nil
}

// offerSetup tells the way in of a server that has none.
func (d *Daemon) offerSetup(ctx context.Context, tell func(string, time.Time)) error {
	if tell == nil {
		return nil
	}
	link, until, err := d.broker.SetupLink(ctx)
	if err != nil {
		return fmt.Errorf("looking for a way in: %w", err)
	}
	if link != "" {
		tell(d.cfg.PublicURL+"/setup?link="+link, until)
	}
	return nil
}
