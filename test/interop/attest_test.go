package interop

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/attest"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/test/interop/cosigntest"
)

const verifierID = "https://signet.example.test/prod"

// allowed is a verdict that an enforced policy allowed, at a proven level.
func allowed(image, digest string, level int) *verdict.Verdict {
	return &verdict.Verdict{
		ID: "01JZ0000000000000000000000", Decision: verdict.Allow, Allowed: true, Image: image + ":v1", Digest: digest, Pinned: image + "@" + digest,
		Build: "test", SLSA: verdict.SLSA{Level: level}, EvaluatedAt: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC),
		Policies: []verdict.PolicyVerdict{{
			Name: "default", Digest: digest, ParamsDigest: digest, SignersDigest: digest, Mode: verdict.Enforce, Decision: verdict.Allow,
			SatisfiedBy: []verdict.Satisfied{{Requirement: "signature", Facts: []string{digest}}},
		}},
	}
}

func keyOf(t *testing.T, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa-2048":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		curves := map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()}
		key, err = ecdsa.GenerateKey(curves[kind], rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// tampered is an attestation that says more than was signed.
func tampered(t *testing.T, a *attest.Attester, image, digest string) []byte {
	t.Helper()
	signed := a.Attest(t.Context(), allowed(image, digest, 1)).Bundle
	more := a.Attest(t.Context(), allowed(image, digest, 3)).Bundle
	payload := func(bundle []byte) []byte {
		_, rest, _ := bytes.Cut(bundle, []byte(`"payload":"`))
		p, _, ok := bytes.Cut(rest, []byte(`"`))
		if !ok {
			t.Fatalf("no payload in %s", bundle)
		}
		return p
	}
	return bytes.Replace(signed, payload(signed), payload(more), 1)
}

// slsa-verifier takes what is attested for what it says, and nothing else.
func TestSLSAVerifierTakesAttestations(t *testing.T) {
	t.Parallel()
	program := require.SLSAVerifier(t)
	digest := ocitest.Image(ocitest.ImageOptions{Content: "attested"}).Digest()
	const image = "registry.example.test/org/app"
	// It reads P-384 keys as SHA-384 ones and P-521 keys as SHA-512 ones, cosign reads
	// both as SHA-256 ones, and it reads no Ed25519 keys.
	for _, kind := range []string{"p256", "rsa-2048"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a, err := attest.New(attest.Config{VerifierID: verifierID, Key: keyOf(t, kind)})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			write := func(name string, body []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, body, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			envelope := func(name string, bundle []byte) string {
				body, err := attest.FromBundle(bundle)
				if err != nil {
					t.Fatal(err)
				}
				return write(name, body)
			}
			good := envelope("good", a.Attest(t.Context(), allowed(image, digest, 2)).Bundle)
			denied := allowed(image, digest, 2)
			denied.Decision, denied.Allowed = verdict.Deny, false
			key, other := write("key.pub", []byte(a.PublicKey())), "sha256:"+strings.Repeat("0", 64)
			for _, tt := range []struct {
				name, file, subject, resource, id, level string
				refused                                  bool
			}{
				{"as it is", good, digest, image + "@" + digest, verifierID, "SLSA_BUILD_LEVEL_2", false},
				{"a lower level", good, digest, image + "@" + digest, verifierID, "SLSA_BUILD_LEVEL_1", false},
				{"a higher level", good, digest, image + "@" + digest, verifierID, "SLSA_BUILD_LEVEL_3", true},
				{"another image", good, other, image + "@" + digest, verifierID, "SLSA_BUILD_LEVEL_2", true},
				{"another name", good, digest, image + "-evil@" + digest, verifierID, "SLSA_BUILD_LEVEL_2", true},
				{"another verifier", good, digest, image + "@" + digest, verifierID + "/evil", "SLSA_BUILD_LEVEL_2", true},
				{"tampered with", envelope("tampered", tampered(t, a, image, digest)), digest, image + "@" + digest, verifierID, "SLSA_BUILD_LEVEL_1", true},
				{"a denial", envelope("denied", a.Attest(t.Context(), denied).Bundle), digest, image + "@" + digest, verifierID, "SLSA_BUILD_LEVEL_0", true},
			} {
				cmd := exec.CommandContext(t.Context(), program, "verify-vsa", "--subject-digest", tt.subject, "--attestation-path", tt.file, "--verifier-id", tt.id,
					"--resource-uri", tt.resource, "--verified-level", tt.level, "--public-key-path", key)
				cmd.Env = []string{"HOME=" + dir, "HTTPS_PROXY=http://127.0.0.1:1"}
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				if refused := err != nil; refused != tt.refused {
					t.Errorf("%s: refused: %t, want %t\n%s", tt.name, refused, tt.refused, out)
				}
			}
		})
	}
}

// cosign finds what is put beside an image and takes it for an attestation by the
// key; with the fallback tag as with the referrers API.
func TestCosignTakesAttestations(t *testing.T) {
	t.Parallel()
	cosign := cosigntest.New(t)
	for name, opts := range map[string]registrytest.Options{"referrers api": {}, "fallback tag": {NoReferrers: true}} {
		reg := registrytest.New(t, opts)
		client, err := registry.New(registry.Config{Writes: true, Registries: []registry.Settings{{Host: reg.Host(), Insecure: true}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		for _, kind := range []string{"p256", "p384", "p521", "rsa-2048", "ed25519"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				cosign, reg := cosign.For(t), reg.For(t)
				a, err := attest.New(attest.Config{VerifierID: verifierID, Key: keyOf(t, kind)})
				if err != nil {
					t.Fatal(err)
				}
				stranger, err := attest.New(attest.Config{VerifierID: verifierID, Key: keyOf(t, kind)})
				if err != nil {
					t.Fatal(err)
				}
				verify := func(repo, key string, bundle func(image, digest string) []byte) error {
					image := ocitest.Image(ocitest.ImageOptions{Content: repo})
					reg.Push(repo, "v1", image)
					where, err := client.Attach(t.Context(), reg.Image(repo, image.Digest()), registry.Attachment{
						MediaType: attest.BundleType, Bundle: bundle(reg.Image(repo, ""), image.Digest()), PredicateType: attest.PredicateType, CreatedAt: time.Now(),
					})
					if err != nil || !strings.HasPrefix(where, reg.Image(repo, "")+"@sha256:") {
						t.Fatalf("%s, %v", where, err)
					}
					_, err = cosign.Run("verify-attestation", "--type", attest.PredicateType, "--insecure-ignore-tlog", "--key", cosign.File("key.pub", []byte(key)), reg.Image(repo, "v1"))
					return err
				}
				repo := "a/" + kind
				good := func(image, digest string) []byte { return a.Attest(t.Context(), allowed(image, digest, 2)).Bundle }
				if err := verify(repo, a.PublicKey(), good); err != nil {
					t.Fatal(err)
				}
				if err := verify(repo+"-stranger", stranger.PublicKey(), good); !cosigntest.Exited(err) {
					t.Errorf("cosign took it for a stranger's: %v", err)
				}
				if err := verify(repo+"-tampered", a.PublicKey(), func(image, digest string) []byte { return tampered(t, a, image, digest) }); !cosigntest.Exited(err) {
					t.Errorf("cosign took what was tampered with: %v", err)
				}
			})
		}
	}
}
