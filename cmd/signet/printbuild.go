package main

import "github.com/signet-policy/signet/internal/facts"

// build shows what an attestation's provenance proves, and what it lacks.
func (p printer) build(b *facts.Build) {
	if b == nil {
		return
	}
	p.line("    proves      SLSA level %d", b.Level)
	if b.Builder != "" {
		p.line("    builder     %s", b.Builder)
	}
	if b.Profile != "" {
		p.line("    profile     %s", b.Profile)
	}
	if b.Source.Repository != "" {
		p.line("    built of    %s at %s", b.Source.Repository, b.Source.Ref)
	}
	if b.TrustedBuilder != nil {
		p.line("    trusted     %s", *b.TrustedBuilder)
	}
	for _, why := range b.Untrusted {
		p.line("    not trusted %s", why)
	}
	for _, c := range b.Contradictions {
		p.line("    contradicts %s is %q in the certificate and %q in the predicate", c.Field, c.Certificate, c.Predicate)
	}
	for _, level := range sortedKeys(b.Missing) {
		for _, why := range b.Missing[level] {
			p.line("    lacks for %s %s", level, why)
		}
	}
}
