package verify_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	sgverify "github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

// BenchmarkKeyless compares one keyless bundle from bytes to facts with the floor:
// sigstore-go's parsing and verifying of the same bytes, and nothing else. Run it
// with -cpu 1; the ratio is the measure, not the time.
func BenchmarkKeyless(b *testing.B) {
	for _, name := range []string{"keyless-r1", "keyless-r2"} {
		digest, item, root := benchItem(b, name)
		b.Run(name+"/floor", func(b *testing.B) {
			raw, err := hex.DecodeString(digest[len("sha256:"):])
			if err != nil {
				b.Fatal(err)
			}
			v, err := sgverify.NewVerifier(root.Material(), sgverify.WithObserverTimestamps(1), sgverify.WithTransparencyLog(1), sgverify.WithSignedCertificateTimestamps(1))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				var bu bundle.Bundle
				if err := bu.UnmarshalJSON(item.Bytes); err != nil {
					b.Fatal(err)
				}
				if _, err := v.Verify(&bu, sgverify.NewPolicy(sgverify.WithArtifactDigest("sha256", raw), sgverify.WithoutIdentitiesUnsafe())); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/signet", func(b *testing.B) {
			v := verifierWith(b, evidence.DefaultLimits(), root)
			b.ReportAllocs()
			for b.Loop() {
				oneSignature(b, imageFactsOf(b, v, digest, item))
			}
		})
	}
}

func benchItem(b *testing.B, name string) (string, evidence.Item, *trust.Root) {
	b.Helper()
	root := rootFile(b, filepath.Join(samplesDir, "trusted-root.json"))[0]
	dir := filepath.Join(samplesDir, "layouts", name)
	l := layout{b, dir}
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		b.Fatal(err)
	}
	for _, d := range l.manifest(raw).Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] == "v1" {
			_, items := l.image(d.Digest)
			return d.Digest, items[0], root
		}
	}
	b.Fatal("no image")
	return "", evidence.Item{}, nil
}

func imageFactsOf(t testing.TB, v *verify.Verifier, digest string, item evidence.Item) facts.Facts {
	t.Helper()
	f, err := v.Image(t.Context(), facts.Subject{Digest: digest}, []evidence.Item{item}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
