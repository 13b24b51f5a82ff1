package corpus

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/verdict"
)

// What is said of an index and of one of its platforms.
func TestSamplePlatforms(t *testing.T) {
	roots := readRoots(t, filepath.Join(samples, "trusted-root.json"))
	w := wanted{log: true, signers: []trusted{keylessLike(workflowIssuer, ".*")}}
	for _, tt := range []struct {
		name, platform string
		signatures     int // of the index and of the platform
		attestations   []string
	}{
		{"multi-arch", "", 1, nil},
		{"multi-arch", "linux/amd64", 2, nil},
		{"multi-arch", "linux/arm64", 2, []string{"https://spdx.dev/Document"}},
		{"index-only", "", 1, nil},
		{"index-only", "linux/amd64", 1, nil},
	} {
		t.Run(tt.name+" "+tt.platform, func(t *testing.T) {
			c := sampleNamed(t, tt.name)
			got := ask(t, asked{
				roots: roots, policy: w.policy(t), platform: tt.platform,
				image: layoutReference(t, filepath.Join(samples, c.Layout), c.Digest), registry: registry.Config{AllowLayouts: true},
			})
			if got.verdict.Decision != verdict.Allow || got.verdict.Digest != c.Digest {
				t.Errorf("%s for %s: %v", got.verdict.Decision, got.verdict.Digest, codes(got.verdict))
			}
			if n := len(got.input.Signatures); n != tt.signatures {
				t.Errorf("%d signatures, want %d", n, tt.signatures)
			}
			var types []string
			for _, a := range got.input.Attestations {
				types = append(types, a.PredicateType)
				if !slices.ContainsFunc(got.input.Subject.Platforms, func(p facts.Platform) bool { return p.Digest == a.SubjectDigest && p.String() == tt.platform }) {
					t.Errorf("%s speaks of %s, which is not %s", a.PredicateType, a.SubjectDigest, tt.platform)
				}
			}
			if diff := cmp.Diff(tt.attestations, types); diff != "" {
				t.Errorf("attestations (-want +have):\n%s", diff)
			}
			// The signature of the index speaks for each platform.
			if len(got.verdict.Coverage) != 3 {
				t.Errorf("coverage %+v, want the index and two platforms", got.verdict.Coverage)
			}
			for _, d := range got.verdict.Coverage {
				if !d.Signed {
					t.Errorf("not covered: %+v", d)
				}
			}
		})
	}
}

func sampleNamed(t *testing.T, name string) sampleCase {
	t.Helper()
	for _, c := range readSamples(t) {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no sample %s", name)
	return sampleCase{}
}

// A signature made on GitHub counts for the repository that its certificate
// names, and for no name that looks like it.
func TestSourceOfRealSignature(t *testing.T) {
	dir := require.Corpus(t)
	cases := readCorpus(t, dir)
	c := cases[slices.IndexFunc(cases, func(c corpusCase) bool { return c.Name == "bazel-gha-d" })]
	const source = "github.com/salrashid123/go-bazel-github-workflow"
	for _, tt := range []struct {
		source string
		codes  []string
	}{
		{source, nil},
		{"https://" + source, nil},
		{"https://" + source + ".git", nil},
		{"github.com/salrashid123", nil}, // the owner: all below it
		{source + "A", []string{"source_not_trusted"}},
		{"A" + source, []string{"source_not_trusted"}},
		{"github.com/Asalrashid123/go-bazel-github-workflow", []string{"source_not_trusted"}},
		{"github.com/salrashid", []string{"source_not_trusted"}},
		{strings.ToUpper(source), []string{"source_not_trusted"}},
	} {
		t.Run(tt.source, func(t *testing.T) {
			w := wanted{log: true, sources: []string{tt.source}, signers: []trusted{keylessLike(c.Observed[0].Issuer, ".*")}}
			got := ask(t, asked{
				roots: readRoots(t, filepath.Join(dir, c.Trust)), policy: w.policy(t), evidenceOnly: true,
				image: layoutReference(t, filepath.Join(dir, c.Path), c.Digest), registry: registry.Config{AllowLayouts: true},
			})
			want := verdict.Allow
			if tt.codes != nil {
				want = verdict.Deny
			}
			if got.verdict.Decision != want || !slices.Equal(codes(got.verdict), append([]string{}, tt.codes...)) {
				t.Errorf("%s %v, want %s %v", got.verdict.Decision, codes(got.verdict), want, tt.codes)
			}
		})
	}
}
