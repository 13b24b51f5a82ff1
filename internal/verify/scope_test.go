package verify_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

// A root vouches for evidence of the images that it may vouch for, and no others.
func TestRootsCoverImages(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	root, err := b.root.For([]string{"ghcr.io/org/**"})
	if err != nil {
		t.Fatal(err)
	}
	key := b.Key("scope", sigstack.ECDSAP256SHA256)
	items := []evidence.Item{
		b.bundle(b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1()})),
		b.bundle(b.Sign(sigstack.SignRequest{Image: image, Key: key})),
	}
	other := parseRoot(t, "other", newBench(t, sigstack.Options{Name: "other"}).TrustedRootJSON())
	for name, tt := range map[string]struct {
		roots      []*trust.Root
		repository string
		want       []string
	}{
		"an image that it covers":       {[]*trust.Root{root}, "org/app", []string{"verified", "verified"}},
		"another image":                 {[]*trust.Root{root}, "stranger/app", []string{facts.CodeCertificateUntrusted, facts.CodeCertificateUntrusted}},
		"another image, and other root": {[]*trust.Root{root, other}, "stranger/app", []string{facts.CodeCertificateUntrusted, "verified"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := facts.Subject{Registry: "ghcr.io", Repository: tt.repository, Digest: image}
			f, err := newVerifier(t, tt.roots...).Image(t.Context(), s, items, verify.KeyList(key.Public()))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range f.Signatures() {
				got = append(got, "verified")
			}
			for _, r := range f.Rejections() {
				got = append([]string{r.Code}, got...)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
