package interop

import (
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/test/interop/cosigntest"
)

// Signed is an image that cosign signed or attested with a key, offline.
type Signed struct {
	Name   string // fit for a subtest
	Ref    string // host/repository:tag
	Repo   string
	Image  *ocitest.Artifact
	Key    cosigntest.KeyPair
	Attest string // predicate type of the attestation; "": a signature
	// Old says that it is in cosign's old format.
	Old bool
	// Annotations that were signed.
	Annotations map[string]string
}

// CosignSigns has cosign sign and attest images into a registry in every way
// that works offline with a key. The registry may lack the referrers API: cosign
// then keeps the fallback tag by itself.
func CosignSigns(tb testing.TB, cosign *cosigntest.CLI, registry *registrytest.Server) []Signed {
	tb.Helper()
	key := cosign.GenerateKeyPair("cosign")
	predicate := []byte(`{"buildDefinition":{"buildType":"https://example.test/build@v1","externalParameters":{},"resolvedDependencies":[]},` +
		`"runDetails":{"builder":{"id":"https://example.test/builder@v1"}}}`)
	var out []Signed
	for _, way := range []struct {
		name   string
		attest string
		old    bool
		notes  map[string]string
		do     func(ref string)
	}{
		{"signed", "", false, nil, func(ref string) { cosign.Sign(ref, key) }},
		{"signed with annotations", "", false, map[string]string{"env": "prod"}, func(ref string) { cosign.Sign(ref, key, "-a", "env=prod") }},
		{"signed, old", "", true, nil, func(ref string) { cosign.SignOld(ref, key) }},
		{"signed with annotations, old", "", true, map[string]string{"env": "prod"}, func(ref string) { cosign.SignOld(ref, key, "-a", "env=prod") }},
		{"attested", sigstack.PredicateSLSA1, false, nil, func(ref string) { cosign.Attest(ref, key, "slsaprovenance1", predicate) }},
		{"attested, old", sigstack.PredicateSLSA1, true, nil, func(ref string) { cosign.AttestOld(ref, key, "slsaprovenance1", predicate) }},
	} {
		s := Signed{Name: way.name, Repo: repository(way.name), Key: key, Attest: way.attest, Old: way.old, Annotations: way.notes}
		s.Image = ocitest.Image(ocitest.ImageOptions{Content: way.name})
		registry.Push(s.Repo, "v1", s.Image)
		s.Ref = registry.Image(s.Repo, "v1")
		way.do(s.Ref)
		out = append(out, s)
	}
	return out
}

// repository makes a repository name of a test's name.
func repository(name string) string {
	return "c/" + strings.NewReplacer(" ", "-", ",", "", ".", "-").Replace(name)
}
