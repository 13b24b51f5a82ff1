package kms

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"

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
	// AllowAnyHost lets references name any host, for a caller who owns the machine
	// and its credentials.
	AllowAnyHost bool
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
	any     bool
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
	r := &Resolver{allowed: map[string]bool{}, any: cfg.AllowAnyHost, timeout: cfg.Timeout, vault: cfg.Vault, google: cfg.Google, slots: map[*service]chan struct{}{}}
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
	pub, err := ask(ctx, r, p, func(k keyClient) (crypto.PublicKey, error) { return k.PublicKey(options.WithContext(ctx)) })
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
	ours := p.host == "" || r.any || r.allowed[sameHost(p.host)] || p.service.scheme == azureScheme && isAzure(p.host)
	if !ours {
		return parsed{}, fmt.Errorf("%w: %s of %s is not in kms.allowed_hosts, where an administrator of this installation lists it", ErrNotAllowed, p.host, p.service.scheme)
	}
	return p, nil
}

// Signer signs with the key that ref names now; its public key is read at once. A
// key that rotates meanwhile signs with another. Each signature is one call, within
// ctx. The errors are those of [Resolver.PublicKeys].
func (r *Resolver) Signer(ctx context.Context, ref string) (crypto.Signer, error) {
	p, err := r.parse(ref)
	if err != nil {
		return nil, err
	}
	p.signing = true
	read, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	pub, err := ask(read, r, p, func(k keyClient) (crypto.PublicKey, error) { return k.PublicKey(options.WithContext(read)) })
	if err != nil {
		return nil, err
	}
	if _, err := signers.NewKey(pub); err != nil {
		return nil, p.fail(ErrUnsupportedKey, "the key "+err.Error())
	}
	return signer{pub: pub, sign: func(in []byte, hash crypto.Hash) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		opts := []sigstore.SignOption{options.WithContext(ctx), options.WithCryptoSignerOpts(hash)}
		if hash != 0 {
			opts = append(opts, options.WithDigest(in))
		}
		return ask(ctx, r, p, func(k keyClient) ([]byte, error) { return k.SignMessage(bytes.NewReader(in), opts...) })
	}}, nil
}

// signer is a [crypto.Signer] whose key is elsewhere.
type signer struct {
	pub  crypto.PublicKey
	sign func(in []byte, hash crypto.Hash) ([]byte, error)
}

func (s signer) Public() crypto.PublicKey { return s.pub }

func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(digest, opts.HashFunc())
}

// ask asks the service in a goroutine of its own, so that the context ends the wait
// whatever the client does.
func ask[T any](ctx context.Context, r *Resolver, p parsed, use func(keyClient) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	slots := r.slots[p.service]
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return none, late(ctx, p)
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-slots }()
		var a answer
		a.err = r.call(ctx, p, func(k keyClient) (err error) {
			a.value, err = use(k)
			return err
		})
		done <- a
	}()
	select {
	case a := <-done:
		if a.err != nil {
			return none, a.err
		}
		return a.value, nil
	case <-ctx.Done():
		return none, late(ctx, p)
	}
}

// call asks the service.
func (r *Resolver) call(ctx context.Context, p parsed, use func(keyClient) error) error {
	err := guarded(p, func() error { return r.client(ctx, p, use) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnsupportedKey): // guarded's own
		return err
	case errors.Is(err, ErrNotConfigured):
		return p.fail(ErrNotConfigured, p.service.environment)
	default:
		return explain(ctx, p, err)
	}
}

// guarded: a client that panics on what it was answered (Azure's does, on a key
// without a type) is no reason to end the process.
func guarded(p parsed, call func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = p.fail(ErrUnsupportedKey, "its client failed on the answer")
		}
	}()
	return call()
}
