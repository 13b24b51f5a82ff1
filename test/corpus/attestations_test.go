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

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
)

// documents are predicates of every type that is projected, in the forms that tools
// write them.
const documents = "../../internal/projection/testdata"

// goldenAttestation is what is kept of one attested document: the facts that rules
// read, and what policies make of them.
type goldenAttestation struct {
	Name            string             `json:"name"`
	PredicateType   string             `json:"predicate_type"`
	Provenance      *facts.Provenance  `json:"provenance,omitempty"`
	Projection      *facts.Projection  `json:"projection"`
	ProjectionError string             `json:"projection_error,omitempty"`
	Verdicts        []goldenOfDocument `json:"verdicts"`
}

// goldenOfDocument is one verdict, without what another run has otherwise.
type goldenOfDocument struct {
	Policy    any              `json:"policy"`
	Decision  verdict.Decision `json:"decision"`
	Reasons   []goldenReason   `json:"reasons"`
	Satisfied []string         `json:"satisfied"`
	// Ends says that time alone may end it.
	Ends bool `json:"ends"`
}

type goldenReason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// attestedBy are the policies that every attestation of a type is tried with: it is
// required; it is required to be young; and one that judges what it says.
func attestedBy(predicateType, kind string, signer map[string]any) []map[string]any {
	required := map[string]any{"predicate_type": predicateType}
	young := map[string]any{"predicate_type": predicateType, "max_age": "1h"}
	policies := []map[string]any{{"attestations": []any{required}}, {"attestations": []any{young}}}
	judged := map[string]any{}
	switch kind {
	case facts.ProjectionSBOM:
		// Licences are judged of what is an SBOM by its type.
		for name, types := range map[string]string{"spdx": "https://spdx.dev/Document", "cyclonedx": "https://cyclonedx.org/bom"} {
			if strings.HasPrefix(predicateType, types) {
				judged["contents"] = map[string]any{"licences": map[string]any{"denied": []any{"GPL-*"}}}
				judged["attestations"] = []any{map[string]any{"predicate_type": name}}
			}
		}
	case facts.ProjectionScan:
		judged["contents"] = map[string]any{"vulnerabilities": map[string]any{"maximum_severity": "low", "unknown_severity": "allow"}}
		judged["attestations"] = []any{map[string]any{"predicate_type": predicateType, "max_age": "3650d"}}
	case facts.ProjectionTestResult:
		judged["contents"] = map[string]any{"tests": map[string]any{"result": "PASSED"}}
		judged["attestations"] = []any{required}
	case facts.ProjectionVSA:
		judged["verification_summaries"] = []any{map[string]any{"verifiers": []any{"default/1"}, "verifier_id": "https://e.test/verifier", "max_age": "3650d", "resources": []any{"ghcr.io/**"}}}
	}
	if len(judged) > 0 {
		policies = append(policies, judged)
	}
	for _, p := range policies {
		p["mode"], p["require_signature"], p["trusted_signers"] = "enforce", false, []any{signer}
	}
	return policies
}

func parsedPolicy(t *testing.T, document map[string]any) *signingpolicy.Policy {
	t.Helper()
	body, err := json.Marshal(map[string]any{"signing_policy": document})
	if err != nil {
		t.Fatal(err)
	}
	p, err := signingpolicy.Parse(body)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return p
}

// of adds what a policy says of an attestation.
func (g *goldenAttestation) of(t *testing.T, host string, policy map[string]any, got answer) {
	t.Helper()
	o := goldenOfDocument{Policy: policy, Decision: got.verdict.Decision, Reasons: []goldenReason{}, Satisfied: []string{}}
	for _, r := range got.verdict.Reasons {
		o.Reasons = append(o.Reasons, goldenReason{r.Code, r.Message})
	}
	for _, p := range got.verdict.Policies {
		for _, s := range p.SatisfiedBy {
			o.Satisfied = append(o.Satisfied, s.Requirement)
		}
	}
	if (o.Decision == verdict.Allow) != (len(o.Satisfied) > 0 && len(o.Reasons) == 0) {
		t.Errorf("%s, satisfied by %v, with %v", o.Decision, o.Satisfied, o.Reasons)
	}
	o.Ends = got.verdict.ValidUntil != nil
	g.Verdicts = append(g.Verdicts, *normal(t, host, &o))
}

// keepAs compares with a golden file, or writes it.
func (g *goldenAttestation) keepAs(t *testing.T, path string) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(g); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./test/corpus -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-golden +now), or update it with go test ./test/corpus -update:\n%s", path, diff)
	}
}

// TestAttestedDocuments signs every document, attests it to an image in a registry,
// and keeps the facts and the verdicts of policies that want it.
func TestAttestedDocuments(t *testing.T) {
	files, err := filepath.Glob(documents + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	server := registrytest.New(t, registrytest.Options{})
	stack := testkit.NewStack(t, sigstack.Options{Seed: "documents"})
	root, err := trust.Parse("stack", stack.TrustedRootJSON(), nil)
	if err != nil {
		t.Fatal(err)
	}
	signer := map[string]any{"type": "keyless", "issuer": "https://accounts.example.test", "subject": "scanner@example.test"}
	var names []string
	kinds := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if strings.HasSuffix(name, ".golden") {
			continue
		}
		names = append(names, name)
		t.Run(name, func(t *testing.T) {
			var doc struct {
				PredicateType string          `json:"predicate_type"`
				Predicate     json.RawMessage `json:"predicate"`
			}
			decodeFile(t, file, &doc)
			image := ocitest.Image(ocitest.ImageOptions{Content: name})
			repo := "documents/" + strings.ReplaceAll(name, ".", "-")
			server.For(t).Push(repo, "v1", image)
			server.For(t).Attach(repo, image, stack.Sign(sigstack.SignRequest{
				Statement: &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("app", image.Digest())}, PredicateType: doc.PredicateType, Predicate: doc.Predicate},
				Identity:  sigstack.Email("https://accounts.example.test", "scanner@example.test"), Log: sigstack.RekorV1(),
			}))
			reference := server.Host() + "/" + repo + "@" + image.Digest()
			g := &goldenAttestation{Name: name, PredicateType: doc.PredicateType}
			one := func(policy map[string]any) answer {
				return ask(t, asked{
					roots: []*trust.Root{root}, policy: parsedPolicy(t, policy), image: reference,
					registry: registry.Config{Registries: []registry.Settings{{Host: server.Host(), Insecure: true}}},
				})
			}
			first := one(attestedBy(doc.PredicateType, "", signer)[0])
			if len(first.input.Attestations) != 1 || first.input.Attestations[0].Projection == nil {
				t.Fatalf("%+v %+v", first.input.Attestations, first.input.Rejections)
			}
			a := first.input.Attestations[0]
			g.Projection, g.ProjectionError = a.Projection, a.ProjectionError
			kinds[a.Projection.Kind] = true
			for _, policy := range attestedBy(doc.PredicateType, a.Projection.Kind, signer) {
				g.of(t, server.Host()+"/"+repo+"@"+image.Digest(), policy, one(policy))
			}
			g.keepAs(t, filepath.Join("testdata", "attestations", name+".json"))
		})
	}
	onlyGolden(t, "attestations", names)
	for _, kind := range []string{facts.ProjectionSBOM, facts.ProjectionScan, facts.ProjectionVEX, facts.ProjectionTestResult, facts.ProjectionVSA} {
		if !kinds[kind] {
			t.Errorf("no document is a %s", kind)
		}
	}
}

// TestCorpusAttestations keeps the same of the attestations that real makers signed:
// each is wanted of its own signer, and of somebody else.
func TestCorpusAttestations(t *testing.T) {
	dir := require.Corpus(t)
	server := registrytest.New(t, registrytest.Options{})
	var names []string
	for _, c := range readCorpus(t, dir) {
		if !slices.ContainsFunc(c.Observed, func(o observed) bool { return o.PredicateType != "" }) {
			continue
		}
		names = append(names, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			r := &caseRun{dir: dir, c: c, server: server, done: map[string]int{}}
			in := r.everything(t)
			g := &goldenAttestation{Name: c.Name, PredicateType: c.Observed[slices.IndexFunc(c.Observed, func(o observed) bool { return o.PredicateType != "" })].PredicateType}
			anyone := map[string]any{"type": "keyless", "issuer": "https://accounts.example.test", "subject_regex": ".*"}
			signer := anyone
			if len(in.Attestations) > 0 {
				a := in.Attestations[0]
				g.PredicateType, g.Provenance, g.Projection, g.ProjectionError = a.PredicateType, a.Provenance, a.Projection, a.ProjectionError
				signer = map[string]any{"type": "keyless", "issuer": a.Signer.Issuer, "subject": a.Signer.Subject}
			}
			check := r.c.Checks[max(0, slices.IndexFunc(r.c.Checks, func(k corpusCheck) bool { return k.Expect == "ok" && k.What != "signature" }))]
			_, w, keys := r.expects(t, check)
			if len(in.Attestations) > 0 && in.Attestations[0].Signer.Kind == facts.KindKey {
				signer = map[string]any{"type": "public_key", "key": keys[0].PEM}
			}
			kind := ""
			if g.Projection != nil {
				kind = g.Projection.Kind
			}
			for _, policy := range append(attestedBy(g.PredicateType, kind, signer), attestedBy(g.PredicateType, "", anyone)[0]) {
				policy["verify_transparency_log"] = w.log
				asks := asked{roots: readRoots(t, filepath.Join(dir, r.trust(check))), keys: keys, policy: parsedPolicy(t, policy)}
				if c.Kind == "bundle" {
					asks.artifact = r.artifact(t, check)
					asks.image = asks.artifact.Name
				} else {
					asks.evidenceOnly = c.SubjectManifest == "absent"
					asks.image, asks.registry = layoutReference(t, filepath.Join(dir, c.Path), c.Digest), registry.Config{AllowLayouts: true}
				}
				got := ask(t, asks)
				g.of(t, asks.image, policy, got)
				if len(in.Attestations) == 0 && got.verdict.Decision == verdict.Allow {
					t.Errorf("allowed under %v, and nothing is attested", policy)
				}
			}
			if n := len(g.Verdicts); g.Verdicts[n-1].Decision == verdict.Allow || (len(in.Attestations) > 0) != (g.Verdicts[0].Decision == verdict.Allow) {
				t.Errorf("%d attestations: %s for their signer, %s for another", len(in.Attestations), g.Verdicts[0].Decision, g.Verdicts[n-1].Decision)
			}
			g.keepAs(t, filepath.Join("testdata", "attestations-corpus", c.Name+".json"))
		})
	}
	onlyGolden(t, "attestations-corpus", names)
}
