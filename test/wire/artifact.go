package wire

import (
	"context"
	"fmt"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verify"
)

// Artifact is the source for one file and its bundle, as --bundle is.
type Artifact struct {
	// Name is what the verdict calls the image.
	Name     string
	Artifact verify.Artifact
	Bundle   []byte
}

// Parse accepts the artifact's own name only.
func (a *Artifact) Parse(image string) (engine.Asked, error) {
	s, err := a.Artifact.Subject()
	if err != nil || image != a.Name {
		return engine.Asked{}, fmt.Errorf("%q is not the artifact: %w", image, err)
	}
	return engine.Asked{Digest: s.Digest}, nil
}

// Resolve names the artifact.
func (a *Artifact) Resolve(context.Context, evidence.Query) (facts.Subject, error) {
	return a.Artifact.Subject()
}

// Collect gives the one bundle.
func (a *Artifact) Collect(_ context.Context, s facts.Subject, _ evidence.Query) (evidence.Found, error) {
	return evidence.Found{
		Items: []evidence.Item{{
			Kind: evidence.KindBundle, MediaType: evidence.MediaTypeBundlePrefix + "+json", SubjectDigest: s.Digest,
			Where: "bundle", Bytes: a.Bundle, ID: evidence.Identify(evidence.KindBundle, a.Bundle, nil),
		}},
		Search: evidence.Search{
			Complete: true, ReferrersAPI: evidence.ProbeNotAsked, FallbackTag: evidence.ProbeNotAsked, CosignTags: evidence.ProbeNotAsked,
		},
	}, nil
}

func (a *Artifact) verifyFunc(v *verify.Verifier) engine.VerifyFunc {
	return func(ctx context.Context, _ facts.Subject, items []evidence.Item, keys engine.Keys) (facts.Facts, error) {
		return v.Artifact(ctx, a.Artifact, items, keys)
	}
}
