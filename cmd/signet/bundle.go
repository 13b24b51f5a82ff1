package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verify"
)

// artifactSource is the source for --bundle: one artifact, one bundle, no network.
type artifactSource struct {
	name     string
	artifact verify.Artifact
	subject  facts.Subject
	item     evidence.Item
}

// digestArgument reads sha256:<64 hex digits> or sha512:<128 hex digits>, lower case.
func digestArgument(s string) (digests map[string]string, ok bool) {
	algorithm, value, _ := strings.Cut(s, ":")
	if algorithm != "sha256" && algorithm != "sha512" || value != strings.ToLower(value) {
		return nil, false
	}
	raw, err := hex.DecodeString(value)
	size := map[string]int{"sha256": sha256.Size, "sha512": sha512.Size}[algorithm]
	return map[string]string{algorithm: value}, err == nil && len(raw) == size
}

// newArtifactSource reads the bundle, and the artifact unless it is a digest.
func newArtifactSource(bundlePath, artifact string, limits evidence.Limits) (*artifactSource, error) {
	body, err := readCapped(bundlePath, limits.BundleBytes)
	if err != nil {
		return nil, usage("--bundle: %w", err)
	}
	s := &artifactSource{name: artifact}
	if digests, ok := digestArgument(artifact); ok {
		s.subject.Digest = artifact
		s.artifact.Digests = digests
	} else {
		content, err := readCapped(artifact, maxArtifactBytes)
		if err != nil {
			return nil, usage("artifact: %w (give a file, sha256:<64 hex digits> or sha512:<128 hex digits>)", err)
		}
		s256, s512 := sha256.Sum256(content), sha512.Sum512(content)
		s.artifact = verify.Artifact{
			Digests: map[string]string{"sha256": hex.EncodeToString(s256[:]), "sha512": hex.EncodeToString(s512[:])},
			Bytes:   content,
		}
		s.subject.Digest = "sha256:" + s.artifact.Digests["sha256"]
	}
	s.item = evidence.Item{
		Kind: evidence.KindBundle, MediaType: evidence.MediaTypeBundlePrefix + "+json",
		SubjectDigest: s.subject.Digest, Where: bundlePath, Bytes: body,
		ID: evidence.Identify(evidence.KindBundle, body, nil),
	}
	return s, nil
}

// maxArtifactBytes bounds the file that is read whole, because Ed25519 signs it whole.
const maxArtifactBytes = 4 << 30

func readCapped(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return buf.Bytes(), nil
}

func (s *artifactSource) Parse(image string) (engine.Asked, error) {
	if image != s.name {
		return engine.Asked{}, errors.New("one artifact at a time with --bundle")
	}
	return engine.Asked{Digest: s.subject.Digest}, nil
}

func (s *artifactSource) Resolve(context.Context, evidence.Query) (facts.Subject, error) {
	return s.subject, nil
}

func (s *artifactSource) Collect(context.Context, facts.Subject, evidence.Query) (evidence.Found, error) {
	return evidence.Found{
		Items: []evidence.Item{s.item},
		Search: evidence.Search{
			Complete: true, ReferrersAPI: evidence.ProbeNotAsked, FallbackTag: evidence.ProbeNotAsked, CosignTags: evidence.ProbeNotAsked,
		},
	}, nil
}

// verifyFunc verifies the artifact instead of an image.
func (s *artifactSource) verifyFunc(v *verify.Verifier) engine.VerifyFunc {
	return func(ctx context.Context, _ facts.Subject, items []evidence.Item, keys engine.Keys) (facts.Facts, error) {
		return v.Artifact(ctx, s.artifact, items, keys)
	}
}
