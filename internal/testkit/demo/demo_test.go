package demo_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/signet-policy/signet/internal/testkit/demo"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

var committed = filepath.Join("..", "..", "..", "bundles", "demo")

// The committed images are the ones that the generator makes today: same list,
// same digests. Signatures differ, for the keys are forgotten.
func TestCommittedDemoIsCurrent(t *testing.T) {
	t.Parallel()
	d, err := demo.New()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(committed, demo.FileIndex))
	if err != nil {
		t.Fatalf("%v: run go run ./internal/testkit/cmd/demo-images", err)
	}
	var got []*demo.Image
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Images, got, cmpopts.IgnoreUnexported(demo.Image{})); diff != "" {
		t.Errorf("run go run ./internal/testkit/cmd/demo-images; it would change (-new +committed):\n%s", diff)
	}
}

// Small, and nothing in it could sign anything.
func TestCommittedDemoIsSmallAndHasNoPrivateKey(t *testing.T) {
	t.Parallel()
	total := 0
	err := filepath.WalkDir(committed, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		total += len(content)
		if bytes.Contains(content, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a private key", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total == 0 || total > 300_000 {
		t.Errorf("the demo is %d bytes, want 1 to 300000", total)
	}
}

// The evidence of each image is what its description says, verified by
// sigstore-go with the committed root.
func TestCommittedDemoVerifies(t *testing.T) {
	t.Parallel()
	tr, err := root.NewTrustedRootFromPath(filepath.Join(committed, demo.FileTrustedRoot))
	if err != nil {
		t.Fatal(err)
	}
	release := "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
	generator := "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_container-based_slsa3.yml@refs/tags/v2.1.0"
	for name, want := range map[string][]string{
		"keyless":    {sigstack.PredicateCosignSign + " by " + release},
		"key":        {sigstack.PredicateCosignSign + " by key"},
		"old-format": {"simplesigning"},
		"unsigned":   nil,
		"copied":     {"simplesigning of another image"},
		"attested":   {sigstack.PredicateCosignSign + " by " + release, sigstack.PredicateSLSA1 + " by " + generator},
		"multi-arch": {sigstack.PredicateCosignSign + " by " + release},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := ocitest.ReadLayout(filepath.Join(committed, name))
			if err != nil {
				t.Fatal(err)
			}
			image := ""
			for _, e := range l.Entries {
				if e.Tag == "v1" {
					image = e.Digest
				}
			}
			var got []string
			for _, e := range l.Entries {
				var m ocitest.Manifest
				if err := json.Unmarshal(l.Blobs[e.Digest], &m); err != nil {
					t.Fatal(err)
				}
				for _, layer := range m.Layers {
					content := l.Blobs[layer.Digest]
					switch {
					case layer.MediaType == sigstack.MediaTypeSimpleSigning:
						what := "simplesigning"
						if !strings.Contains(string(content), image) {
							what += " of another image"
						}
						if e.Tag != ocitest.Tag(image, ".sig") {
							t.Errorf("tag %q", e.Tag)
						}
						got = append(got, what)
					case m.Subject != nil && m.Subject.Digest == image:
						got = append(got, verified(t, tr, content, image))
					}
				}
			}
			sorted := cmpopts.SortSlices(strings.Compare)
			if d := cmp.Diff(want, got, sorted); d != "" {
				t.Errorf("evidence (-want +got):\n%s", d)
			}
		})
	}
}

// verified verifies a bundle and says what it is: "<predicate type> by <subject|key>".
func verified(t *testing.T, tr *root.TrustedRoot, raw []byte, image string) string {
	t.Helper()
	var b bundle.Bundle
	if err := b.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	digest, err := hex.DecodeString(strings.TrimPrefix(image, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	opts := []verify.VerifierOption{verify.WithObserverTimestamps(1), verify.WithTransparencyLog(1)}
	if b.VerificationMaterial.GetCertificate() != nil {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(material{tr}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	policy := []verify.PolicyOption{verify.WithoutIdentitiesUnsafe()}
	if b.VerificationMaterial.GetCertificate() == nil {
		policy = []verify.PolicyOption{verify.WithKey()}
	}
	res, err := v.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha256", digest), policy...))
	if err != nil {
		t.Fatal(err)
	}
	by := "key"
	if c := res.Signature.Certificate; c != nil {
		by = c.SubjectAlternativeName
		if c.Issuer != sigstack.GitHubIssuer {
			t.Errorf("issuer %q", c.Issuer)
		}
	}
	return res.Statement.PredicateType + " by " + by
}

// material is the root and the committed public key.
type material struct{ *root.TrustedRoot }

type anyTime struct{ signature.Verifier }

func (anyTime) ValidAtTime(time.Time) bool { return true }

func (material) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	raw, err := os.ReadFile(filepath.Join(committed, demo.FilePublicKey))
	if err != nil {
		return nil, err
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(raw)
	if err != nil {
		return nil, err
	}
	v, err := signature.LoadDefaultVerifier(pub)
	return anyTime{v}, err
}

func TestWrite(t *testing.T) {
	t.Parallel()
	d, err := demo.New()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "demo")
	if err := d.Write(dir); err != nil {
		t.Fatal(err)
	}
	code := filepath.Join(dir, "embed.go")
	if err := os.WriteFile(code, []byte("package demo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(dir); err != nil { // over the first
		t.Fatal(err)
	}
	if _, err := os.Stat(code); err != nil {
		t.Error(err)
	}
	if _, err := root.NewTrustedRootFromPath(filepath.Join(dir, demo.FileTrustedRoot)); err != nil {
		t.Error(err)
	}
	mine := filepath.Join(dir, "mine")
	if err := os.WriteFile(mine, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(dir); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Errorf("error %v, want one that names the stray file", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}
