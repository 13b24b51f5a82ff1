package kms

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/signet-policy/signet/internal/signers"
)

const (
	defaultTimeout = 5 * time.Second
	// maxAnswer bounds what a service may send for one key: many times the largest.
	maxAnswer = 1 << 20
	// maxCalls is how many calls of one service are under way at once. Sigstore's
	// client for Vault knows neither context nor deadline, so one that is hung stays
	// until Vault or the network ends it: by this bound, and the caller by its own.
	maxCalls = 8
)

// Config says what references may reach. The zero value is of use.
type Config struct {
	// AllowedHosts are the hosts, as HOST (which is HOST:443) or HOST:PORT, that a
	// reference may name: awskms://HOST/…, and azurekms:// outside of Azure's own
	// domains. Each is compared whole; there are no patterns.
	AllowedHosts []string
	// Timeout bounds one call of PublicKeys, its retries included. 0 means 5 s.
	Timeout time.Duration
	// Vault, where it is set, wins over the environment.
	Vault Vault
	// Google names another endpoint of Cloud KMS.
	Google Google
}

// Vault is where hashivault:// leads. Every empty field is taken from the
// environment: VAULT_ADDR, VAULT_TOKEN (else the file ~/.vault-token),
// TRANSIT_SECRET_ENGINE_PATH.
type Vault struct {
	// Address is a URL.
	Address string
	// Token is a secret.
	Token string
	// Path is where the transit engine is mounted, "transit" by default.
	Path string
}

// LogValue keeps the token out of logs.
func (v Vault) LogValue() slog.Value {
	return slog.GroupValue(slog.String("address", v.Address), slog.String("path", v.Path))
}

// Google is where gcpkms:// leads.
type Google struct {
	// Endpoint is HOST:PORT, for Private Service Connect and regional endpoints;
	// empty means Google's.
	Endpoint string
	// RootCAs are whom the endpoint's certificate must come from; nil means the
	// system's.
	RootCAs *x509.CertPool
}

// Resolver reads public keys by reference. It is safe for concurrent use and keeps
// nothing: neither keys nor connections.
type Resolver struct {
	allowed map[string]bool
	timeout time.Duration
	vault   Vault
	google  Google
	slots   map[*service]chan struct{}
}

// New makes a Resolver. It reaches nothing, and does not read the environment.
func New(cfg Config) (*Resolver, error) {
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("kms.timeout: %s is negative; give the time that one read may take, such as 5s", cfg.Timeout)
	}
	r := &Resolver{allowed: map[string]bool{}, timeout: cfg.Timeout, vault: cfg.Vault, google: cfg.Google, slots: map[*service]chan struct{}{}}
	if r.timeout == 0 {
		r.timeout = defaultTimeout
	}
	for i, host := range cfg.AllowedHosts {
		if !validHost(host) {
			return nil, fmt.Errorf("kms.allowed_hosts[%d]: %q is not HOST or HOST:PORT, without a scheme and a path", i, host)
		}
		r.allowed[sameHost(host)] = true
	}
	for i := range services {
		r.slots[&services[i]] = make(chan struct{}, maxCalls)
	}
	return r, nil
}

// Check says whether ref has the form of a reference and names no host that is not
// allowed: ErrReference or ErrNotAllowed. It reaches nothing.
func (r *Resolver) Check(ref string) error {
	_, err := r.parse(ref)
	return err
}

// PublicKeys returns the public key that ref names now, in PEM (PKIX), as
// signers.ParseKeys reads it: one key, the newest version where the reference
// names no version. The error is one of those in this package's list; an
// ErrUnavailable of a call that ran out of time is a context error too.
func (r *Resolver) PublicKeys(ctx context.Context, ref string) (pem string, err error) {
	p, err := r.parse(ref)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	pub, err := r.aside(ctx, p)
	if err != nil {
		return "", err
	}
	key, err := signers.NewKey(pub)
	if err != nil {
		return "", p.fail(ErrUnsupportedKey, "the key "+err.Error())
	}
	return key.PEM, nil
}

func (r *Resolver) parse(ref string) (parsed, error) {
	p, err := parse(ref)
	if err != nil {
		return parsed{}, err
	}
	ours := p.host == "" || r.allowed[sameHost(p.host)] || p.service.scheme == azureScheme && isAzure(p.host)
	if !ours {
		return parsed{}, fmt.Errorf("%w: %s of %s is not in kms.allowed_hosts, where an administrator of this installation lists it", ErrNotAllowed, p.host, p.service.scheme)
	}
	return p, nil
}

// aside reads the key in a goroutine of its own, so that the context ends the wait
// whatever the client does.
func (r *Resolver) aside(ctx context.Context, p parsed) (crypto.PublicKey, error) {
	slots := r.slots[p.service]
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, late(ctx, p)
	}
	type answer struct {
		pub crypto.PublicKey
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-slots }()
		var a answer
		a.pub, a.err = r.read(ctx, p)
		done <- a
	}()
	select {
	case a := <-done:
		return a.pub, a.err
	case <-ctx.Done():
		return nil, late(ctx, p)
	}
}

// read asks the service.
func (r *Resolver) read(ctx context.Context, p parsed) (crypto.PublicKey, error) {
	pub, err := guarded(p, func() (crypto.PublicKey, error) { return r.client(ctx, p) })
	switch {
	case err == nil:
		return pub, nil
	case errors.Is(err, ErrUnsupportedKey): // guarded's own
		return nil, err
	case errors.Is(err, ErrNotConfigured):
		return nil, p.fail(ErrNotConfigured, p.service.environment)
	default:
		return nil, explain(ctx, p, err)
	}
}

// guarded: a client that panics on what it was answered (Azure's does, on a key
// without a type) is no reason to end the process.
func guarded(p parsed, call func() (crypto.PublicKey, error)) (pub crypto.PublicKey, err error) {
	defer func() {
		if recover() != nil {
			pub, err = nil, p.fail(ErrUnsupportedKey, "its client failed on the answer")
		}
	}()
	return call()
}
