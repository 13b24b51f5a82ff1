package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pending"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/pep/authzen"
	"github.com/signet-policy/signet/internal/pep/opadata"
)

// newFaces are the protocols beside REST, which ask core.
func newFaces(f config.File, core *pep.Core, gateways opadata.Gateways) ([]pep.Face, error) {
	opa, err := opadata.New(opadata.Config{Core: core, Mounts: f.OPA.Mounts, Gateways: gateways, Unmapped: f.MCP.Unmapped, Deadline: durationOf(f.Deadlines.OPA), Build: build()})
	if err != nil {
		return nil, wrapUsage("opa.mounts", err)
	}
	zen, err := authzen.New(authzen.Config{Core: core, ExternalURL: f.ExternalURL, Deadline: durationOf(f.Deadlines.AuthZEN)})
	if err != nil {
		return nil, fmt.Errorf("authzen: %w", err)
	}
	return []pep.Face{opa, zen}, nil
}

// imageName gives the normalised names of images.
func imageName(source engine.Source) func(image string) (string, error) {
	return func(image string) (string, error) {
		asked, err := source.Parse(image)
		return asked.Name(), err
	}
}

// connectFaces makes what the faces ask, and the queue of what is fetched later.
func (s *server) connectFaces(ctx context.Context, source engine.Source) (err error) {
	name := imageName(source)
	s.core, err = pep.New(pep.Config{Decider: s.engine, ImageName: name, ExternalURL: s.file.ExternalURL, Build: build(), Log: s.log})
	if err != nil {
		return err
	}
	if !s.file.Database.Set() { // who held claims on this store is no more
		if err := s.store.FreeVerdictRequests(ctx); err != nil {
			return err
		}
	}
	s.pending, err = pending.New(pending.Config{Store: s.store, Asker: s.core, ImageName: name, Webhooks: s.watching.hooks.of, Log: s.log})
	return err
}

// requests is the queue as the API wants it.
type requests struct{ *pending.Queue }

// Add keeps a question.
func (r requests) Add(ctx context.Context, q pep.Question) (client.VerdictRequestStatus, error) {
	got, err := r.Queue.Add(ctx, q)
	if errors.Is(err, pending.ErrFull) {
		return got, fmt.Errorf("%w: %w", api.ErrBusy, err)
	}
	return got, historyError(err)
}

// Get tells how one stands.
func (r requests) Get(ctx context.Context, id string) (s client.VerdictRequestStatus, principal string, err error) {
	s, principal, err = r.Queue.Get(ctx, id)
	if errors.Is(err, pending.ErrNotFound) {
		return s, principal, fmt.Errorf("%w: %w", api.ErrNotFound, err)
	}
	return s, principal, historyError(err)
}
