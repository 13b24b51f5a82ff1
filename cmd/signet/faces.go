package main

import (
	"fmt"

	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/pep/authzen"
	"github.com/signet-policy/signet/internal/pep/opadata"
)

// newFaces are the protocols beside REST, which ask core.
func newFaces(f config.File, core *pep.Core) ([]pep.Face, error) {
	opa, err := opadata.New(opadata.Config{Core: core, Mounts: f.OPA.Mounts, Deadline: durationOf(f.Deadlines.OPA), Build: build()})
	if err != nil {
		return nil, wrapUsage("opa.mounts", err)
	}
	zen, err := authzen.New(authzen.Config{Core: core, ExternalURL: f.ExternalURL, Deadline: durationOf(f.Deadlines.AuthZEN)})
	if err != nil {
		return nil, fmt.Errorf("authzen: %w", err)
	}
	return []pep.Face{opa, zen}, nil
}
