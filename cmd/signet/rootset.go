package main

import (
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

// rootSet is the trust roots, in the order in which they are tried, and what
// verifies with them. It is immutable.
type rootSet struct {
	all      []*trust.Root
	verifier *verify.Verifier
	// named is what they are made of, but for when they were refreshed; see rootsName.
	named string
}

// newRootSet takes cfg without its Roots.
func newRootSet(roots []*trust.Root, cfg verify.Config) (*rootSet, error) {
	cfg.Roots = roots
	v, err := verify.New(cfg)
	if err != nil {
		return nil, err
	}
	return &rootSet{all: roots, verifier: v}, nil
}
