package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// credentialAge is how long a keychain's answer is kept: helpers are processes,
// and their credentials short-lived.
const credentialAge = time.Minute

// dockerHubKey is what docker's configuration calls Docker Hub, by way of
// go-containerregistry's keychain.
const dockerHubKey = "index.docker.io"

// credential is what is known for one registry, or why it is not.
type credential struct {
	authn.AuthConfig
	// err is why the keychain could not say.
	err error
}

func (c credential) anonymous() bool {
	return c.Username == "" && c.Password == "" && c.IdentityToken == "" && c.RegistryToken == ""
}

// basic is the header for basic authentication, "" without user name.
func (c credential) basic() string {
	if c.Username == "" || c.Password == "" {
		return ""
	}
	return basicHeader(c.Username, c.Password)
}

// resource names a repository to a keychain.
type resource struct{ host, repo string }

func (r resource) String() string      { return r.host + "/" + r.repo }
func (r resource) RegistryStr() string { return r.host }

// credentials finds what is known for the session's registry: configuration, then
// the keychain. A keychain that fails leaves us anonymous, and its error is told
// when that turns out not to be enough.
func (c *Client) credentials(ctx context.Context, s session) credential {
	if s.Username != "" {
		return credential{AuthConfig: authn.AuthConfig{Username: s.Username, Password: string(s.Password)}}
	}
	if cred, ok := recall(c.auth, c.auth.creds, s.key(), c.cfg.Now()); ok {
		return cred
	}
	done := c.auth.flights.DoChan("keychain\n"+s.base+"\n"+s.repo, func() (any, error) {
		cred := c.askKeychain(ctx, s)
		remember(c.auth, c.auth.creds, s.key(), cred, c.cfg.Now().Add(credentialAge))
		return cred, nil
	})
	// A credential helper is a process that may hang, and nothing here can stop
	// it: who waits goes on without credentials when time is up.
	select {
	case r := <-done:
		cred, _ := r.Val.(credential)
		return cred
	case <-ctx.Done():
		return credential{err: errors.New("the credential helper did not answer in time")}
	}
}

func (c *Client) askKeychain(ctx context.Context, s session) credential {
	r := resource{s.Host, s.repo}
	if r.host == dockerHub {
		r.host = dockerHubKey
	}
	auth, err := authn.Resolve(context.WithoutCancel(ctx), c.cfg.Keychain, r)
	if err != nil {
		return credential{err: keychainError(err)}
	}
	cfg, err := authn.Authorization(context.WithoutCancel(ctx), auth)
	if err != nil {
		return credential{err: keychainError(err)}
	}
	if cfg == nil {
		return credential{}
	}
	cred := credential{AuthConfig: *cfg}
	if cred.Username == "" && cred.Auth != "" {
		if raw, err := base64.StdEncoding.DecodeString(cred.Auth); err == nil {
			cred.Username, cred.Password, _ = strings.Cut(string(raw), ":")
		}
	}
	cred.Auth = ""
	return cred
}

func keychainError(err error) error {
	return fmt.Errorf("the docker credentials could not be read: %s", clip(err.Error(), 200))
}

// credentialHint is what to add when a registry refuses us: why there were no
// credentials, if we looked for some and the keychain failed.
func (c *Client) credentialHint(s session) string {
	if cred, ok := recall(c.auth, c.auth.creds, s.key(), c.cfg.Now()); ok && cred.err != nil {
		return cred.err.Error()
	}
	return ""
}
