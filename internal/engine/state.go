package engine

import (
	"context"
	"crypto"
	"slices"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

// Asked is an image reference, parsed and normalised without asking anybody.
type Asked struct {
	// Registry and Repository are "" where the subject has no name.
	Registry   string `json:"registry,omitempty"`
	Repository string `json:"repository,omitempty"`
	Tag        string `json:"tag,omitempty"`
	Digest     string `json:"digest,omitempty"`
	// Scope names the credentials that would be used, so that one caller's
	// leases never answer for another's rights.
	Scope string `json:"-"`
}

// Name is the normalised name that policies' image globs are matched against.
func (a Asked) Name() string {
	return facts.Subject{Registry: a.Registry, Repository: a.Repository}.Name()
}

// Source finds images and the evidence attached to them. Errors are
// *evidence.Problem.
type Source interface {
	Parse(image string) (Asked, error)
	Resolve(ctx context.Context, q evidence.Query) (facts.Subject, error)
	Collect(ctx context.Context, s facts.Subject, q evidence.Query) (evidence.Found, error)
}

// Keys are the public keys in scope for an image, as the verifier asks for them:
// verify.Keys says what each method gives.
type Keys = interface {
	ByFingerprint(fingerprint string) crypto.PublicKey
	InScope(most int) (keys []crypto.PublicKey, more bool)
}

// VerifyFunc turns evidence into facts. Its only errors are those of ctx.
type VerifyFunc func(ctx context.Context, s facts.Subject, items []evidence.Item, keys Keys) (facts.Facts, error)

// PolicySet is one compiled policy.
type PolicySet interface {
	Revision() string
	Digest() string
	ParamsDigest() string
	// Monotone policies say that more evidence can only help, so that they may
	// allow on an incomplete search.
	Monotone() bool
	// Context gives the request context keys that the policy declares, with
	// their allowed values.
	Context() map[string][]string
	// Evaluate returns an error wrapping [ErrTimeLimit] when the answer was not
	// found in time, [ErrInputTooLarge] when there was more to judge than its limits
	// allow, and [ErrNoRules] when there is nothing to ask; any other error
	// denies.
	Evaluate(ctx context.Context, in *facts.Input) (verdict.Result, error)
}

// Policy is one named policy in force.
type Policy struct {
	Name string
	Mode verdict.Mode
	// Document names what the policy was made of, "" where it has no name: policies
	// of one document, with the same signers, decide alike.
	Document string
	// Applies says whether the policy speaks of an image by its name.
	Applies func(name string) bool
	// When is what a question's context must say for the policy to speak of it; none:
	// it speaks of every question. What is said there is declared.
	When map[string]string
	// Fallback stands in for policies that nobody has written: it is silent where one
	// that Replaces it speaks.
	Fallback bool
	// Replaces says that the operator has written it, for questions of its When, in
	// the fallback's place. What comes by the API only ever adds.
	Replaces bool
	Set      PolicySet
	// Signers are the signers in force for this policy: its own, and the
	// registered ones it asks for.
	Signers *signers.Set
	// Registered says that registered signers count for it, so that registering
	// one mends a denial.
	Registered bool
	// Counts says whether a signature by a trusted signer counts towards the
	// signature requirement (transparency log, source), before matching.
	Counts func(s facts.Signature, trust []facts.TrustInfo) bool
	// Builds says what the SLSA provenance of an attestation proves about a digest,
	// and whether the policy trusts its builder; trusted are the names of the trusted
	// signers that the signature matches. Nil weighs nothing.
	Builds func(a facts.Attestation, subject string, trusted []string) facts.Build
	// RequireSignature is false for a policy that wants none.
	RequireSignature bool
	// Groups are those of its signers that must sign beside what the signature
	// requirement asks for.
	Groups []signers.Group
	// Platforms is what it asks of an index, one of the Platforms constants of package
	// facts, or "".
	Platforms string
	// Attestations are those that it requires.
	Attestations []AttestationRequirement
	// Ages says that time alone can end what it allows, because it asks how old
	// attestations are: its results say until when they hold.
	Ages bool
	// KeysWithoutLog says that a key's signature counts without a log entry.
	KeysWithoutLog bool
	// AllPlatforms asks for the evidence of every platform of an index, as Platforms may
	// too.
	AllPlatforms bool
	// Attest asks for an attestation with every verdict that the policy is part of.
	Attest bool
	// ShadowOf names the policy that one of mode shadow is compared with, "" for the
	// verdict.
	ShadowOf string
	// Exceptions are those of the policy, each with its end; answers do not outlast
	// one.
	Exceptions []Boundary
}

// Root is what the engine needs to know of a trust root.
type Root struct {
	Name, Digest string
	HasLog       bool
	// RefreshedAt is zero for a root that is never to be refreshed.
	RefreshedAt time.Time
}

// State is everything in force at one revision: immutable, swapped as a whole.
type State struct {
	Active   verdict.Active
	Policies []Policy
	// Shadows are the policies of mode shadow. They are in none of the above, so
	// that no verdict, expiry or search depends on them.
	Shadows []Policy
	Roots   []Root
	// Attests says that some policy has Attest.
	Attests bool
	Verify  VerifyFunc
	Tokens  *auth.Tokens
	// RootFiles gives the trust roots that may vouch for an image, as other programs
	// read them; nil: they are not at hand.
	RootFiles func(name string) []RootFile
	// Offline says that the roots are not to be refreshed, whatever they say.
	Offline bool
	// GraceNote is set when the state could not be confirmed and the operator
	// accepts the last known one; it appears in each verdict.
	GraceNote string
}

// scope returns the policies that speak of a question, in order: about an image of
// this name, with this context.
func (st *State) scope(name string, context map[string]string) []Policy {
	var in []Policy
	replaced := false
	for _, p := range st.Policies {
		if p.Applies(name) && p.when(context) {
			in = append(in, p)
			replaced = replaced || p.Replaces && p.Mode != verdict.Disabled
		}
	}
	if replaced {
		in = slices.DeleteFunc(in, func(p Policy) bool { return p.Fallback })
	}
	return in
}

// named returns the policies that speak of an image of this name, whatever else a
// question says.
func (st *State) named(name string) []Policy {
	var in []Policy
	for _, p := range st.Policies {
		if p.Applies(name) {
			in = append(in, p)
		}
	}
	return in
}

func (p Policy) when(context map[string]string) bool {
	for k, v := range p.When {
		if context[k] != v {
			return false
		}
	}
	return true
}
