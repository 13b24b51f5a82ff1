package corpus

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/verdict"
)

// TestSamples takes each of the images that the real cosign CLI signed through
// every way of finding evidence and past several policies.
func TestSamples(t *testing.T) {
	server := registrytest.New(t, registrytest.Options{})
	roots := readRoots(t, filepath.Join(samples, "trusted-root.json"))
	key, other := readKey(t, filepath.Join(samples, "signer.pub")), readKey(t, filepath.Join(samples, "other.pub"))
	cases := readSamples(t)
	var names []string
	for _, c := range cases {
		names = append(names, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			dir := filepath.Join(samples, c.Layout)
			repo := "samples/" + c.Name
			cfg := serve(t, server, dir, repo)
			g := &golden{Name: c.Name}
			image := server.Image(repo, c.Tag)
			for _, p := range samplePolicies(c, byKey(key), byKey(other)) {
				a := asked{roots: roots, keys: []signers.Key{key, other}, policy: p.wanted.policy(t), image: image, registry: cfg}
				got := ask(t, a)
				g.record(t, p.name, "trusted-root.json", server.Host(), p.wanted, got)
				if got.verdict.Decision != p.decision || !slices.Equal(codes(got.verdict), p.codes) {
					t.Errorf("%s: %s %v, want %s %v", p.name, got.verdict.Decision, codes(got.verdict), p.decision, p.codes)
				}
				if got.verdict.Digest != c.Digest {
					t.Errorf("%s: digest %s, want %s", p.name, got.verdict.Digest, c.Digest)
				}
				if p.name == "everybody" {
					c.compare(t, key.Fingerprint, got.input)
				}
				// The same without a registry.
				a.image, a.registry = layoutReference(t, dir, c.Digest), registry.Config{AllowLayouts: true}
				sameAnswer(t, p.name, got, ask(t, a))
			}
			g.keep(t, "samples")
		})
	}
	if len(names) != 22 {
		t.Errorf("%d samples, and there are 22", len(names))
	}
	onlyGolden(t, "samples", names)
}

// sameAnswer: where evidence comes from changes nothing in what it proves.
func sameAnswer(t *testing.T, name string, registry, layout answer) {
	t.Helper()
	if diff := cmp.Diff(codes(registry.verdict), codes(layout.verdict)); diff != "" || registry.verdict.Decision != layout.verdict.Decision {
		t.Errorf("%s: %s from the registry, %s from the layout (-registry +layout):\n%s", name, registry.verdict.Decision, layout.verdict.Decision, diff)
	}
	plain := func(a answer) *proved {
		p := normalProof(t, "", a.input)
		p.Search = facts.Search{Items: p.Search.Items}
		p.Subject.Registry, p.Subject.Repository, p.Subject.Tag = "", "", nil
		return p
	}
	if diff := cmp.Diff(plain(registry), plain(layout)); diff != "" {
		t.Errorf("%s: other facts (-registry +layout):\n%s", name, diff)
	}
}

// samplePolicy is a policy and what it must say of a sample.
type samplePolicy struct {
	name string
	wanted
	decision verdict.Decision
	codes    []string
}

const (
	personIssuer   = "http://127.0.0.1:8088"
	workflowIssuer = "http://127.0.0.1:8088/gha"
)

// samplePolicies asks for everybody who signed any sample, for a stranger, and
// for everybody without asking keys for the log.
func samplePolicies(c sampleCase, key, other trusted) []samplePolicy {
	everybody := []trusted{keylessLike(personIssuer, ".*"), keylessLike(workflowIssuer, ".*"), key}
	strangers := []trusted{
		keyless(personIssuer, "other@example.test"), keyless("http://127.0.0.1:8088/other", "dev@example.test"),
		keylessLike(workflowIssuer, "https://github.com/acme"), other,
	}
	signed, logged := len(c.Signatures) > 0, false
	for _, s := range c.Signatures {
		logged = logged || s.Log != nil
	}
	unsigned := []string{"unsigned"}
	if c.Name == "copied-sig" {
		unsigned = []string{"signature_rejected"}
	}
	decide := func(name string, w wanted, ok bool, otherwise []string) samplePolicy {
		switch {
		case !signed:
			return samplePolicy{name, w, verdict.Deny, unsigned}
		case !ok:
			return samplePolicy{name, w, verdict.Deny, otherwise}
		}
		return samplePolicy{name, w, verdict.Allow, []string{}}
	}
	return []samplePolicy{
		decide("everybody", wanted{log: true, signers: everybody}, logged, []string{"transparency_log_missing"}),
		decide("everybody, keys without a log", wanted{log: false, signers: everybody}, true, nil),
		decide("strangers", wanted{log: false, signers: strangers}, false, []string{"signer_not_trusted"}),
	}
}

// compare asserts that exactly what cases.json says verified, and who signed.
func (c sampleCase) compare(t *testing.T, fingerprint string, in facts.Input) {
	t.Helper()
	sigs, atts := c.lists(in)
	if len(sigs) != len(c.Signatures) {
		t.Errorf("%d signatures of the image, want %d", len(sigs), len(c.Signatures))
	}
	if len(atts) != len(c.Attestations) {
		t.Errorf("%d attestations of the image, want %d", len(atts), len(c.Attestations))
	}
	for _, want := range c.Signatures {
		i := slices.IndexFunc(sigs, func(s facts.Signature) bool { return want.by(fingerprint, s) })
		if i < 0 {
			t.Errorf("no signature by %+v", want)
			continue
		}
		want.compare(t, sigs[i])
	}
	for _, want := range c.Attestations {
		i := slices.IndexFunc(atts, func(a facts.Attestation) bool {
			return want.by(fingerprint, a.Signature) && a.PredicateType == want.PredicateType
		})
		if i < 0 {
			t.Errorf("no attestation by %+v", want)
			continue
		}
		if f := formats[want.Format]; atts[i].Format != f {
			t.Errorf("attestation %s of format %s, want %s", want.PredicateType, atts[i].Format, f)
		}
	}
}

// lists are the facts about the image itself, not about its platforms.
func (c sampleCase) lists(in facts.Input) (sigs []facts.Signature, atts []facts.Attestation) {
	for _, s := range in.Signatures {
		if s.SubjectDigest == c.Digest {
			sigs = append(sigs, s.Signature)
		}
	}
	for _, a := range in.Attestations {
		if a.SubjectDigest == c.Digest {
			atts = append(atts, a.Attestation)
		}
	}
	return sigs, atts
}

func (w sampleSigned) by(fingerprint string, s facts.Signature) bool {
	if w.Key != "" {
		return s.Signer.Kind == facts.KindKey && s.Signer.Fingerprint == fingerprint
	}
	return s.Signer.Kind == facts.KindCertificate && s.Signer.Issuer == w.Issuer && s.Signer.Subject == w.Subject
}

var formats = map[string]string{
	"":                "sigstore-bundle",
	"cosign .sig tag": "cosign-simplesigning",
	"cosign signature manifest found by referrers": "cosign-simplesigning",
	"cosign .att tag": "cosign-dsse",
}

func (w sampleSigned) compare(t *testing.T, s facts.Signature) {
	t.Helper()
	if f := formats[w.Format]; s.Format != f {
		t.Errorf("format %s, want %s", s.Format, f)
	}
	if w.TSA && len(s.Timestamps) != 1 {
		t.Errorf("timestamps %+v, want one", s.Timestamps)
	}
	switch {
	case w.Log == nil && len(s.Transparency) != 0, w.Log != nil && len(s.Transparency) != 1:
		t.Errorf("log entries %+v, want %v", s.Transparency, w.Log)
	case w.Log != nil && strings.HasSuffix(*w.Log, "v1") != (s.Transparency[0].IntegratedAt != nil):
		t.Errorf("%s, and its time is %v: Rekor v1 signs the time, Rekor v2 does not", *w.Log, s.Transparency[0].IntegratedAt)
	}
	for k, v := range w.Annotations {
		if s.Annotations[k] != v {
			t.Errorf("annotations %v, want %s=%s", s.Annotations, k, v)
		}
	}
}
