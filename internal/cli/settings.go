package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/daypass/daypass/client"
)

// login is what "daypass login" stored.
type login struct {
	URL       string `json:"url"`
	Token     string `json:"token"`
	Principal string `json:"principal"`
	// Workload is where the job's token came from that Token was given for;
	// empty for one that somebody made. Then Token ends at ExpiresAt.
	Workload  string    `json:"workload,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Login     bool      `json:"login,omitempty"` // Token is a login of a person, which "logout" ends
}

const (
	loginFolder = "daypass"
	loginFile   = "credentials.json"
	maxLogin    = 64 << 10
)

// client returns a client of the server that the settings name.
func (a *app) client() (*client.Client, error) {
	l, err := a.settings()
	if err != nil {
		return nil, err
	}
	if l.Workload != "" {
		return a.connectTo(l.URL, l.Token, client.WithRenewal(a.renewal(l)))
	}
	return a.connectTo(l.URL, l.Token)
}

func (a *app) connectTo(url, token string, opts ...client.Option) (*client.Client, error) {
	opts = append(opts, client.WithName("cli", a.Version))
	if err := client.CheckURL(url); err != nil {
		if a.Getenv("DAYPASS_ALLOW_PLAIN_HTTP") != "yes" {
			return nil, &Error{Code: ExitUsage, Err: err}
		}
		a.err.printf("%s DAYPASS_ALLOW_PLAIN_HTTP is set: your token may travel unencrypted\n", paint(yellow, "warning:"))
		opts = append(opts, client.WithPlainHTTP())
	}
	return client.New(url, token, opts...), nil
}

// settings returns DAYPASS_URL and DAYPASS_TOKEN, or what DAYPASS_WORKLOAD gets
// for a job, or else what was stored. A stored token is only for the server that
// it was stored with.
func (a *app) settings() (login, error) {
	env := login{URL: a.Getenv("DAYPASS_URL"), Token: a.Getenv("DAYPASS_TOKEN")}
	if env.URL != "" && env.Token != "" {
		return env, nil
	}
	if w := a.Getenv("DAYPASS_WORKLOAD"); w != "" && env.Token == "" {
		return a.jobSettings(env.URL, w)
	}
	stored, err := a.loadLogin()
	switch {
	case err != nil:
		return login{}, err
	case env.Token != "" && stored.URL == "":
		return login{}, &Error{Code: ExitUsage, Err: errors.New("which server? DAYPASS_TOKEN is set, but not DAYPASS_URL"), Next: "export DAYPASS_URL=https://daypass.example.com"}
	case env.Token != "":
		return login{URL: stored.URL, Token: env.Token}, nil
	case stored.Token == "":
		return login{}, &Error{Code: ExitDenied, Err: errors.New("you are not logged in"), Next: "daypass login --url https://daypass.example.com, or set DAYPASS_URL and DAYPASS_TOKEN"}
	case env.URL != "" && env.URL != stored.URL:
		return login{}, &Error{
			Code: ExitDenied,
			Err:  fmt.Errorf("you are logged in to %s, but DAYPASS_URL names %s", stored.URL, env.URL),
			Next: "daypass login --url " + env.URL + ", or unset DAYPASS_URL",
		}
	}
	return stored, nil
}

func (a *app) loginDir() (string, error) {
	base := a.ConfigDir
	if base == "" {
		var err error
		if base, err = os.UserConfigDir(); err != nil {
			return "", fmt.Errorf("finding the folder for settings: %w", err)
		}
	}
	return filepath.Join(base, loginFolder), nil
}

// loadLogin reads what was stored; the zero login when there is nothing. A
// file that others can read, or that is a link, is refused: its token may be
// known to others or not be ours.
func (a *app) loadLogin() (login, error) { return a.loadFrom(loginFile) }

func (a *app) loadFrom(file string) (login, error) {
	dir, err := a.loginDir()
	if err != nil {
		return login{}, err
	}
	path := filepath.Join(dir, file)
	root, err := openPrivate(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return login{}, nil
	} else if err != nil {
		return login{}, err
	}
	defer func() { _ = root.Close() }()
	info, err := root.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return login{}, nil
	case err != nil:
		return login{}, fmt.Errorf("reading the login: %w", err)
	case !info.Mode().IsRegular():
		return login{}, fail("remove it and run daypass login", "%s is not a plain file and is not read", path)
	case exposed(info):
		return login{}, fail("chmod 600 "+path+", or daypass login with a new token", "%s can be read by others and is not used", path)
	}
	f, err := root.Open(file)
	if err != nil {
		return login{}, fmt.Errorf("reading the login: %w", err)
	}
	defer func() { _ = f.Close() }()
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		return login{}, fail("", "%s was exchanged while it was read", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxLogin))
	if err != nil {
		return login{}, fmt.Errorf("reading the login: %w", err)
	}
	var l login
	if json.Unmarshal(raw, &l) != nil || l.URL == "" || l.Token == "" {
		return login{}, fail("daypass login", "%s is damaged", path)
	}
	return l, nil
}

// saveLogin stores l: in a folder of ours alone, in a new file that takes the
// old one's place, so that no link is followed and no half-written file seen.
func (a *app) saveLogin(l login) (string, error) { return a.saveTo(loginFile, l) }

func (a *app) saveTo(file string, l login) (string, error) {
	dir, err := a.loginDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", fmt.Errorf("making the folder for settings: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("making the folder for settings: %w", err)
	}
	root, err := openPrivate(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	raw, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encoding the login: %w", err)
	}
	path := filepath.Join(dir, file)
	if err := replaceFile(root, file, append(raw, '\n')); err != nil {
		return "", fmt.Errorf("storing the login: %w", err)
	}
	return path, nil
}

// removeLogin reports whether there was something to remove.
func (a *app) removeLogin() (bool, error) { return a.removeFrom(loginFile) }

func (a *app) removeFrom(file string) (bool, error) {
	dir, err := a.loginDir()
	if err != nil {
		return false, err
	}
	root, err := openPrivate(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer func() { _ = root.Close() }()
	if err := root.Remove(file); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("removing the login: %w", err)
	}
	return true, nil
}

// openPrivate opens a folder that must be one, not a link to one, and that
// nobody else may write to.
func openPrivate(dir string) (*os.Root, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fail("remove it", "%s is not a folder (a link is not followed)", dir)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, fail("chmod 700 "+dir, "%s can be written by others", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	if opened, err := root.Stat("."); err != nil || !os.SameFile(info, opened) {
		_ = root.Close()
		return nil, fail("", "%s was exchanged while it was opened", dir)
	}
	return root, nil
}

func exposed(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0
}
