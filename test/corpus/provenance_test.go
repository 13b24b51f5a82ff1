package corpus

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/builders"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/internal/verify"
)

// provenBuild is what a case's provenance proves, with nobody registered as a
// builder but where the test says so.
type provenBuild struct {
	profile string
	level   int
	// contradicts are the fields in which predicate and certificate differ.
	contradicts []string
	// registered gives the level once the signer is registered for the profile.
	registered int
}

// builds are all cases with SLSA provenance. Those that must fail prove nothing.
var builds = map[string]*provenBuild{
	// Fulcio did not tell the runner in January 2023: nobody proves that it was hosted.
	"slsa-container-v1.4.0":                   {profile: "slsa-github-generator-container", level: 1},
	"slsa-container-v1.7.0":                   {profile: "slsa-github-generator-container", level: 3},
	"slsa-container-v2.1.0":                   {profile: "slsa-github-generator-container", level: 3},
	"slsa1-container-based-v2.1.0-push-v14.2": {profile: "slsa-github-generator-container-based", level: 3},
	"gh-reusable-workflow":                    {profile: "github-reusable-workflow", level: 3},
	// Threat 17: built for a pull request.
	"github-opa-provider":           {profile: "github-workflow", level: 1},
	"npm-sigstore-1.3.0-provenance": {profile: "npm-github-actions", level: 2},
	"conforma-private-2026-05-06":   {profile: "tekton-chains", level: 1, registered: 2},
	// Threat 18: signed by one repository about another's build.
	"conformance-happy-path-intoto-in-dsse-v3": {profile: "github-workflow", level: 0, contradicts: []string{"builder_id", "invocation_id", "source.digest", "source.uri"}},
	// A build type that exists in this test only.
	"conformance-rekor2-dsse-happy-path": {profile: "", level: 0},

	"neg-att-of-other-image-a":                       nil,
	"neg-att-payload-edited-a":                       nil,
	"github-opa-provider-wrong-hash":                 nil,
	"conformance-dsse-invalid-sig_fail":              nil,
	"conformance-dsse-mismatch-envelope_fail":        nil,
	"conformance-dsse-mismatch-sig_fail":             nil,
	"conformance-rekor2-dsse-invalid-sig_fail":       nil,
	"conformance-rekor2-dsse-mismatch-envelope_fail": nil,
	"conformance-rekor2-dsse-mismatch-sig_fail":      nil,
}

// goldenProvenance is what is kept of one case.
type goldenProvenance struct {
	Name       string            `json:"name"`
	Provenance *facts.Provenance `json:"provenance"`
	Proves     *builders.Result  `json:"proves"`
	Signer     *facts.Signer     `json:"signer"`
	Rejections []facts.Rejection `json:"rejections"`
}

// TestProvenance holds every real provenance against its profile, against what
// the corpus's makers read from it, and against derived forgeries.
func TestProvenance(t *testing.T) {
	dir := require.Corpus(t)
	profiles, err := builders.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	server := registrytest.New(t, registrytest.Options{})
	var names []string
	for _, c := range readCorpus(t, dir) {
		if !slices.ContainsFunc(c.Observed, func(o observed) bool { return strings.HasPrefix(o.PredicateType, "https://slsa.dev/provenance/") }) {
			continue
		}
		names = append(names, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			want, known := builds[c.Name]
			if !known {
				t.Fatal("this case is in no table")
			}
			r := &caseRun{dir: dir, c: c, server: server, done: map[string]int{}}
			in := r.everything(t)
			g := &goldenProvenance{Name: c.Name, Rejections: in.Rejections}
			i := slices.IndexFunc(in.Attestations, func(a facts.InputAttestation) bool { return a.Provenance != nil })
			if (i < 0) != (want == nil) {
				t.Fatalf("attestations %+v, and the table says %+v", in.Attestations, want)
			}
			if i >= 0 {
				a := in.Attestations[i]
				got := builders.Match(profiles, a.Signature, a.Provenance, a.SubjectDigest, builders.Vouched{TrustRoots: []string{a.TrustRoot}})
				g.Provenance, g.Proves, g.Signer = a.Provenance, &got, &a.Signer
				want.compare(t, got)
				c.compareProvenance(t, a)
				if want.registered > 0 {
					if got := builders.Match(profiles, a.Signature, a.Provenance, a.SubjectDigest, builders.Vouched{Registered: []string{want.profile}}); got.Level != want.registered || got.Builder != a.Provenance.BuilderID {
						t.Errorf("registered: %+v, want level %d", got, want.registered)
					}
				}
				forgeries(t, profiles, a, got)
			}
			g.keep(t, r.host())
		})
	}
	onlyGolden(t, "provenance", names)
	if len(names) != len(builds) {
		t.Errorf("%d cases, and the table has %d", len(names), len(builds))
	}
}

// everything asks about the case, trusting everybody who was seen in it.
func (r *caseRun) everything(t *testing.T) facts.Input {
	t.Helper()
	i := max(0, slices.IndexFunc(r.c.Checks, func(k corpusCheck) bool { return k.Expect == "ok" && k.What != "signature" }))
	check := r.c.Checks[i]
	check.SAN, check.SANRE, check.Issuer = "", "", ".*"
	got, _, _ := r.ask(t, check)
	return got.input
}

func (w *provenBuild) compare(t *testing.T, got builders.Result) {
	t.Helper()
	var contradicts []string
	for _, c := range got.Contradictions {
		contradicts = append(contradicts, c.Field)
		if c.Certificate == "" || c.Predicate == "" || c.Certificate == c.Predicate {
			t.Errorf("a contradiction names both values: %+v", c)
		}
	}
	slices.Sort(contradicts)
	if got.Profile != w.profile || got.Level != w.level || !slices.Equal(contradicts, w.contradicts) {
		t.Errorf("%s, level %d, contradicts %v; want %+v; %v", got.Profile, got.Level, contradicts, w, got.Missing)
	}
}

// compareProvenance: the makers read the builder, the version and the source.
func (c corpusCase) compareProvenance(t *testing.T, a facts.InputAttestation) {
	t.Helper()
	p := a.Provenance
	if p.SLSAVersion != c.SLSAVersion || p.BuilderID != c.BuilderID {
		t.Errorf("%s by %s, want %s by %s", p.SLSAVersion, p.BuilderID, c.SLSAVersion, c.BuilderID)
	}
	// The makers' source is the certificate's; a predicate that says otherwise is in the table.
	if b := builds[c.Name]; c.SourceRepo != "" && p.Source.URI != "" && len(b.contradicts) == 0 && p.Source.URI != c.SourceRepo {
		t.Errorf("source %s, want %s", p.Source.URI, c.SourceRepo)
	}
}

func (g *goldenProvenance) keep(t *testing.T, host string) {
	t.Helper()
	path := filepath.Join("testdata", "provenance", g.Name+".json")
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(g); err != nil {
		t.Fatal(err)
	}
	body := b.Bytes()
	if host != "" {
		body = bytes.ReplaceAll(body, []byte(host), []byte(normalHost))
	}
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

// swap is one thing that a forger changes in real provenance.
type swap struct {
	name      string
	predicate func(body string, p *facts.Provenance) string
	identity  func(id *sigstack.Identity)
	// contradicts is a field that must then differ; "" : the level alone.
	contradicts string
	// level is the highest that may remain.
	level int
}

const swappedCommit = "ffffffffffffffffffffffffffffffffffffffff"

func replaced(what func(*facts.Provenance) string, with string) func(string, *facts.Provenance) string {
	return func(body string, p *facts.Provenance) string { return strings.ReplaceAll(body, what(p), with) }
}

var swaps = []swap{
	{name: "builder", predicate: replaced(func(p *facts.Provenance) string { return `"id":"` + p.BuilderID + `"` }, `"id":"https://ci.evil.test/builder"`), contradicts: "builder_id"},
	{name: "source", predicate: func(body string, p *facts.Provenance) string {
		return strings.ReplaceAll(body, p.Source.URI, p.Source.URI+"A")
	}, contradicts: "source.uri"},
	{name: "tag", predicate: replaced(func(p *facts.Provenance) string { return p.Source.Ref }, "refs/tags/v9.9.9"), contradicts: "source.ref"},
	{name: "digest", predicate: func(body string, p *facts.Provenance) string {
		for _, d := range p.Source.Digest {
			body = strings.ReplaceAll(body, d, swappedCommit)
		}
		return body
	}, contradicts: "source.digest"},
	{name: "certificate of another repository", identity: func(id *sigstack.Identity) {
		*id = *sigstack.Workflow{Repository: "evil/app"}.Identity()
	}},
	{name: "certificate of the same workflow for another source", identity: func(id *sigstack.Identity) {
		id.Claims[sigstack.ClaimSourceRepositoryURI], id.Claims[sigstack.ClaimWorkflowRepository] = "https://github.com/evil/app", "evil/app"
	}, contradicts: "source.uri"},
	{name: "certificate of a person", identity: func(id *sigstack.Identity) {
		*id = *sigstack.Email("https://accounts.google.com", "dev@example.test")
	}},
	{name: "certificate of another issuer", identity: func(id *sigstack.Identity) { id.Issuer = "https://issuer.evil.test" }},
	{name: "self-hosted runner", identity: func(id *sigstack.Identity) { id.Claims[sigstack.ClaimRunnerEnvironment] = "self-hosted" }, level: 1},
	{name: "pull request", identity: func(id *sigstack.Identity) {
		id.Claims[sigstack.ClaimBuildTrigger], id.Claims[sigstack.ClaimWorkflowTrigger] = "pull_request", "pull_request"
	}, level: 1},
}

// forgeries signs the same predicate under the same identity with a Sigstore of
// the test, which must prove the same, and then with one thing swapped each.
func forgeries(t *testing.T, profiles []builders.Profile, a facts.InputAttestation, genuine builders.Result) {
	t.Helper()
	if a.Signer.Issuer != sigstack.GitHubIssuer || genuine.Profile == "" || len(genuine.Contradictions) > 0 {
		return // no platform's certificate to contradict
	}
	stack := testkit.NewStack(t, sigstack.Options{})
	root, err := trust.Parse("stack", stack.TrustedRootJSON(), nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(verify.Config{Roots: []*trust.Root{root}, Limits: evidence.DefaultLimits(), OnPanic: func(p any) { t.Errorf("panic: %+v", p) }})
	if err != nil {
		t.Fatal(err)
	}
	image, otherImage := "sha256:"+strings.Repeat("a1", 32), "sha256:"+strings.Repeat("b2", 32)
	var bundle []byte
	prove := func(t *testing.T, subject string, id *sigstack.Identity, predicate string) []facts.Attestation {
		t.Helper()
		raw := stack.For(t).Bundle(sigstack.SignRequest{
			Statement: &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("app", subject)}, PredicateType: a.PredicateType, Predicate: json.RawMessage(predicate)},
			Identity:  id, Log: sigstack.RekorV1(),
		})
		bundle = raw
		f, err := v.Image(t.Context(), facts.Subject{Digest: image}, []evidence.Item{{SubjectDigest: image, Kind: evidence.KindBundle, Bytes: raw}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return f.Attestations()
	}
	match := func(t *testing.T, atts []facts.Attestation) builders.Result {
		t.Helper()
		if len(atts) != 1 {
			t.Fatalf("%d attestations", len(atts))
		}
		return builders.Match(profiles, atts[0].Signature, atts[0].Provenance, image, builders.Vouched{TrustRoots: []string{"stack"}})
	}
	if diff := cmp.Diff(genuine, match(t, prove(t, image, identityOf(t, a.Signer), string(a.Predicate)))); diff != "" {
		t.Fatalf("signed again (-genuine +again):\n%s", diff)
	}
	if got := forged(t, root, bundle, image, genuine); got.Decision != verdict.Allow || got.SLSA.Level != genuine.Level {
		t.Errorf("signed again: %s %v", got.Decision, got.Reasons)
	}
	t.Run("statement about another image", func(t *testing.T) {
		if atts := prove(t, otherImage, identityOf(t, a.Signer), string(a.Predicate)); len(atts) != 0 {
			t.Errorf("%+v", atts)
		}
		if got := forged(t, root, bundle, image, genuine); got.Decision != verdict.Deny || got.SLSA.Level != 0 {
			t.Errorf("%s %v", got.Decision, got.Reasons)
		}
	})
	for _, s := range swaps {
		t.Run(s.name, func(t *testing.T) {
			id, predicate := identityOf(t, a.Signer), string(a.Predicate)
			if s.identity != nil {
				s.identity(id)
			}
			if s.predicate != nil {
				if predicate = s.predicate(predicate, a.Provenance); predicate == string(a.Predicate) {
					t.Fatal("nothing was swapped")
				}
			}
			got := match(t, prove(t, image, id, predicate))
			if got.Level > s.level || s.contradicts != "" && !slices.ContainsFunc(got.Contradictions, func(c builders.Contradiction) bool { return c.Field == s.contradicts }) {
				t.Errorf("level %d, contradictions %+v, lacks %v; want level %d at most and a contradiction %q", got.Level, got.Contradictions, got.Missing, s.level, s.contradicts)
			}
			if v := forged(t, root, bundle, image, genuine); s.level < genuine.Level && v.Decision != verdict.Deny || s.contradicts != "" && !slices.Contains(codes(v), "provenance_contradicts") && !slices.Contains(codes(v), "builder_not_trusted") {
				t.Errorf("%s %v", v.Decision, v.Reasons)
			}
		})
	}
}

// identityOf makes a certificate's contents from the facts about a signer.
func identityOf(t *testing.T, s facts.Signer) *sigstack.Identity {
	t.Helper()
	byName := map[string]sigstack.Claim{
		"github_workflow_trigger": 2, "github_workflow_sha": 3, "github_workflow_name": 4, "github_workflow_repository": 5, "github_workflow_ref": 6,
		"build_signer_uri": 9, "build_signer_digest": 10, "runner_environment": 11, "source_repository_uri": 12, "source_repository_digest": 13,
		"source_repository_ref": 14, "source_repository_identifier": 15, "source_repository_owner_uri": 16, "source_repository_owner_identifier": 17,
		"build_config_uri": 18, "build_config_digest": 19, "build_trigger": 20, "run_invocation_uri": 21, "source_repository_visibility_at_signing": 22, "token_subject": 24,
	}
	id := &sigstack.Identity{URIs: []string{s.Subject}, Issuer: s.Issuer, Claims: map[sigstack.Claim]string{}}
	for name, value := range s.Claims {
		c, ok := byName[name]
		if !ok {
			t.Fatalf("claim %s has no number", name)
		}
		id.Claims[c] = value
	}
	return id
}
