package interop

import (
	"path/filepath"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/test/interop/cosigntest"
)

// cosign agrees with what the committed demo images claim.
func TestCosignVerifiesTheDemo(t *testing.T) {
	t.Parallel()
	cosign := cosigntest.New(t)
	registry := registrytest.New(t, registrytest.Options{})
	demo, err := filepath.Abs(filepath.Join("..", "..", "bundles", "demo"))
	if err != nil {
		t.Fatal(err)
	}
	root := []string{"--trusted-root", filepath.Join(demo, "trusted_root.json")}
	by := func(subject string) []string {
		return append(root, "--certificate-oidc-issuer", sigstack.GitHubIssuer, "--certificate-identity", subject)
	}
	release := by("https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main")
	generator := by("https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_container-based_slsa3.yml@refs/tags/v2.1.0")
	for _, tt := range []struct {
		image  string
		signer []string
		attest bool
		ok     bool
	}{
		{"keyless", release, false, true},
		{"key", append(root, "--key", filepath.Join(demo, "signer.pub")), false, true},
		{"old-format", release, false, true},
		{"unsigned", release, false, false},
		{"copied", release, false, false},
		{"attested", release, false, true},
		{"attested", generator, true, true},
		{"multi-arch", release, false, true},
	} {
		name := tt.image
		args := []string{"verify"}
		if tt.attest {
			name += " provenance"
			args = []string{"verify-attestation", "--type", sigstack.PredicateSLSA1}
		}
		t.Run(name, func(t *testing.T) {
			registry.For(t).PushLayout(filepath.Join(demo, tt.image), "demo/"+tt.image)
			_, err := cosign.For(t).Run(append(append(args, tt.signer...), registry.Image("demo/"+tt.image, "v1"))...)
			if tt.ok && err != nil || !tt.ok && !cosigntest.Exited(err) {
				t.Errorf("error %v, want success %v", err, tt.ok)
			}
		})
	}
}
