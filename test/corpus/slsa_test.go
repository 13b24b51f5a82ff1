package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/builders"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/internal/verify"
	"github.com/signet-policy/signet/test/wire"
)

// layoutPath is how a layout is asked for, to the end of its digest's algorithm.
var layoutPath = regexp.MustCompile(regexp.QuoteMeta(registry.LayoutPrefix) + `[^ @"]*`)

// building is a policy that asks for provenance, and for no signature.
type building struct {
	level    int
	builders []any
	sources  []any
	signers  []trusted
}

func (b building) policy(t *testing.T) *signingpolicy.Policy {
	t.Helper()
	slsa := map[string]any{"require_attestation": true, "minimum_level": b.level, "trusted_builders": b.builders}
	if b.sources != nil {
		slsa["trusted_sources"] = b.sources
	}
	p := map[string]any{"require_signature": false, "verify_transparency_log": false, "slsa": slsa}
	if b.signers != nil {
		p["trusted_signers"] = b.signers
	}
	body, err := json.Marshal(map[string]any{"signing_policy": p})
	if err != nil {
		t.Fatal(err)
	}
	out, err := signingpolicy.Parse(body)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return out
}

// askFor puts the case's question under a policy.
func (r *caseRun) askFor(t *testing.T, check corpusCheck, p *signingpolicy.Policy) answer {
	t.Helper()
	a := asked{roots: readRoots(t, filepath.Join(r.dir, r.trust(check))), policy: p}
	if r.c.Kind == "bundle" {
		a.artifact = r.artifact(t, check)
		a.image = a.artifact.Name
		return ask(t, a)
	}
	dir := filepath.Join(r.dir, r.c.Path)
	a.evidenceOnly = r.c.SubjectManifest == "absent"
	a.image, a.registry = layoutReference(t, dir, r.c.Digest), registry.Config{AllowLayouts: true}
	return ask(t, a)
}

// told is what is kept of a verdict on a build.
type told struct {
	Decision verdict.Decision `json:"decision"`
	Reasons  []verdict.Reason `json:"reasons"`
	Warnings []verdict.Reason `json:"warnings"`
	SLSA     verdict.SLSA     `json:"slsa"`
}

// TestSLSALevels asks for each level of every real provenance: whole verdicts, as a
// user of the policy gets them.
func TestSLSALevels(t *testing.T) {
	dir := require.Corpus(t)
	server := registrytest.New(t, registrytest.Options{})
	kept := []string{}
	for _, c := range readCorpus(t, dir) {
		want := builds[c.Name]
		if want == nil {
			continue
		}
		kept = append(kept, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			r := &caseRun{dir: dir, c: c, server: server, done: map[string]int{}}
			i := max(0, slices.IndexFunc(c.Checks, func(k corpusCheck) bool { return k.Expect == "ok" && k.What != "signature" }))
			check := c.Checks[i]
			_, w, _ := r.expects(t, check)
			in := r.everything(t)
			a := in.Attestations[slices.IndexFunc(in.Attestations, func(a facts.InputAttestation) bool { return a.Provenance != nil })]
			ask, trusts := want.asks(t, a)
			if trusts {
				ask.signers = w.signers
			}
			proven := max(want.level, want.registered)
			got := map[string]told{}
			for level := 1; level <= 3; level++ {
				ask.level = level
				v := r.askFor(t, check, ask.policy(t)).verdict
				got[fmt.Sprint(level)] = told{v.Decision, v.Reasons, v.Warnings, v.SLSA}
				switch {
				case level <= proven:
					if v.Decision != verdict.Allow || v.SLSA.Level != proven || v.SLSA.Builder == nil || len(satisfiedBy(v)) == 0 {
						t.Errorf("level %d: %s %v, %+v", level, v.Decision, v.Reasons, v.SLSA)
					}
				case v.Decision != verdict.Deny || len(v.Reasons) != 1 || v.Reasons[0].Code != want.denied():
					t.Errorf("level %d: %s %+v", level, v.Decision, v.Reasons)
				case want.denied() == "slsa_level_too_low" && !strings.HasPrefix(v.Reasons[0].Message, fmt.Sprintf("SLSA level %d does not meet the required level %d", proven, level)):
					t.Errorf("level %d: %s", level, v.Reasons[0].Message)
				}
			}
			keepTold(t, c.Name, got, r.host())
			others(t, r, check, ask, want, proven)
		})
	}
	onlyGolden(t, "slsa", kept)
}

// asks trusts exactly who built this, of what was built; and whether the signers of
// the case are the builder's own.
func (w *provenBuild) asks(t *testing.T, a facts.InputAttestation) (building, bool) {
	t.Helper()
	profiles, err := builders.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	proves := builders.Match(profiles, a.Signature, a.Provenance, a.SubjectDigest, builders.Vouched{TrustRoots: []string{a.TrustRoot}})
	if w.registered > 0 {
		return building{builders: []any{map[string]any{"builder": a.Provenance.BuilderID, "signers": []string{"default/1"}}}}, true
	}
	address, _, _ := strings.Cut(proves.Builder, "@")
	if address == "" {
		address = "https://github.com/acme/nobody"
	}
	b := building{builders: []any{map[string]any{"builder": address, "trust_roots": []string{a.TrustRoot}}}}
	switch source := proves.Source; {
	case builders.Unmerged(source.Ref):
		b.sources = []any{map[string]any{"repository": source.Repository, "ref": "refs/pull/**"}}
	case source.Repository != "":
		b.sources = []any{source.Repository}
	}
	return b, false
}

// denied is the code of what is said above the proven level.
func (w *provenBuild) denied() string {
	switch {
	case len(w.contradicts) > 0:
		return "provenance_contradicts"
	case w.profile == "":
		return "builder_not_trusted"
	}
	return "slsa_level_too_low"
}

// others are policies that differ in one thing each, and deny what was proven.
func others(t *testing.T, r *caseRun, check corpusCheck, b building, w *provenBuild, proven int) {
	t.Helper()
	if proven == 0 {
		return
	}
	b.level = proven
	denies := func(name, code string, b building) {
		t.Run(name, func(t *testing.T) {
			v := r.askFor(t, check, b.policy(t)).verdict
			if v.Decision != verdict.Deny || v.SLSA.Level != 0 || !slices.Contains(codes(v), code) {
				t.Errorf("%s %v, %+v", v.Decision, v.Reasons, v.SLSA)
			}
		})
	}
	builder := b.builders[0].(map[string]any)
	with := func(field string, value any) []any {
		changed := map[string]any{field: value}
		for k, v := range builder {
			if k != field {
				changed[k] = v
			}
		}
		return []any{changed}
	}
	other := b
	other.builders = with("builder", builder["builder"].(string)+"-evil")
	denies("another builder", "builder_not_trusted", other)
	if w.registered > 0 {
		other.builders = []any{builder["builder"]}
		denies("a builder that nobody is registered for", "builder_not_trusted", other)
		return
	}
	other.builders = with("trust_roots", []string{"another"})
	denies("another trust root", "builder_not_trusted", other)
	other = b
	other.sources = []any{"https://github.com/acme/other"}
	denies("another source", "build_source_not_trusted", other)
	if _, pull := b.sources[0].(map[string]any); pull {
		other.sources = nil
		denies("a pull request where any source will do", "build_source_not_trusted", other)
		return
	}
	other.sources = []any{map[string]any{"repository": b.sources[0], "tag": "no-such-tag"}}
	denies("another tag", "build_source_not_trusted", other)
}

func keepTold(t *testing.T, name string, got map[string]told, host string) {
	t.Helper()
	path := filepath.Join("testdata", "slsa", name+".json")
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(got); err != nil {
		t.Fatal(err)
	}
	body := b.Bytes()
	if host != "" {
		body = bytes.ReplaceAll(body, []byte(host), []byte(normalHost))
	}
	// A layout is asked for by its path on this machine.
	body = layoutPath.ReplaceAll(body, []byte("oci-layout"))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(body)); diff != "" {
		t.Errorf("%s (-want +got), -update writes it anew:\n%s", path, diff)
	}
}

// forged asks about one bundle of the test's own Sigstore, under a policy that
// trusts who really built it.
func forged(t *testing.T, root *trust.Root, bundle []byte, image string, genuine builders.Result) verdict.Verdict {
	t.Helper()
	address, _, _ := strings.Cut(genuine.Builder, "@")
	source := any(genuine.Source.Repository)
	if builders.Unmerged(genuine.Source.Ref) {
		source = map[string]any{"repository": genuine.Source.Repository, "ref": "refs/pull/**"}
	}
	b := building{
		level: genuine.Level, sources: []any{source},
		builders: []any{map[string]any{"builder": address, "trust_roots": []string{root.Name()}}},
	}
	alg, hex, _ := strings.Cut(image, ":")
	artifact := &wire.Artifact{Name: "artifact", Bundle: bundle, Artifact: verify.Artifact{Digests: map[string]string{alg: hex}}}
	return ask(t, asked{roots: []*trust.Root{root}, policy: b.policy(t), image: artifact.Name, artifact: artifact}).verdict
}
