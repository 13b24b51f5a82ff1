package main

import (
	"cmp"
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/attest"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/kms"
	"github.com/signet-policy/signet/internal/registry"
)

// attesterParts is what an attester is made of beside the configuration.
type attesterParts struct {
	cache attest.Cache
	log   *slog.Logger
	// ownsMachine says that who gives the configuration owns the machine and its
	// credentials, as at a command line.
	ownsMachine bool
	now         func() time.Time
}

// newAttester reads the key that the configuration names; nil where it names none.
// The caller closes what it was given.
func newAttester(ctx context.Context, f config.File, parts attesterParts) (a *attest.Attester, done func(), err error) {
	if !f.Attest.On() {
		return nil, func() {}, nil
	}
	cfg := attest.Config{VerifierID: f.Attest.VerifierID, Cache: parts.cache, PushEvery: durationOf(f.Attest.PushEvery), Log: parts.log, Now: parts.now}
	if cfg.Key, cfg.Hash, err = attesterKey(ctx, f, parts.ownsMachine); err != nil {
		return nil, nil, err
	}
	closeClient := func() {}
	if f.Attest.Push {
		client, err := newPushClient(f, parts.ownsMachine)
		if err != nil {
			return nil, nil, err
		}
		closeClient = client.Close
		cfg.Push = pusher{client}
	}
	if a, err = attest.New(cfg); err != nil {
		closeClient()
		return nil, nil, wrapUsage("attest", err)
	}
	return a, func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		a.Close(ctx)
		closeClient()
	}, nil
}

// attesterKey is the key, and what it signs a hash of where that is not the usual.
func attesterKey(ctx context.Context, f config.File, ownsMachine bool) (crypto.Signer, crypto.Hash, error) {
	if f.Attest.KeyRef == "" {
		key, err := signingKey(ctx, f.Relative(f.Attest.KeyFile))
		if err != nil {
			return nil, 0, usage("attest.key_file: %w", err)
		}
		return key, 0, nil
	}
	if f.Offline {
		return nil, 0, usage("attest.key_ref: a key in a KMS needs its service to be asked, and offline: true forbids it; use key_file")
	}
	resolver, err := kms.New(kms.Config{AllowedHosts: f.KMS.AllowedHosts, AllowAnyHost: ownsMachine, Timeout: durationOf(f.KMS.Timeout)})
	if err != nil {
		return nil, 0, wrapUsage("kms", err)
	}
	key, err := resolver.Signer(context.WithoutCancel(ctx), f.Attest.KeyRef)
	if err != nil {
		return nil, 0, fmt.Errorf("attest.key_ref: %w", err)
	}
	return key, attest.CurveHash(key.Public()), nil
}

// newPushClient is a registry client of its own: what it may write with, the one
// that reads never has.
func newPushClient(f config.File, ownsMachine bool) (*registry.Client, error) {
	cfg, err := registryConfig(f, ownsMachine)
	if err != nil {
		return nil, err
	}
	cfg.Writes = true
	for _, host := range sortedKeys(f.Attest.PushCredentials) {
		c, at := f.Attest.PushCredentials[host], "attest.push_credentials."+host
		password, err := secretFrom(f.Relative(c.PasswordFile), c.PasswordEnv)
		if err != nil {
			return nil, usage("%s: %w", at, err)
		}
		token, err := secretFrom(f.Relative(c.TokenFile), "")
		if err != nil {
			return nil, usage("%s: %w", at, err)
		}
		i := slices.IndexFunc(cfg.Registries, func(s registry.Settings) bool { return strings.EqualFold(s.Host, host) })
		if i < 0 {
			cfg.Registries = append(cfg.Registries, registry.Settings{Host: host})
			i = len(cfg.Registries) - 1
		}
		s := &cfg.Registries[i]
		s.Username, s.Password, s.Token = c.Username, registry.Secret(password), registry.Secret(token)
	}
	client, err := registry.New(cfg)
	if err != nil {
		return nil, wrapUsage("attest.push_credentials", err)
	}
	return client, nil
}

// pusher puts attestations into registries.
type pusher struct{ client *registry.Client }

func (p pusher) Push(ctx context.Context, a attest.Pushed) (string, error) {
	return p.client.Attach(ctx, a.Image, registry.Attachment{
		MediaType: attest.BundleType, Bundle: a.Bundle, PredicateType: cmp.Or(a.PredicateType, attest.PredicateType), CreatedAt: a.CreatedAt,
	})
}

// connectAttester makes the attester of a server. A command that is its own server
// for a moment asks no KMS for it.
func (s *server) connectAttester(ctx context.Context, parts serverParts) (*attest.Attester, error) {
	if parts.quiet && parts.file.Attest.KeyRef != "" {
		return nil, nil //nolint:nilnil // as if there were none
	}
	a, done, err := newAttester(ctx, parts.file, attesterParts{cache: s.cache, log: s.log})
	if err != nil || a == nil {
		return nil, err
	}
	s.later(done)
	s.log.Info("verdicts can be attested", "verifier_id", a.VerifierID(), "key", a.Fingerprint(), "push", a.Pushes())
	return a, nil
}
