package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"pgregory.net/rapid"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy/compiled"
	"github.com/signet-policy/signet/rego"
)

func allTopics() []string { return slices.Sorted(maps.Keys(topics)) }

func TestPrecompiledIsCurrent(t *testing.T) {
	want, err := Precompile()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, precompiled) {
		t.Error("embedded.compiled is not what the sources of the embedded policy give; run make generate")
	}
}

// What is decoded is what the compiler made of the sources: each rule, and where it
// and its expressions stand.
func TestPrecompiledIsWhatTheCompilerMakes(t *testing.T) {
	c, caps, err := embeddedSources()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parse(c, caps)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := compileModules(parsed, ast.NewCompiler().WithCapabilities(caps).WithSkipStages(dispensable...))
	if err != nil {
		t.Fatal(err)
	}
	file, err := compiled.Read(precompiled)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := c.reachable(allTopics(), c.precompiled(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(decoded) != len(c.modules) || len(fresh.Modules) != len(c.modules) {
		t.Fatalf("%d modules, %d compiled, %d of sources", len(decoded), len(fresh.Modules), len(c.modules))
	}
	expressions := 0
	for name, m := range decoded {
		want := fresh.Modules[name]
		if !m.Package.Path.Equal(want.Package.Path) || len(m.Rules) != len(want.Rules) {
			t.Fatalf("%s: package %s with %d rules, want %s with %d", name, m.Package.Path, len(m.Rules), want.Package.Path, len(want.Rules))
		}
		for i, r := range m.Rules {
			w := want.Rules[i]
			if !r.Equal(w) || r.Module != m {
				t.Errorf("%s is\n%s\nwant\n%s", w.Location, r, w)
			}
			got, of := placesOf(r), placesOf(w)
			expressions += len(of)
			if diff := cmp.Diff(of, got); diff != "" {
				t.Errorf("%s: places (-compiled +decoded):\n%s", w.Location, diff)
			}
		}
	}
	if expressions < 1000 {
		t.Errorf("only %d places were compared", expressions)
	}
}

// placesOf are where a rule, its heads and its expressions stand, and what of an
// expression a comparison of rules does not look at.
func placesOf(r *ast.Rule) (out []string) {
	ast.WalkNodes(r, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Rule:
			out = append(out, fmt.Sprint("rule ", n.Location, n.Location.Offset, n.Default))
		case *ast.Head:
			out = append(out, fmt.Sprint("head ", n.Location, n.Location.Offset, n.Assign, n.Reference, n.Name))
		case *ast.Expr:
			out = append(out, fmt.Sprint("expression ", n.Location, n.Index, n.Generated, n.Negated))
		}
		return false
	})
	return out
}

// Whoever adds a parameter says which files it gives something to do.
func TestTopicsAreOfParameters(t *testing.T) {
	var schema struct {
		AllOf      []struct{ Properties map[string]any }
		Properties map[string]any
	}
	if err := json.Unmarshal(rego.ParamsSchema, &schema); err != nil {
		t.Fatal(err)
	}
	// What the rest of the policy looks at, and no file of topics alone.
	names := []string{"exceptions", "registered_signers", "require_signature", "threshold", "trusted_sources", "verify_transparency_log"}
	for _, of := range topics {
		names = append(names, of...)
	}
	slices.Sort(names)
	properties := maps.Clone(schema.Properties)
	if properties == nil {
		properties = map[string]any{}
	}
	for _, of := range schema.AllOf {
		maps.Copy(properties, of.Properties)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(properties)), slices.Compact(names)); diff != "" {
		t.Errorf("parameters (-of the schema +known here):\n%s", diff)
	}
	c, err := embeddedContents()
	if err != nil {
		t.Fatal(err)
	}
	for file := range topics {
		if c.modules[file] == nil {
			t.Errorf("%s is no file of the policy", file)
		}
	}
}

// sections are parameters that ask for more than signatures.
var sections = map[string]string{
	"slsa":                   `{"require_attestation":true,"minimum_level":2,"trusted_builders":[{"builder":"https://builder.example"}],"trusted_sources":null}`,
	"attestations":           `[{"name":"bill","predicate_type":"spdx","types":["https://spdx.dev/Document"],"kind":"sbom","count":1,"subjects":"image"}]`,
	"contents":               `{"licences":{"denied":["GPL-3.0-only"],"unstated":"allow"},"base_images":{"allowed":["docker.io/library/**"]}}`,
	"verification_summaries": `[{"verifiers":["a"],"verifier_id":"https://verifier.example","max_age":3600,"minimum_level":1}]`,
	"groups":                 `[{"name":"release","signers":["a","b"],"threshold":1}]`,
	"platforms":              `"every"`,
}

// drawMore adds attestations of each kind and matches of each requirement. Every third
// input is in order throughout, so that some are allowed.
func drawMore(t *rapid.T, in *facts.Input) {
	good := rapid.IntRange(0, 2).Draw(t, "good") == 0
	bad := func(label string) bool { return !good && rapid.Bool().Draw(t, label) }
	digests := []string{imageDigest, "sha256:bb"}
	if good {
		in.Signatures = nil
		for i, digest := range digests {
			s := signedInput().Signatures[0]
			s.ID, s.SubjectDigest, s.Principal, s.TrustedSigners = fmt.Sprint("sha256:good", i), digest, "p0", []string{"a"}
			in.Signatures = append(in.Signatures, s)
		}
		in.Matches = nil
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "attestations") {
		a := facts.InputAttestation{TrustedSigners: []string{"a"}}
		a.Signature = signedInput().Signatures[0].Signature
		a.ID, a.SubjectDigest = fmt.Sprint("sha256:a", i), rapid.SampledFrom(digests).Draw(t, "about")
		if bad("by a stranger") {
			a.TrustedSigners = []string{}
		}
		if bad("about another") {
			a.SubjectDigest = "sha256:cc"
		}
		if bad("not logged") {
			a.Transparency = []facts.LogEntry{}
		}
		switch rapid.IntRange(0, 2).Draw(t, "kind of attestation") {
		case 0:
			a.PredicateType = "https://slsa.dev/provenance/v1"
			a.Build = &facts.Build{
				Level: rapid.IntRange(0, 3).Draw(t, "level"), Builder: "https://builder.example", TrustedBuilder: ptr("https://builder.example"),
				Contradictions: []facts.Contradiction{}, Missing: map[string][]string{}, Untrusted: []string{},
			}
			if bad("another builder") {
				a.Build.TrustedBuilder = nil
			}
			a.Provenance = &facts.Provenance{Parameters: json.RawMessage("{}"), Materials: []facts.Material{{URI: "pkg:docker/alpine@3", Digest: map[string]string{"sha256": "dd"}}}}
		case 1:
			a.PredicateType = "https://slsa.dev/verification_summary/v1"
			at := noon.Add(-time.Minute)
			if bad("old") {
				at = noon.Add(-2 * time.Hour)
			}
			a.Projection = &facts.Projection{Kind: "vsa", Summary: &facts.Summary{
				VerifierID: "https://verifier.example", TimeVerified: &at, ResourceURI: "ghcr.io/org/server", Result: "PASSED",
				VerifiedLevels: []string{rapid.SampledFrom([]string{"SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_3"}).Draw(t, "verified")},
			}}
			if bad("failed") {
				a.Projection.Summary.Result = "FAILED"
			}
		case 2:
			a.PredicateType = "https://spdx.dev/Document"
			a.Projection = &facts.Projection{Kind: "sbom", Packages: []facts.Package{{
				Name: "left-pad", Version: "1", Licences: []string{rapid.SampledFrom([]string{"MIT", "GPL-3.0-only"}).Draw(t, "licence")},
			}}}
		}
		in.Attestations = append(in.Attestations, a)
	}
	for _, requirement := range []string{"signature", "group:release", "bill"} {
		for _, digest := range []string{"", "sha256:bb"} {
			if !bad("not matched") {
				in.Matches = append(in.Matches, facts.Match{Requirement: requirement, SubjectDigest: digest, Signers: []string{"a"}, Principals: []string{"p0"}, Count: 1, Digests: []string{imageDigest}})
			}
		}
	}
}

// Whatever is asked for and whatever is known, the files that were chosen say what all
// of them would.
func TestSelectionsAnswerAsTheWhole(t *testing.T) {
	c, err := readBundle(defaultAsBundle(t))
	if err != nil {
		t.Fatal(err)
	}
	bundle := mustLoad(t, Source{Bundle: defaultAsBundle(t)})
	names := slices.Sorted(maps.Keys(sections))
	type pair struct {
		asked           []string
		selected, whole *Set
	}
	var sets []pair
	for bits := range 1 << len(names) {
		params := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(defaultParams), &params); err != nil {
			t.Fatal(err)
		}
		var asked []string
		for i, name := range names {
			if bits>>i&1 == 1 {
				params[name] = json.RawMessage(sections[name])
				asked = append(asked, name)
			}
		}
		raw, err := json.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		p := pair{asked: asked}
		if p.whole, err = bundle.withParams(t.Context(), c, raw); err != nil {
			t.Fatal(err)
		}
		p.selected = mustLoad(t, Source{Params: raw})
		compiler, err := compileEmbedded(topicsOf(anyOf(t, raw)))
		if err != nil {
			t.Fatal(err)
		}
		caps, err := capabilities()
		if err != nil {
			t.Fatal(err)
		}
		// Of this selection itself: a process that has compiled many takes the whole.
		if p.selected.query, err = prepare(t.Context(), compiler, caps, c.dataWith(anyOf(t, raw))); err != nil {
			t.Fatal(err)
		}
		sets = append(sets, p)
	}
	codes, allowed := map[string]bool{}, 0
	rapid.Check(t, func(rt *rapid.T) {
		in := drawInput(rt)
		drawMore(rt, in)
		for i := rapid.IntRange(0, 12).Draw(rt, "parameters"); i < len(sets); i += 13 {
			p := sets[i]
			got, err := p.selected.Evaluate(t.Context(), in)
			if err != nil {
				rt.Fatalf("%q: %v", p.asked, err)
			}
			want, err := p.whole.Evaluate(t.Context(), in)
			if err != nil {
				rt.Fatalf("%q, all files: %v", p.asked, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Fatalf("%q (-all files +those chosen):\n%s", p.asked, diff)
			}
			if got.Allow {
				allowed++
			}
			for _, v := range got.Violations {
				codes[v.Code] = true
			}
		}
	})
	// Each of the files spoke.
	for _, code := range []string{"provenance_missing", "attestation_missing", "base_image_unknown", "summary_missing", "group_not_met", "platform_not_signed"} {
		if !codes[code] {
			t.Errorf("nothing was ever denied with %s", code)
		}
	}
	if allowed == 0 {
		t.Error("nothing was allowed")
	}
}

func anyOf(t *testing.T, raw json.RawMessage) (v any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A selection has the files that are asked for, and no package that nothing imports.
func TestSelection(t *testing.T) {
	for _, test := range []struct {
		params        string
		with, without []string
	}{
		{`{}`, []string{"signing/verdict.rego", "signing/lib/requirement/requirement.rego", "signing/lib/unmet/signers.rego"}, append(allTopics(), "signing/lib/sbom/sbom.rego", "signing/lib/base/base.rego")},
		{`{"slsa": {}}`, []string{"signing/lib/requirement/provenance.rego"}, []string{"signing/lib/requirement/vsa.rego", "signing/lib/scan/scan.rego"}},
		{`{"platforms": "index"}`, []string{"signing/lib/requirement/platforms.rego", "signing/lib/requirement/vsa.rego"}, []string{"signing/lib/requirement/provenance.rego"}},
		{`{"contents": {}}`, []string{"signing/lib/requirement/base_images.rego", "signing/lib/purl/purl.rego", "signing/lib/licence/known.rego"}, []string{"signing/lib/requirement/groups.rego"}},
		{`null`, allTopics(), nil},
	} {
		compiler, err := compileEmbedded(topicsOf(anyOf(t, json.RawMessage(test.params))))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range test.with {
			if compiler.Modules[name] == nil {
				t.Errorf("%s: %s is missing", test.params, name)
			}
		}
		for _, name := range test.without {
			if compiler.Modules[name] != nil {
				t.Errorf("%s: %s is there, and says nothing", test.params, name)
			}
		}
	}
}

// A process keeps so many selections and no more; the whole is right for the others.
func TestSelectionsAreFew(t *testing.T) {
	var s selections
	names := allTopics()
	for i, name := range names {
		for _, other := range names[i+1:] {
			compiler, err := s.of([]string{name, other})()
			if err != nil {
				t.Fatal(err)
			}
			if compiler.Modules[name] == nil || compiler.Modules[other] == nil {
				t.Errorf("%s and %s are not both there", name, other)
			}
		}
	}
	if len(s.by) != maxCompiled+1 || s.by[strings.Join(names, " ")] == nil {
		t.Errorf("%d selections are kept, and among them the whole: %v", len(s.by), s.by[strings.Join(names, " ")] != nil)
	}
}
