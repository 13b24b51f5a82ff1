package verify

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// ErrArtifact says that an artifact is described in a way that names nothing.
var ErrArtifact = errors.New("the artifact is not named")

// Artifact is any file that a bundle may be about.
type Artifact struct {
	// Digests are lower-case hex digests by algorithm: sha256, sha384, sha512; at
	// least one of the first and the last. They are computed from Bytes where
	// Bytes is not nil.
	Digests map[string]string
	// Bytes are the artifact, nil where only a digest of it is known. An Ed25519
	// signature over an artifact can be verified with its bytes only.
	Bytes []byte
}

// Subject names the artifact: by its SHA-256, else its SHA-512.
func (a Artifact) Subject() (facts.Subject, error) {
	t, err := a.target()
	if err != nil {
		return facts.Subject{}, err
	}
	return facts.Subject{Digest: t.name}, nil
}

// Artifact verifies bundles about an artifact. keys are candidates for every
// item, nil for none. Errors are that of ctx, or wrap [ErrArtifact].
func (v *Verifier) Artifact(ctx context.Context, a Artifact, items []evidence.Item, keys Keys) (facts.Facts, error) {
	t, err := a.target()
	if err != nil {
		return facts.Facts{}, err
	}
	return v.all(ctx, facts.Subject{Digest: t.name}, items, keys, func(*evidence.Item) (*target, *rejection) { return t, nil })
}

var digestSizes = map[string]int{"sha256": sha256.Size, "sha384": sha512.Size384, "sha512": sha512.Size}

func (a Artifact) target() (*target, error) {
	t := &target{digests: map[string][]byte{}, content: a.Bytes}
	if a.Bytes != nil {
		s256, s384, s512 := sha256.Sum256(a.Bytes), sha512.Sum384(a.Bytes), sha512.Sum512(a.Bytes)
		t.digests = map[string][]byte{"sha256": s256[:], "sha384": s384[:], "sha512": s512[:]}
	}
	for alg, given := range a.Digests {
		size, ok := digestSizes[alg]
		if !ok {
			return nil, fmt.Errorf("%w: %s is not sha256, sha384 or sha512", ErrArtifact, short(alg))
		}
		raw, ok := parseDigest(alg+":"+given, alg, size)
		if !ok {
			return nil, fmt.Errorf("%w: %s is not a %s digest of %d lower-case hex digits", ErrArtifact, short(given), alg, 2*size)
		}
		if have, known := t.digests[alg]; known && string(have) != string(raw) {
			return nil, fmt.Errorf("%w: its %s digest is %x and not %s", ErrArtifact, alg, have, given)
		}
		t.digests[alg] = raw
	}
	for _, alg := range []string{"sha256", "sha512"} {
		if d := t.digests[alg]; d != nil {
			t.name = alg + ":" + hex.EncodeToString(d)
			return t, nil
		}
	}
	return nil, fmt.Errorf("%w: neither its bytes nor its sha256 or sha512 digest are given", ErrArtifact)
}
