package verify_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

// A root vouches for evidence of the images that it may vouch for, and no others; what
// a key signed stands without one, but for its log entry.
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
		b.bundle(b.Sign(sigstack.SignRequest{Image: image, Key: key, Log: sigstack.RekorV1()})),
	}
	other := parseRoot(t, "other", newBench(t, sigstack.Options{Name: "other"}).TrustedRootJSON())
	for name, tt := range map[string]struct {
		roots      []*trust.Root
		repository string
		want       []string
	}{
		"an image that it covers":       {[]*trust.Root{root}, "org/app", []string{"by", "by stack", "by stack"}},
		"another image":                 {[]*trust.Root{root}, "stranger/app", []string{"by", "by", facts.CodeCertificateUntrusted}},
		"another image, and other root": {[]*trust.Root{root, other}, "stranger/app", []string{"by", "by", facts.CodeCertificateUntrusted}},
	} {
		t.Run(name, func(t *testing.T) {
			s := facts.Subject{Registry: "ghcr.io", Repository: tt.repository, Digest: image}
			f, err := newVerifier(t, tt.roots...).Image(t.Context(), s, items, verify.KeyList(key.Public()))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range f.Signatures() {
				got = append(got, strings.TrimSpace("by "+s.TrustRoot))
				if (s.TrustRoot == "") != (len(s.Transparency) == 0) {
					t.Errorf("by %q with the entries %+v", s.TrustRoot, s.Transparency)
				}
			}
			for _, r := range f.Rejections() {
				got = append(got, r.Code)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
